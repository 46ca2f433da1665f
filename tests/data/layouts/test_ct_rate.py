"""CT-RATE: reconstructions of one scan, both releases, what cannot be used is listed."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medvlp.core.errors import DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts import index_cohort
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import Records, apply_views
from medvlp.data.splits.patient import by_patient
from medvlp.data.stacks import LazyStack
from medvlp.data.views.read_volume import ReadVolume

WORDS = list(load_card("ct_rate").labels.values())
META = [
    "VolumeName", "Manufacturer", "SeriesDescription", "ManufacturerModelName", "PatientSex", "PatientAge",
    "ConvolutionKernel", "XYSpacing", "RescaleIntercept", "RescaleSlope", "ZSpacing", "StudyDate",
]  # fmt: skip


def table(path: Path, names: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([names, *rows])


def facts(name: str, z: object = 1.5) -> list[object]:
    return [f"{name}.nii.gz", "Philips", "HRCT", "iCT 256", "M", "036Y", "YA", "[0.5, 0.5]", -1024, 1, z, 20210427]


def volume(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([1.0, 1.0, 1.0, 1.0])).to_filename(path)


def chest() -> np.ndarray:
    """A sixth of lung, the rest soft tissue, in Hounsfield units."""
    voxels = np.full((6, 6, 6), 40)
    voxels[:, :, 0] = -850
    return voxels


@pytest.fixture
def release(tmp_path: Path) -> Path:
    names = ["train_1_a_1", "train_1_a_2", "train_1_b_1", "train_2_a_1", "train_10_a_1", "train_3_a_1"]
    top = tmp_path / "dataset"
    table(
        top / "metadata/train_metadata.csv",
        META,
        [facts(name) if name != "train_3_a_1" else facts(name, "") for name in reversed(names)],
    )
    table(top / "metadata/validation_metadata.csv", META, [facts("valid_1_a_1")])
    (top / "metadata/no_chest_train.txt").write_text("train/train_2/train_2_a/train_2_a_1.nii.gz\n")
    table(
        top / "radiology_text_reports/train_reports.csv",
        ["VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN"],
        [[f"{name}.nii.gz", "Not given.", "CT", "Clear.", "Normal."] for name in names],
    )
    table(
        top / "multi_abnormality_labels/train_predicted_labels.csv",
        ["VolumeName", *WORDS],
        [[f"{name}.nii.gz", *[int(word == "Lung nodule") for word in WORDS]] for name in names],
    )
    for name in ("train_1_a_1", "train_1_a_2", "train_1_b_1"):
        scan = name.rsplit("_", 1)[0]
        volume(top / f"train/train_1/{scan}/{name}.nii.gz", chest() + 1024)  # as the first release stores it
    volume(top / "train_fixed/train_1/train_1_a/train_1_a_1.nii.gz", chest())
    volume(top / "valid_fixed/valid_1/valid_1_a/valid_1_a_1.nii.gz", chest())
    return tmp_path


def opened(manifest: Manifest, row: int) -> LazyStack:
    """A volume as the view reads it, its values decided by what they are."""
    view = ReadVolume(size=12, bits=32, windows=("ct_lung_v1",), side_car="ct_rate")
    stack = apply_views(Records(manifest).sample(row), [view]).fields["stack"]
    assert isinstance(stack, LazyStack)
    return stack


def ids(manifest: Manifest) -> list[str]:
    return manifest.column("id").tolist()


def test_a_reconstruction_is_a_row_and_a_scan_is_a_study(release: Path) -> None:
    manifest = index_cohort("ct_rate", release)
    assert ids(manifest) == ["train_1_a_1", "train_1_a_2", "train_1_b_1", "valid_1_a_1"]
    assert manifest.column("id.study").tolist() == ["train_1_a", "train_1_a", "train_1_b", "valid_1_a"]
    assert manifest.column("id.patient").tolist() == ["train_1"] * 3 + ["valid_1"]
    assert manifest.column("split").tolist() == ["train"] * 3 + ["validate"]
    assert manifest.meta["skipped"] == {
        "not_chest": ["train_2_a_1"],
        "no_z_spacing": ["train_3_a_1"],
        "missing_file": ["dataset/train_fixed/train_10/train_10_a/train_10_a_1.nii.gz"],
    }
    heads = release / "dataset/metadata/no_chest_train.txt"
    heads.write_bytes(b"\xef\xbb\xbftrain_2_a_1.nii.gz\r\n")  # as an editor on Windows saves it
    assert index_cohort("ct_rate", release).meta["skipped"] == manifest.meta["skipped"]
    halves = by_patient(manifest, fractions={"train": 0.5, "test": 0.5}).apply(manifest)
    assert len(set(halves.column("split")[:3])) == 1
    record = manifest.record(0)
    assert record["text"] == "FINDINGS: Clear.\n\nIMPRESSION: Normal."
    assert "text.indication" not in record  # "Not given." is nothing
    assert (record["sex"], record["age"], record["scanner"], record["kernel"]) == ("M", 36, "Philips iCT 256", "YA")
    assert (record["label.nodule"], record["label.effusion"]) == (1, 0)
    assert len(manifest.names_of("label")) == 18
    assert not any("2021" in str(value) for value in record.values())


def test_the_root_may_be_the_folder_itself_and_order_is_by_number(release: Path) -> None:
    inside = index_cohort("ct_rate", release / "dataset", {"require_files": False})
    assert ids(inside)[:4] == ["train_1_a_1", "train_1_a_2", "train_1_b_1", "train_10_a_1"]
    assert inside.column("volume")[0] == "train_fixed/train_1/train_1_a/train_1_a_1.nii.gz"


def test_one_reconstruction_a_scan_is_the_first_that_is_there(release: Path) -> None:
    manifest = index_cohort("ct_rate", release, {"recons": "first"})
    assert ids(manifest) == ["train_1_a_1", "train_1_b_1", "valid_1_a_1"]
    assert manifest.meta["skipped"]["other_reconstruction"] == ["train_1_a_2"]  # type: ignore[index]
    for path in (release / "dataset").rglob("train_1_a_1.nii.gz"):
        path.unlink()
    assert ids(index_cohort("ct_rate", release, {"recons": "first"}))[0] == "train_1_a_2"
    top = release / "dataset"
    volume(top / "train/train_1/train_1_a/train_1_a_10.nii.gz", chest())  # 2 comes before 10
    table(top / "metadata/train_metadata.csv", META, [facts(f"train_1_a_{number}") for number in (10, 2)])
    assert ids(index_cohort("ct_rate", release, {"recons": "first"}))[0] == "train_1_a_2"


def test_either_release_is_the_same_chest_in_hounsfield_units_with_the_true_spacing(release: Path) -> None:
    second = index_cohort("ct_rate", release)
    assert second.column("volume")[0] == "dataset/train_fixed/train_1/train_1_a/train_1_a_1.nii.gz"
    a = opened(second, 0)
    pixels = a.take().pixels
    (release / "dataset/train_fixed").rename(release / "away")
    first = index_cohort("ct_rate", release)
    assert first.column("volume")[0] == "dataset/train/train_1/train_1_a/train_1_a_1.nii.gz"
    b = opened(first, 0)
    assert torch.equal(pixels, b.take().pixels)
    assert len(pixels.unique()) == 2  # lung and soft tissue
    assert torch.equal(a.position, b.position)
    assert float(a.position[1, 2] - a.position[0, 2]) == 1.5  # the file says 1 mm


def test_without_the_metadata_there_is_no_rescale(release: Path) -> None:
    for path in (release / "dataset/metadata").iterdir():
        path.unlink()
    manifest = index_cohort("ct_rate", release)
    assert ids(manifest) == ["train_1_a_1", "train_1_a_2", "train_1_b_1"]
    with pytest.raises(DataError, match="'train_1_a_1' lacks a rescale or a spacing: index CT-RATE with its metadata"):
        opened(manifest, 0)


def test_a_wrong_root_or_table_is_one_sentence(release: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of CT-RATE's tables"):
        index_cohort("ct_rate", release / "dataset" / "train")
    path = release / "dataset/metadata/train_metadata.csv"
    text = path.read_text()
    path.write_text(text.replace("train_1_a_1", "scan7"))
    with pytest.raises(DataError, match=r"'scan7.nii.gz' is not a name like train_1_a_1.nii.gz"):
        index_cohort("ct_rate", release)
    path.write_text(text.replace("RescaleSlope", "Slope"))
    with pytest.raises(DataError, match="has no column 'RescaleSlope'"):
        index_cohort("ct_rate", release)
