"""MIMIC-CXR on small trees in the layouts of its two releases; patients and words are made up."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.layouts import _mimic_reports, index_cohort
from medvlp.data.leakage import check_split

METADATA = """dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,\
StudyTime
aa-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800626,165500.312
aa-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800626,165500.312
bb-1,10000032,53189527,CHEST (PORTABLE AP),AP,2544,3056,21800506,90514.5
cc-1,11000011,51000001,,,2544,3056,21410101,213014.0
dd-1,12000022,52000002,CHEST (PORTABLE AP),AP,2544,3056,21500101,13014.0
"""
SPLIT = """dicom_id,study_id,subject_id,split
aa-1,50414267,10000032,train
aa-2,50414267,10000032,train
bb-1,53189527,10000032,train
cc-1,51000001,11000011,validate
dd-1,52000002,12000022,test
"""
LABELS = """subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,\
Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices
10000032,50414267,,,,,,,,,1.0,,,,0.0,
10000032,53189527,1.0,-1.0,,,,,,,,1.0,,,,
11000011,51000001,,,,,,,,,,,,,,
"""
REPORTS = {
    "p10/p10000032/s50414267": """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // pneumonia?

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 The lungs are clear.  There is no
 pneumothorax.

 IMPRESSION:

 No acute process.
