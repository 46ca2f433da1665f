"""Class folders of pictures and of DICOM files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.layouts import index_cohort


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def dicom(path: Path, patient: str, modality: str = "DX") -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.{sum(map(ord, str(path)))}"
    data.PatientID, data.Modality, data.StudyInstanceUID = patient, modality, "1.2.3"
    data.ViewPosition, data.PatientAge, data.PatientSex = "PA", "045Y", "F"
    data.Rows = data.Columns = 2
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_classes_are_labels_and_splits_are_told_from_classes(tmp_path: Path) -> None:
    touch(tmp_path, "Training/COVID-19/a.png", "Training/COVID-19/deep/b.JPG", "val/normal/c.tif", "test/normal/d.jpeg")
    touch(tmp_path, "test/normal/notes.txt", "test/e.png", "test/.DS_Store")
    manifest = index_cohort("image_folder", tmp_path)
    assert manifest.column("split").tolist() == ["train", "train", "test", "validate"]
    assert manifest.column("class").tolist() == ["COVID-19", "COVID-19", "normal", "normal"]
    assert manifest.column("label.covid_19").tolist() == [1, 1, 0, 0]
    assert manifest.column("label.normal").tolist() == [0, 0, 1, 1]
    assert manifest.meta["skipped"] == {"no_picture": ["test/normal/notes.txt"], "no_class_folder": ["test/e.png"]}
    assert "id.patient" not in manifest


def test_classes_of_any_language_are_findings_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "肺炎/a.png", "正常/b.png", "E\u0301panchement pleural/c.png")
    manifest = index_cohort("image_folder", tmp_path)
    assert {name: manifest.column(name).tolist() for name in manifest.names if name.startswith("label.")} == {
        "label.épanchement_pleural": [1, 0, 0],
        "label.正常": [0, 1, 0],
        "label.肺炎": [0, 0, 1],
    }


def test_classes_that_differ_in_signs_alone_are_not_one_finding(tmp_path: Path) -> None:
    touch(tmp_path, "train/COVID+/a.png", "train/COVID-/b.png", "test/Covid-/c.png")
    with pytest.raises(DataError, match=r"differ in signs alone \('COVID\+', 'COVID-', 'Covid-'\): name .* by classes"):
        index_cohort("image_folder", tmp_path)
    classes = {"COVID+": "covid", "COVID-": "none", "Covid-": "none"}
    named = index_cohort("image_folder", tmp_path, {"classes": classes})
    assert named.column("label.covid").tolist() == [0, 1, 0]


def test_a_class_folder_that_is_a_link_is_listed(tmp_path: Path) -> None:
    touch(tmp_path, "classes/normal/a.png", "elsewhere/b.png", "elsewhere/c.png")
    (tmp_path / "classes" / "edema").symlink_to(tmp_path / "elsewhere")
    manifest = index_cohort("image_folder", tmp_path / "classes")
    assert manifest.column("image").tolist() == ["normal/a.png"]
    assert manifest.meta["skipped"] == {"linked_folder": ["edema"]}


def test_a_class_that_is_called_test_is_no_split(tmp_path: Path) -> None:
    touch(tmp_path, "test/a.png", "control/b.png")
    manifest = index_cohort("image_folder", tmp_path)
    assert "split" not in manifest
    assert set(manifest.column("class")) == {"test", "control"}


def test_folders_can_be_named_findings_and_paths_tell_the_patient(tmp_path: Path) -> None:
    touch(tmp_path, "x/PNEU/person7_1.png", "x/PNEU-2/person7_2.png", "x/NORM/person8_1.png", "x/other/z.png")
    classes = {"PNEU": "pneumonia", "PNEU-2": "pneumonia", "NORM": "no_finding"}
    manifest = index_cohort("image_folder", tmp_path, {"images": "x", "classes": classes, "patient": r"(person\d+)_"})
    assert manifest.column("label.pneumonia").tolist() == [0, 1, 1]
    assert manifest.column("id.patient").tolist() == ["person8", "person7", "person7"]
    assert manifest.meta["skipped"] == {"other_class": ["x/other/z.png"]}


def test_dicom_files_bring_their_patients_hashed(tmp_path: Path) -> None:
    dicom(tmp_path / "data/a/1", "MRN1")
    dicom(tmp_path / "data/a/2", "MRN1")
    dicom(tmp_path / "data/b/3", "MRN2")
    dicom(tmp_path / "data/b/4", "MRN2", modality="CT")
    touch(tmp_path, "data/b/readme")
    options = {"images": "data", "key_file": str(tmp_path / "key")}
    manifest = index_cohort("image_folder", tmp_path, options)
    assert manifest.column("image").tolist() == ["data/a/1", "data/a/2", "data/b/3"]
    patients = manifest.column("id.patient")
    assert patients[0] == patients[1] != patients[2]
    assert not any("MRN" in str(manifest.record(i)) for i in range(3))
    assert (manifest.record(0)["age"], manifest.record(0)["view_position"]) == (45, "PA")
    assert manifest.meta["skipped"] == {"empty": ["data/b/readme"], "other_modality": ["data/b/4"]}
    named = index_cohort("image_folder", tmp_path, {**options, "patient": "data/(.)"})  # who is asked for counts first
    assert named.column("id.patient").tolist() == ["a", "a", "b"]


def test_what_cannot_be_indexed_is_one_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    with pytest.raises(DataError, match="no picture in a folder 'b', which classes names"):
        index_cohort("image_folder", tmp_path, {"classes": {"a": "mass", "b": "nodule"}})
    with pytest.raises(ConfigError, match="which is no regular expression"):
        index_cohort("image_folder", tmp_path, {"patient": "("})
    with pytest.raises(DataError, match="does not exist: check the root"):
        index_cohort("image_folder", tmp_path, {"images": "z"})
    with pytest.raises(DataError, match=r"No record of the image_folder release is left \(1 no_class_folder\)"):
        index_cohort("image_folder", tmp_path / "a")
