"""RSNA Pneumonia Detection Challenge on a small tree in its true layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from tests.data.layouts.dicom_file import write_radiograph

A, B, C, D = (f"0004cfab-14fd-4e49-80ba-63a80b6bddd{k}" for k in range(4))
LABELS = f"""patientId,x,y,width,height,Target
{A},,,,,0
{B},264.0,152.0,213.0,379.0,1
{C},,,,,0
{B},562.0,152.0,256.0,453.0,1
"""
CLASSES = f"""patientId,class
{A},No Lung Opacity / Not Normal
{B},Lung Opacity
{C},Normal
{B},Lung Opacity
"""
MAPPING = [
    {"SOPInstanceUID": "1.2.3", "subset_img_id": A, "img_id": "00000012_000.png", "orig_labels": ["Mass"]},
    {"SOPInstanceUID": "1.2.4", "subset_img_id": B, "img_id": "00000012_003.png", "orig_labels": ["Effusion"]},
    {"SOPInstanceUID": "1.2.5", "subset_img_id": D, "img_id": "00000400_001.png", "orig_labels": []},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "stage_2_train_labels.csv").write_text(LABELS)
    (tmp_path / "stage_2_detailed_class_info.csv").write_text(CLASSES)
    for name, age in ((A, "51"), (B, "148"), (C, "006Y")):
        write_radiograph(
            tmp_path / f"stage_2_train_images/{name}.dcm",
            uid=f"1.2.{name[-1]}",
            patient=name,
            sex="F",
            age=age,
            view="PA",
        )
    write_radiograph(tmp_path / f"stage_2_test_images/{D}.dcm", uid="1.2.9", patient=D, sex="M", age="33", view="AP")
    return tmp_path


def test_rows_of_an_image_become_one_row_with_all_its_boxes(root: Path) -> None:
    manifest = index_cohort("rsna_pneumonia", root)
    assert manifest.column("id").tolist() == [A, B, C]
    assert manifest.column("label.pneumonia").tolist() == [0, 1, 0]
    assert manifest.arrow("boxes.pneumonia").to_pylist() == [
        [],  # somebody looked and found none: not the same as no box list
        [[264, 152, 477, 531], [562, 152, 818, 605]],
        [],
    ]
    assert manifest.column("table_rows").tolist() == ["0", "1 3", "2"]
    assert manifest.column("image")[0] == f"stage_2_train_images/{A}.dcm"
    assert "split" not in manifest  # the release has none


def test_the_three_classes_are_kept_and_only_normal_is_no_finding(root: Path) -> None:
    manifest = index_cohort("rsna_pneumonia", root)
    assert manifest.column("finding_class").tolist() == ["No Lung Opacity / Not Normal", "Lung Opacity", "Normal"]
    assert manifest.column("label.no_finding").tolist() == [0, 0, 1]
    (root / "stage_2_detailed_class_info.csv").unlink()
    assert "label.no_finding" not in index_cohort("rsna_pneumonia", root)


def test_headers_give_view_sex_and_age_without_unit_and_impossible_ages_are_missing(root: Path) -> None:
    manifest = index_cohort("rsna_pneumonia", root)
    assert set(manifest.column("view_position")) == {"PA"}
    assert set(manifest.column("sex")) == {"F"}
    assert (manifest.record(0)["age"], manifest.record(1).get("age"), manifest.record(2)["age"]) == (51, None, 6)
    bare = index_cohort("rsna_pneumonia", root, {"headers": False})
    assert not {"age", "sex", "view_position"} & set(bare.record(0))


def test_the_patient_is_the_image_unless_the_mapping_names_the_nih_patient(root: Path) -> None:
    alone = index_cohort("rsna_pneumonia", root)
    assert alone.column("id.patient").tolist() == [A, B, C]
    assert alone.meta["patients"] == "one an image: the NIH patient is not known"
    (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text("\ufeff" + json.dumps(MAPPING))
    mapped = index_cohort("rsna_pneumonia", root)
    assert mapped.column("id.patient").tolist() == ["12", "12", C]
    assert mapped.column("nih_image").tolist() == ["00000012_000.png", "00000012_003.png", None]
    assert mapped.meta["images_without_mapping"] == 1
    assert set(mapped.column("source")) == {"nih_chestxray14"}


def test_files_that_are_missing_damaged_or_unknown_are_listed(root: Path) -> None:
    (root / f"stage_2_train_images/{A}.dcm").unlink()
    (root / f"stage_2_train_images/{B}.dcm").write_bytes(b"no DICOM file")
    (root / "stage_2_train_images/other.dcm").write_bytes((root / f"stage_2_train_images/{C}.dcm").read_bytes())
    manifest = index_cohort("rsna_pneumonia", root)
    assert manifest.meta["skipped"] == {
        "missing_file": [A],
        "not_dicom": [B],
        "not_in_table": ["stage_2_train_images/other.dcm"],
    }
    assert len(index_cohort("rsna_pneumonia", root, {"require_files": False})) == 3


def test_converted_images_are_found_by_their_name(root: Path) -> None:
    for path in list((root / "stage_2_train_images").glob("*.dcm")):
        path.rename(path.with_suffix(".png"))
    assert index_cohort("rsna_pneumonia", root).column("image")[0] == f"stage_2_train_images/{A}.png"


def test_boxes_are_in_pixels_of_a_smaller_copy(root: Path) -> None:
    (root / f"stage_2_train_images/{B}.dcm").unlink()
    Image.new("L", (512, 256)).save(root / f"stage_2_train_images/{B}.png")
    boxes = index_cohort("rsna_pneumonia", root, {"headers": False}).arrow("boxes.pneumonia").to_pylist()
    assert boxes == [[], [[132, 38, 238.5, 132.75], [281, 38, 409, 151.25]], []]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (f"{A},,,,,0", f"{A},,,,,1", 2),
        ("256.0,453.0,1", "256.0,,1", 5),
        (f"{B},562.0,152.0,256.0,453.0,1", f"{B},,,,,0", 5),
    ],
)
def test_rows_that_contradict_each_other_are_one_sentence(root: Path, old: str, new: str, line: int) -> None:
    (root / "stage_2_train_labels.csv").write_text(LABELS.replace(old, new))
    with pytest.raises(DataError, match=rf"line {line}: the rows of an image must have Target 1 and a box each"):
        index_cohort("rsna_pneumonia", root)


def test_a_box_that_is_no_numbers_is_one_sentence_with_its_line(root: Path) -> None:
    (root / "stage_2_train_labels.csv").write_text(LABELS.replace("256.0,453.0", "wide,453.0"))
    with pytest.raises(DataError, match=r"labels\.csv, line 5: the box 562\.0, 152\.0, wide, 453\.0 is no numbers"):
        index_cohort("rsna_pneumonia", root)


def test_what_is_wrong_is_one_sentence(root: Path) -> None:
    (root / "stage_2_detailed_class_info.csv").write_text(CLASSES.replace("Normal\n", "Norml\n"))
    with pytest.raises(DataError, match=r"is no class of the set: did you mean"):
        index_cohort("rsna_pneumonia", root)
    (root / "stage_2_detailed_class_info.csv").unlink()
    with pytest.raises(DataError, match=r"The mapping .*m.json does not exist"):
        index_cohort("rsna_pneumonia", root, {"mapping": "m.json"})
    (root / "m.json").write_text('[{"a": 1}]')
    with pytest.raises(DataError, match=r"m.json is no list of subset_img_id and img_id"):
        index_cohort("rsna_pneumonia", root, {"mapping": "m.json"})
    (root / "stage_2_train_labels.csv").write_text("patientId,x,y,width,height\na,,,,\n")
    with pytest.raises(DataError, match=r"has no column 'Target'"):
        index_cohort("rsna_pneumonia", root)
    (root / "stage_2_train_labels.csv").unlink()
    with pytest.raises(DataError, match=r"holds no label table of the RSNA challenge \(stage_2_train_labels.csv"):
        index_cohort("rsna_pneumonia", root)