""",
    "p10/p10000032/s53189527": " IMPRESSION: \n Atelectasis. Unchanged effusion.\n",
    "p11/p11000011/s51000001": "\n  Portable view, rotated.\n",
}


def pack(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


@pytest.fixture
def jpg(tmp_path: Path) -> Path:
    """MIMIC-CXR-JPG 2.0.0: gzipped tables, a folder a study, no reports."""
    root = tmp_path / "mimic-cxr-jpg"
    for line in METADATA.splitlines()[1:]:
        name, who, study = line.split(",")[:3]
        path = root / f"files/p{who[:2]}/p{who}/s{study}/{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (path.parent / "index.html").touch()
    for name, text in (("metadata", METADATA), ("split", SPLIT), ("chexpert", LABELS)):
        pack(root / f"mimic-cxr-2.0.0-{name}.csv.gz", text)
    pack(root / "mimic-cxr-2.0.0-negbio.csv.gz", LABELS.replace(",-1.0,", ",1.0,"))
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "mimic-cxr-reports.zip"
    with zipfile.ZipFile(path, "w") as some:
        for name, text in REPORTS.items():
            some.writestr(f"files/{name}.txt", text)
    return path


def test_images_of_a_study_share_its_report_and_labels(jpg: Path, archive: Path) -> None:
    manifest = index_cohort("mimic_cxr", jpg, {"reports": str(archive)})
    assert manifest.column("id").tolist() == ["aa-1", "aa-2", "bb-1", "cc-1", "dd-1"]
    assert manifest.column("id.study").tolist()[:3] == ["50414267", "50414267", "53189527"]
    assert manifest.column("split").tolist() == ["train"] * 3 + ["validate", "test"]
    assert check_split(manifest, images=False) == []
    texts = manifest.column("text").tolist()
    assert texts[0] == texts[1] == "The lungs are clear.  There is no\npneumothorax.\n\nNo acute process."
    assert texts[2:] == ["Atelectasis. Unchanged effusion.", "Portable view, rotated.", None]
    assert manifest.column("text_sections").tolist() == [
        "findings impression",
        "findings impression",
        "impression",
        "preamble",  # none of the wanted sections: said, not hidden
        None,
    ]
    assert manifest.meta["studies_without_report"] == ["52000002"]
    assert manifest.meta["studies_without_wanted_sections"] == ["51000001"]
    first, third = manifest.record(0), manifest.record(2)
    assert (first["label.no_finding"], first["label.pneumothorax"], "label.edema" in first) == (1, 0, False)
    assert (third["label.atelectasis"], third["label.cardiomegaly"]) == (1, -1)
    assert not any(name.startswith("label.") for row in (3, 4) for name in manifest.record(row))


def test_no_date_enters_the_manifest_but_the_order_of_studies_does(jpg: Path, tmp_path: Path) -> None:
    manifest = index_cohort("mimic_cxr", jpg)
    assert manifest.column("study_number").tolist() == [2, 2, 1, 1, 1]
    manifest.save(tmp_path / "m.parquet")
    told = str([manifest.record(row) for row in range(5)]) + str(manifest.meta)
    assert not any(date in told for date in ("21800626", "2180", "165500", "90514"))


def test_a_day_s_times_are_ordered_though_their_zeros_are_lost(jpg: Path) -> None:
    text = METADATA.replace("21800506,90514.5", "21800626,90514.5")
    pack(jpg / "mimic-cxr-2.0.0-metadata.csv.gz", text)
    assert index_cohort("mimic_cxr", jpg).column("study_number").tolist()[:3] == [2, 2, 1]


def test_a_study_without_a_time_is_neither_before_nor_behind_another_of_its_day(jpg: Path) -> None:
    text = METADATA.replace("21800506,90514.5", "21800626,")
    pack(jpg / "mimic-cxr-2.0.0-metadata.csv.gz", text)
    assert index_cohort("mimic_cxr", jpg).column("study_number").tolist()[:3] == [1, 1, 1]


def test_a_blank_view_stays_missing_and_frontal_only_lists_it_apart(jpg: Path) -> None:
    manifest = index_cohort("mimic_cxr", jpg)
    assert manifest.column("view_position").tolist() == ["PA", "LATERAL", "AP", None, "AP"]
    frontal = index_cohort("mimic_cxr", jpg, {"frontal_only": True})
    assert frontal.column("id").tolist() == ["aa-1", "bb-1", "dd-1"]
    assert frontal.meta["skipped"] == {
        "other_view": ["p10/p10000032/s50414267/aa-2"],
        "unknown_view": ["p11/p11000011/s51000001/cc-1"],
    }
    pack(jpg / "mimic-cxr-2.0.0-metadata.csv.gz", METADATA.replace("(PORTABLE AP),AP", "(PORTABLE AP),LL"))
    assert index_cohort("mimic_cxr", jpg, {"frontal_only": True}).column("id").tolist() == ["aa-1"]  # left lateral


def test_reports_are_the_same_from_archive_folder_and_beside_the_images(
    jpg: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_archive = index_cohort("mimic_cxr", jpg, {"reports": str(archive)})
    with zipfile.ZipFile(archive) as some:
        some.extractall(tmp_path / "mimic-cxr-reports")
        some.extractall(jpg)
    from_folder = index_cohort("mimic_cxr", jpg, {"reports": str(tmp_path / "mimic-cxr-reports")})
    beside = index_cohort("mimic_cxr", jpg)
    with zipfile.ZipFile(tmp_path / "again.zip", "w") as some:  # packed with its folder
        for name, text in REPORTS.items():
            some.writestr(f"mimic-cxr-reports/files/{name}.txt", text)
    again = index_cohort("mimic_cxr", jpg, {"reports": str(tmp_path / "again.zip")})
    assert from_archive.hash == from_folder.hash == beside.hash == again.hash
    monkeypatch.setattr(_mimic_reports, "_BLOCK", 2)  # two studies at a time
    told: list[tuple[int, int]] = []
    in_blocks = index_cohort(
        "mimic_cxr", jpg, {"reports": str(archive)}, progress=lambda done, total: told.append((done, total))
    )
    assert in_blocks.hash == from_archive.hash
    assert told[-2:] == [(2, 4), (4, 4)]


def test_sections_are_chosen_in_the_order_that_is_asked_for(jpg: Path, archive: Path) -> None:
    options = {"reports": str(archive), "sections": ["impression", "indication"]}
    manifest = index_cohort("mimic_cxr", jpg, options)
    first = manifest.record(0)
    assert first["text"] == "No acute process.\n\n___F with cough  // pneumonia?"
    whole = index_cohort("mimic_cxr", jpg, {"reports": str(archive), "sections": []})
    assert whole.record(0)["text"] == REPORTS["p10/p10000032/s50414267"].strip()
    assert whole.meta["studies_without_wanted_sections"] == []
    with pytest.raises(ConfigError, match=r"There is no section 'impresion': did you mean 'impression'\?"):
        index_cohort("mimic_cxr", jpg, {"reports": str(archive), "sections": ["impresion"]})


def test_the_table_of_sections_that_others_cut_is_read(jpg: Path) -> None:
    (jpg / "mimic_cxr_sectioned.csv").write_text(
        "study,impression,findings,last_paragraph,comparison\n"
        's50414267,No acute process.,"The lungs are clear,\nand wide.",x,___\n'
        "s53189527,,,Atelectasis.,\n"
        "s59999999,Another study.,,,\n"
    )
    manifest = index_cohort("mimic_cxr", jpg)
    assert manifest.column("text").tolist() == [
        "The lungs are clear,\nand wide.\n\nNo acute process.",
        "The lungs are clear,\nand wide.\n\nNo acute process.",
        "Atelectasis.",
        None,
        None,
    ]
    assert manifest.meta["studies_without_wanted_sections"] == ["53189527"]


def test_labellers_are_chosen_by_name(jpg: Path) -> None:
    assert index_cohort("mimic_cxr", jpg, {"labels": "negbio"}).record(2)["label.cardiomegaly"] == 1
    assert not index_cohort("mimic_cxr", jpg, {"labels": "none"}).names_of("label")
    (jpg / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text(
        "study_id,Airspace Opacity,Edema\n52000002,1.0,-1.0\n"  # by hand, with a word of its own
    )
    manifest = index_cohort("mimic_cxr", jpg, {"labels": "radiologist"})
    assert (manifest.record(4)["label.lung_opacity"], manifest.record(4)["label.edema"]) == (1, -1)
    assert not any(name.startswith("label.") for name in manifest.record(0))


def test_parts_are_chosen_by_the_official_split(jpg: Path) -> None:
    manifest = index_cohort("mimic_cxr", jpg, {"parts": ["validate", "test"]})
    assert manifest.column("id").tolist() == ["cc-1", "dd-1"]
    (jpg / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    assert "split" not in index_cohort("mimic_cxr", jpg)
    with pytest.raises(DataError, match=r"holds no mimic-cxr-\*-split.csv, which tells the parts"):
        index_cohort("mimic_cxr", jpg, {"parts": ["test"]})


def test_the_dicom_release_has_a_record_list_and_its_reports_beside(tmp_path: Path) -> None:
    pack(
        tmp_path / "cxr-record-list.csv.gz",
        "subject_id,study_id,dicom_id,path\n10000032,50414267,aa-1,files/p10/p10000032/s50414267/aa-1.dcm\n",
    )
    path = tmp_path / "files/p10/p10000032/s50414267/aa-1.dcm"
    path.parent.mkdir(parents=True)
    path.touch()
    path.parent.with_suffix(".txt").write_text(REPORTS["p10/p10000032/s50414267"])
    manifest = index_cohort("mimic_cxr", tmp_path, {"labels": "none"})
    assert manifest.record(0)["image"] == "files/p10/p10000032/s50414267/aa-1.dcm"
    assert str(manifest.record(0)["text"]).endswith("No acute process.")
    assert {"split", "study_number"}.isdisjoint(manifest.names)
    path.with_suffix(".jpg").touch()  # both releases in one tree
    assert str(index_cohort("mimic_cxr", tmp_path, {"labels": "none"}).record(0)["image"]).endswith(".jpg")
    options = {"labels": "none", "images": "dicom"}
    assert str(index_cohort("mimic_cxr", tmp_path, options).record(0)["image"]).endswith(".dcm")


def test_jpeg_and_dicom_files_are_not_mixed_unless_one_form_is_named(jpg: Path) -> None:
    image = next((jpg / "files/p12").rglob("*.jpg"))
    image.rename(image.with_suffix(".dcm"))
    assert index_cohort("mimic_cxr", jpg).meta["skipped"] == {"missing_file": ["p12/p12000022/s52000002/dd-1"]}
    assert index_cohort("mimic_cxr", jpg, {"images": "dicom"}).column("id").tolist() == ["dd-1"]


def test_missing_images_are_listed_and_what_is_wrong_is_one_sentence(jpg: Path, archive: Path, tmp_path: Path) -> None:
    next((jpg / "files/p12").rglob("*.jpg")).unlink()
    assert index_cohort("mimic_cxr", jpg).meta["skipped"] == {"missing_file": ["p12/p12000022/s52000002/dd-1"]}
    with pytest.raises(DataError, match=r"The reports .*absent.zip do not exist: give mimic-cxr-reports.zip"):
        index_cohort("mimic_cxr", jpg, {"reports": "absent.zip"})
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"bad.zip is no whole zip archive"):
        index_cohort("mimic_cxr", jpg, {"reports": str(tmp_path / "bad.zip")})
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"none holds no report of the 3 studies"):
        index_cohort("mimic_cxr", jpg, {"reports": str(tmp_path / "none")})
    (jpg / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    with pytest.raises(DataError, match=r"holds no table of chexpert labels \(mimic-cxr-\*-chexpert.csv"):
        index_cohort("mimic_cxr", jpg)
