"""Open-i: XML read without trust, reports with none or several pictures, labels by table and by coded term."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.layouts import index_cohort
from medvlp.io.errors import UnreadableImage


def report(
    number: int, images: tuple[str, ...] = (), major: tuple[str, ...] = ("normal",), head: str = "", **sections: str
) -> str:
    parts = "".join(
        f'<AbstractText Label="{name.upper()}">{sections.get(name, "")}</AbstractText>'
        for name in ("comparison", "indication", "findings", "impression")
    )
    terms = "".join(f"<major>{term}</major>" for term in major)
    pictures = "".join(f'<parentImage id="{image}"><figureId>F1</figureId></parentImage>' for image in images)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{head}<eCitation><uId id="CXR{number}"/><MedlineCitation><Article>'
        f"<Abstract>{parts}</Abstract></Article></MedlineCitation><MeSH>{terms}</MeSH>{pictures}</eCitation>"
    )


REPORTS = {
    "1.xml": report(1, ("CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"), findings="Clear\n lungs.", impression="Normal."),
    "2.xml": report(
        2, ("CXR2_IM-0652-1001",), ("Opacity/lung/base/left", "Fractures, Bone/ribs"), impression="Opacity."
    ),
    "10.xml": report(10, (), ("Pleural Effusion/right/small",), findings="Effusion."),
    "11.xml": report(11, ("CXR11_IM-0067-1001",), ("No Indexing",), indication="Cough."),
    "12.xml": report(12),
}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The archive of reports, as it is downloaded, and both forms of pictures."""
    with tarfile.open(tmp_path / "NLMCXR_reports.tgz", "w:gz") as archive:
        for name, text in {**REPORTS, "notes.xml": "<a/>"}.items():
            member = tarfile.TarInfo(f"ecgen-radiology/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    for name in (
        "NLMCXR_png/CXR1_1_IM-0001-3001.png",
        "NLMCXR_png/CXR1_1_IM-0001-4001.png",
        "NLMCXR_png/CXR2_IM-0652-1001.png",
        "NLMCXR_png/CXR99_IM-0001-1001.png",
        "NLMCXR_dcm/1/1_IM-0001-3001.dcm",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_an_image_is_a_row_with_its_reports_words(release: Path) -> None:
    manifest = index_cohort("openi", release)
    assert manifest.column("id").tolist() == ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001", "CXR2_IM-0652-1001"]
    assert manifest.column("image").tolist() == [
        "NLMCXR_dcm/1/1_IM-0001-3001.dcm",  # DICOM names lack CXR and the doubled number
        "NLMCXR_png/CXR1_1_IM-0001-4001.png",
        "NLMCXR_png/CXR2_IM-0652-1001.png",
    ]
    assert manifest.column("text")[0] == "FINDINGS: Clear lungs.\n\nIMPRESSION: Normal."
    assert manifest.column("text")[2] == "IMPRESSION: Opacity."
    assert manifest.column("id.patient").tolist() == ["CXR1", "CXR1", "CXR2"]
    assert manifest.meta["reports_without_image"] == ["CXR10", "CXR12"]
    assert manifest.meta["images_without_report"] == ["NLMCXR_png/CXR99_IM-0001-1001.png"]
    assert manifest.meta["empty_reports"] == ["CXR12"]
    assert manifest.meta["skipped"] == {
        "no_report": ["ecgen-radiology/notes.xml"],
        "other_form": ["NLMCXR_png/CXR1_1_IM-0001-3001.png"],
        "missing_file": ["CXR11_IM-0067-1001.png"],
    }
    png = index_cohort("openi", release, {"images": "NLMCXR_png"})
    assert all(path.startswith("NLMCXR_png/") for path in png.column("image"))


def test_a_report_is_a_row_and_empty_ones_are_listed(release: Path) -> None:
    manifest = index_cohort("openi", release, {"rows": "report", "sections": ["indication", "findings"]})
    assert manifest.column("id").tolist() == ["CXR1", "CXR2", "CXR10", "CXR11"]
    assert manifest.column("text").tolist() == [
        "FINDINGS: Clear lungs.", None, "FINDINGS: Effusion.", "INDICATION: Cough.",
    ]  # fmt: skip
    assert manifest.meta["skipped"]["empty_report"] == ["CXR12"]  # type: ignore[index]
    assert "image" not in manifest


def test_coded_terms_are_labels_with_their_qualifiers_left_open(release: Path) -> None:
    manifest = index_cohort("openi", release, {"rows": "report", "labels": "mesh"})
    found = {
        record["id"]: {name.removeprefix("label."): v for name, v in record.items() if name.startswith("label.")}
        for record in map(manifest.record, range(len(manifest)))
    }
    assert found["CXR1"]["no_finding"] == 1
    assert {name for name, value in found["CXR2"].items() if value == 1} == {"lung_opacity", "fracture", "rib_fracture"}
    assert found["CXR10"]["effusion"] == 1
    assert found["CXR10"]["no_finding"] == 0
    assert found["CXR11"] == {}  # nobody coded it


@pytest.mark.parametrize(
    ("term", "findings"),
    [
        ("Hydropneumothorax/left/large", {"effusion", "pneumothorax"}),
        ("Hemopneumothorax/right/moderate", {"effusion", "pneumothorax"}),
        ("Hemothorax/left/small", {"effusion"}),
    ],
)
def test_air_with_fluid_and_blood_in_the_pleura_are_an_effusion(tmp_path: Path, term: str, findings: set[str]) -> None:
    (tmp_path / "1.xml").write_text(report(1, (), (term,), findings="Fluid."))
    record = index_cohort("openi", tmp_path, {"rows": "report", "labels": "mesh"}).record(0)
    assert {name.removeprefix("label.") for name, value in record.items() if value == 1} == findings


def test_gold_labels_join_by_report_and_leave_the_others_missing(release: Path, tmp_path: Path) -> None:
    words = (
        "filename,Atelectasis,Cardiomegaly,Effusion,Infiltration,Mass,Nodule,Pneumonia,Pneumothorax,Consolidation,Edema,"
        "Emphysema,Fibrosis,Pleural_Thickening,Hernia,normal"
    )
    (tmp_path / "gold.csv").write_text(f"{words}\nCXR10,0,0,1{',0' * 12}\nCXR77{',0' * 15}\n")
    manifest = index_cohort("openi", release, {"rows": "report", "gold": str(tmp_path / "gold.csv")})
    effusion = dict(zip(manifest.column("id"), manifest.arrow("label.effusion").to_pylist(), strict=True))
    assert effusion == {"CXR1": None, "CXR2": None, "CXR10": 1, "CXR11": None}
    assert manifest.meta["labels"] == "gold"
    with pytest.raises(ConfigError, match="give both or neither"):
        index_cohort("openi", release, {"labels": "gold"})


def test_views_come_from_a_table(release: Path) -> None:
    (release / "views.csv").write_text("imageid,tsne-view\nCXR2_IM-0652-1001,L\nCXR1_1_IM-0001-3001,PA\n")
    manifest = index_cohort("openi", release, {"views": "views.csv"})
    assert manifest.column("view_position").tolist() == ["PA", None, "LATERAL"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "head", ['<!DOCTYPE eCitation [<!ENTITY a SYSTEM "file:///etc/passwd">]>', "<!DOCTYPE eCitation>"]
)
def test_a_document_type_is_refused_before_it_is_parsed(tmp_path: Path, head: str, encoding: str) -> None:
    (tmp_path / "1.xml").write_bytes(report(1, head=head, findings="&a;").encode(encoding))
    with pytest.raises(DataError, match=r"declares a document type or entities.*can be an attack"):
        index_cohort("openi", tmp_path, {"rows": "report"})


def test_entities_cannot_hide_in_another_encoding_and_damage_is_listed(tmp_path: Path) -> None:
    hidden = report(2, head='<!DOCTYPE e [<!ENTITY a "x">]>', findings="&a;").replace("utf-8", "utf-16")
    (tmp_path / "1.xml").write_text(REPORTS["1.xml"])
    (tmp_path / "2.xml").write_bytes(hidden.encode("utf-16"))
    (tmp_path / "3.xml").write_text("<eCitation><uId id='CXR3'/>")
    (tmp_path / "4.xml").write_text(REPORTS["1.xml"])
    (tmp_path / "5.xml").write_text(report(5, findings="x" * (1 << 20)))
    # The parser is given words, so an encoding that the file names decides nothing.
    (tmp_path / "6.xml").write_text(report(6, findings="Caf\u00e9.").replace("utf-8", "cp037"), encoding="utf-8")
    manifest = index_cohort("openi", tmp_path, {"rows": "report"})
    assert manifest.column("text.findings").tolist() == ["Clear lungs.", "Caf\u00e9."]
    assert manifest.meta["skipped"] == {"no_report": ["2.xml", "3.xml", "5.xml"], "repeated": ["4.xml"]}


def test_an_archive_that_leads_out_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "NLMCXR_reports.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../1.xml"), io.BytesIO())
    with pytest.raises(UnreadableImage, match="leads out of it"):
        index_cohort("openi", tmp_path)


def test_a_wrong_root_or_section_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no Open-i report"):
        index_cohort("openi", tmp_path)
    with pytest.raises(ConfigError, match="sections names 'history', Open-i has findings, impression"):
        index_cohort("openi", tmp_path, {"sections": ["history"]})
