"""VinDr-CXR: three readers a training image, both releases, files that end in .dicom."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts import index_cohort
from medvlp.data.manifest import Manifest

WORDS = list(load_card("vindr_cxr").labels.values())


def table(path: Path, names: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([names, *rows])


def dicom(path: Path, **tags: str) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.{abs(hash(path.stem)) % 10**8}"
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.Rows = data.Columns = 2
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def record(manifest: Manifest, name: str) -> dict[str, object]:
    return manifest.record(manifest.column("id").tolist().index(name))


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    names = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
    rows: list[list[object]] = [
        ["a", "Cardiomegaly", 3, "R8", 691.0, 1375.0, 1653.0, 1831.0],
        ["a", "Cardiomegaly", 3, "R9", 700.0, 1380.0, 1650.0, 1830.0],
        ["a", "Nodule/Mass", 8, "R9", 10.0, 20.0, 30.0, 40.0],
        ["a", "Nodule/Mass", 8, "R9", 50.0, 60.0, 70.0, 80.0],
        ["a", "No finding", 14, "R10", "", "", "", ""],
        *[["b", "No finding", 14, reader, "", "", "", ""] for reader in ("R1", "R2", "R3")],
        *[["c", "ILD", 5, reader, 1.0, 1.0, 2.0, 2.0] for reader in ("R1", "R2", "R3")],
    ]
    table(tmp_path / "train.csv", names, rows)
    dicom(tmp_path / "train/a.dicom", PatientSex="F", PatientAge="061Y", Modality="DX", ViewPosition="PA")
    dicom(tmp_path / "train/b.dicom", PatientSex="", PatientAge="000Y")
    dicom(tmp_path / "test/t.dicom")
    return tmp_path


def test_the_rule_for_three_readings_is_named_and_majority_is_the_default(kaggle: Path) -> None:
    found = {rule: index_cohort("vindr_cxr", kaggle, {"readers": rule}) for rule in ("majority", "union", "unanimous")}
    assert index_cohort("vindr_cxr", kaggle).hash == found["majority"].hash
    told = {
        rule: [record(m, "a")[f"label.{n}"] for n in ("cardiomegaly", "nodule_or_mass", "no_finding")]
        for rule, m in found.items()
    }
    assert told == {"majority": [1, 0, 0], "union": [1, 1, 0], "unanimous": [0, 0, 0]}
    assert len(record(found["majority"], "a")["boxes.cardiomegaly"]) == 2  # type: ignore[arg-type]
    assert record(found["majority"], "a")["boxes.nodule_or_mass"] == []  # one reader's boxes are not kept
    assert record(found["union"], "a")["boxes.nodule_or_mass"] == [[10, 20, 30, 40], [50, 60, 70, 80]]


def test_one_of_two_readers_is_no_majority(tmp_path: Path) -> None:
    names = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]
    rows = [["a", "Cardiomegaly", 3, "R8", 1.0, 1.0, 2.0, 2.0], ["a", "No finding", 14, "R9", "", "", "", ""]]
    table(tmp_path / "train.csv", names, rows)
    found = record(index_cohort("vindr_cxr", tmp_path, {"require_files": False}), "a")
    assert (found["label.cardiomegaly"], found["label.no_finding"], found["boxes.cardiomegaly"]) == (0, 0, [])


def test_no_finding_is_class_14_with_an_empty_box(kaggle: Path) -> None:
    manifest = index_cohort("vindr_cxr", kaggle)
    normal = record(manifest, "b")
    assert normal["label.no_finding"] == 1
    assert sum(float(str(v)) for n, v in normal.items() if n.startswith("label.")) == 1
    assert len(manifest.names_of("label")) == 15
    assert "boxes.no_finding" not in manifest
    assert len(manifest.names_of("boxes")) == 14


def test_each_reading_may_be_a_row_of_the_same_study(kaggle: Path) -> None:
    manifest = index_cohort("vindr_cxr", kaggle, {"readers": "each"})
    assert manifest.column("id").tolist() == ["a:R10", "a:R8", "a:R9", "b:R1", "b:R2", "b:R3"]
    assert manifest.column("id.study").tolist() == ["a"] * 3 + ["b"] * 3
    assert record(manifest, "a:R10")["label.no_finding"] == 1
    assert record(manifest, "a:R9")["label.nodule_or_mass"] == 1
    assert record(manifest, "a:R8")["label.nodule_or_mass"] == 0


def test_missing_and_unlabelled_images_are_listed(kaggle: Path) -> None:
    manifest = index_cohort("vindr_cxr", kaggle)
    assert manifest.meta["skipped"] == {"unlabelled": ["test/t.dicom"], "missing_file": ["train/c.dicom"]}
    assert set(manifest.column("split")) == {"train"}
    assert len(index_cohort("vindr_cxr", kaggle, {"require_files": False})) == 3


def test_headers_give_sex_and_age_and_an_age_of_0_is_none(kaggle: Path) -> None:
    manifest = index_cohort("vindr_cxr", kaggle, {"headers": True})
    assert [manifest.record(i).get("age") for i in range(2)] == [61, None]
    assert [manifest.record(i).get("sex") for i in range(2)] == ["F", None]
    assert manifest.record(0)["view_position"] == "PA"
    assert "id.patient" not in manifest
    (kaggle / "test/t.dicom").unlink()
    (kaggle / "test").rmdir()  # who has only a part of the folders can read its headers too
    assert index_cohort("vindr_cxr", kaggle, {"headers": True}).hash == manifest.hash
    with pytest.raises(ConfigError, match="headers are read from the images"):
        index_cohort("vindr_cxr", kaggle, {"headers": True, "require_files": False})


@pytest.fixture
def physionet(tmp_path: Path) -> Path:
    notes = tmp_path / "annotations"

    def labels(*present: str) -> list[object]:
        return [int(word in present) for word in WORDS]

    table(
        notes / "image_labels_train.csv",
        ["image_id", "rad_id", *WORDS],
        [
            ["a", "R1", *labels("Edema", "Tuberculosis", "Pneumonia")],
            ["a", "R2", *labels("Edema", "Tuberculosis")],
            ["a", "R3", *labels("No finding")],
        ],
    )
    table(
        notes / "image_labels_test.csv",
        ["image_id", *["Other disease" if word == "Other diseases" else word for word in WORDS]],
        [["t", *labels("Other diseases")], ["u", *labels("No finding")]],
    )
    table(
        notes / "annotations_train.csv",
        ["image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max"],
        [["a", "R1", "Edema", 1, 2, 3, 4], ["a", "R2", "Edema", 1, 2, 3, 5], ["a", "R3", "No finding", "", "", "", ""]],
    )
    table(
        notes / "annotations_test.csv",
        ["image_id", "class_name", "x_min", "y_min", "x_max", "y_max"],
        [["u", "No finding", "nan", "nan", "nan", "nan"]],
    )
    return tmp_path


def test_physionet_has_28_labels_22_of_them_boxed_and_a_consensus_for_the_test(physionet: Path) -> None:
    manifest = index_cohort("vindr_cxr", physionet, {"require_files": False})
    assert (len(manifest.names_of("label")), len(manifest.names_of("boxes"))) == (28, 22)
    first = record(manifest, "a")
    assert (first["label.edema"], first["label.tuberculosis"], first["label.pneumonia"]) == (1, 1, 0)
    assert first["boxes.edema"] == [[1, 2, 3, 4], [1, 2, 3, 5]]
    assert "boxes.tuberculosis" not in manifest
    assert (first["readers"], record(manifest, "t")["readers"]) == ("3", "1")
    assert record(manifest, "t")["label.other_disease"] == 1  # the test table spells it otherwise
    assert record(manifest, "u")["label.no_finding"] == 1
    assert manifest.column("split").tolist() == ["train", "test", "test"]


def test_a_wrong_table_is_one_sentence(kaggle: Path, physionet: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither annotations/ \(PhysioNet\) nor train.csv"):
        index_cohort("vindr_cxr", kaggle / "train")
    path = physionet / "annotations" / "annotations_train.csv"
    path.write_text(path.read_text().replace("Edema", "Oedema"))
    with pytest.raises(DataError, match=r"line 2: 'Oedema' is no finding of the set: did you mean 'Edema'"):
        index_cohort("vindr_cxr", physionet, {"require_files": False})
    path.write_text(path.read_text().replace("Oedema", "Edema").replace("1,2,3,5", "1,2,3,five"))
    with pytest.raises(DataError, match=r"line 3: the box 1, 2, 3, five is no numbers"):
        index_cohort("vindr_cxr", physionet, {"require_files": False})
    path.write_text(path.read_text().replace("1,2,3,five", "1,2,3,5"))
    labels = physionet / "annotations" / "image_labels_test.csv"
    said = labels.read_text()
    labels.write_text(said.replace(",1", ",TRUE"))  # as a spreadsheet saves it: it was taken for absent
    with pytest.raises(DataError, match=r"image_labels_test.csv, line 2: Other disease is 'TRUE', where a label is 1"):
        index_cohort("vindr_cxr", physionet, {"require_files": False})
    labels.write_text(said)
    labels.write_text(labels.read_text().replace("Lung cyst", "Lungcyst"))
    path.unlink()
    with pytest.raises(DataError, match="has no column 'Lung cyst'"):
        index_cohort("vindr_cxr", physionet, {"require_files": False})
