"""CheXpert on small trees in the layouts of its releases."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split

FINDINGS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{FINDINGS}"
TRAIN = [
    "train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
    "train/patient00002/study1/view1_frontal.jpg,Male,90,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    "train/patient00002/study1/view2_lateral.jpg,Male,90,Lateral,,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    "train/patient33093/study1/view1_frontal.jpg,Unknown,0,Frontal,LL,,,,,,,,,,,,,,",
]
VALID = [
    "valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0"
]
TEST = [
    "test/patient64741/study1/view1_frontal.jpg,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,1.0,0.0,1.0,0.0,0.0,1.0",
    "test/patient64741/study1/view2_lateral.jpg,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,1.0,0.0,1.0,0.0,0.0,1.0",
]


def write_table(path: Path, header: str, rows: list[str], prefix: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(prefix + row for row in rows)]) + "\n")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """CheXpert-v1.0-small as it unpacks."""
    root = tmp_path / "CheXpert-v1.0-small"
    write_table(root / "train.csv", HEADER, TRAIN, "CheXpert-v1.0-small/")
    write_table(root / "valid.csv", HEADER, VALID, "CheXpert-v1.0-small/")
    for row in (*TRAIN, *VALID):
        touch(root / row.split(",")[0])
    return root


@pytest.mark.parametrize("place", [".", ".."])
def test_the_small_release_is_read_from_its_folder_or_the_one_above(small: Path, place: str) -> None:
    manifest = index_cohort("chexpert", (small / place).resolve())
    assert manifest.column("split").tolist() == ["train"] * 4 + ["validate"]
    assert all(manifest.path(row).is_file() for row in range(5))  # type: ignore[union-attr]
    assert manifest.column("id").tolist()[0] == "train/patient00001/study1/view1_frontal"
    assert manifest.column("id.patient").tolist() == [
        "patient00001",
        "patient00002",
        "patient00002",
        "patient33093",
        "patient64541",
    ]
    assert manifest.column("id.study")[1] == manifest.column("id.study")[2] == "patient00002/study1"
    assert check_split(manifest, images=False) == []


def test_blank_zero_one_and_uncertain_stay_four_things(small: Path) -> None:
    manifest = index_cohort("chexpert", small)
    assert len(manifest.names_of("label")) == 14
    first, second, valid = manifest.record(0), manifest.record(1), manifest.record(4)
    assert {name: value for name, value in first.items() if name.startswith("label.")} == {
        "label.no_finding": 1,
        "label.pneumothorax": 0,
        "label.support_devices": 1,
    }
    assert {name for name, value in second.items() if value == -1} == {
        "label.cardiomegaly",
        "label.edema",
        "label.consolidation",
        "label.atelectasis",
        "label.effusion",
    }
    assert sum(name.startswith("label.") for name in valid) == 14


def test_unknown_sex_and_age_zero_are_missing_and_views_are_as_the_table_says(small: Path) -> None:
    manifest = index_cohort("chexpert", small)
    assert manifest.column("sex").tolist() == ["F", "M", "M", None, "M"]
    assert manifest.column("age").tolist()[:3] == [68, 90, 90]
    assert "age" not in manifest.record(3)
    assert manifest.meta["ages_of_0_as_missing"] == 1
    assert manifest.column("view_position").tolist() == ["AP", "PA", "LATERAL", "LL", "AP"]
    assert manifest.column("frontal").tolist() == ["yes", "yes", "no", "yes", "yes"]
    frontal = index_cohort("chexpert", small, {"frontal_only": True})
    assert frontal.meta["skipped"] == {"lateral_view": ["train/patient00002/study1/view2_lateral"]}


def test_the_batches_of_the_full_release_hold_patients_without_a_folder_train(tmp_path: Path) -> None:
    first = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    write_table(first / "train.csv", HEADER, TRAIN, "CheXpert-v1.0/")
    write_table(first / "valid.csv", HEADER, VALID, "CheXpert-v1.0/")
    touch(first / VALID[0].split(",")[0])
    for batch, rows in (("2 (train 1)", TRAIN[:2]), ("3 (train 2)", TRAIN[2:])):
        for row in rows:
            touch(tmp_path / f"CheXpert-v1.0 batch {batch}" / row.split(",")[0].removeprefix("train/"))
    manifest = index_cohort("chexpert", tmp_path)
    assert len(manifest) == 5
    assert manifest.column("image")[3] == "CheXpert-v1.0 batch 3 (train 2)/patient33093/study1/view1_frontal.jpg"
    assert manifest.meta["tables"] == [f"{first.name}/train.csv", f"{first.name}/valid.csv"]


def test_labels_of_the_test_come_a_row_an_image_or_a_row_a_study(small: Path) -> None:
    for row in TEST:
        touch(small / row.split(",")[0])
    write_table(small / "test_labels.csv", f"Path,{FINDINGS}", TEST)
    by_image = index_cohort("chexpert", small, {"parts": ["test"]})
    (small / "test_labels.csv").unlink()
    study = TEST[0].split(",", 1)[1]
    write_table(small / "groundtruth.csv", f"Study,{FINDINGS}", [f"CheXpert-v1.0/test/patient64741/study1,{study}"])
    by_study = index_cohort("chexpert", small, {"parts": ["test"]})
    assert len(by_image) == len(by_study) == 2
    assert by_image.hash == by_study.hash
    assert set(by_image.column("split")) == {"test"}
    assert by_image.column("view_position").tolist() == [None, "LATERAL"]
    assert not {"age", "sex"} & set(by_image.record(0))
    together = index_cohort("chexpert", small)
    assert together.column("split").tolist() == ["train"] * 4 + ["validate"] + ["test"] * 2
    assert together.column("age").tolist()[0] == 68


def test_a_study_without_images_is_listed(small: Path) -> None:
    write_table(
        small / "groundtruth.csv", f"Study,{FINDINGS}", ["CheXpert-v1.0/test/patient64999/study1" + ",0.0" * 14]
    )
    for options in ({}, {"parts": ["validate", "test"], "frontal_only": True}):
        manifest = index_cohort("chexpert", small, options)
        assert manifest.meta["skipped"] == {"missing_file": ["test/patient64999/study1"]}


def test_other_labels_and_parts_can_be_chosen(small: Path) -> None:
    other = [TRAIN[0].replace(",1.0,,,,", ",0.0,,,,", 1), *TRAIN[1:]]
    write_table(small / "train_cheXbert.csv", HEADER, other, "CheXpert-v1.0/")
    manifest = index_cohort("chexpert", small, {"tables": {"train": "train_cheXbert.csv"}, "parts": ["train"]})
    assert manifest.record(0)["label.no_finding"] == 0
    assert set(manifest.column("split")) == {"train"}


def test_missing_images_are_listed_and_labels_alone_need_none(small: Path) -> None:
    (small / TRAIN[0].split(",")[0]).unlink()
    manifest = index_cohort("chexpert", small)
    assert manifest.meta["skipped"] == {"missing_file": ["train/patient00001/study1/view1_frontal"]}
    assert len(index_cohort("chexpert", small, {"require_files": False})) == 5


def test_what_is_wrong_is_one_sentence(small: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no label table of CheXpert \(train.csv or valid.csv or val_labels.csv"):
        index_cohort("chexpert", small / "train")
    with pytest.raises(DataError, match=r"holds no label table of CheXpert's part test"):
        index_cohort("chexpert", small, {"parts": ["test"]})
    touch(tmp_path / "CheXpert-v1.0" / TRAIN[0].split(",")[0])
    with pytest.raises(DataError, match=r"holds two files of one view .*: give the folder of one release as root"):
        index_cohort("chexpert", tmp_path)
    write_table(small / "valid.csv", HEADER, [VALID[0].replace("/study1/", "/")])
    with pytest.raises(
        DataError, match=r"valid.csv, line 2: the path does not end in patientN/studyN/viewN_frontal.jpg"
    ):
        index_cohort("chexpert", small)
