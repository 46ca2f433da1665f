"""Kermany's class folders: patients from names, both forms of names, the archive that holds itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split
from medvlp.runs.data import open_manifest
from medvlp.runs.evaluate import load_evaluation


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
        "chest_xray/train/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg",
        "chest_xray/train/PNEUMONIA/person7_bacteria_24.jpeg",
        "chest_xray/train/PNEUMONIA/person7_virus_12_1.jpeg",
        "chest_xray/train/PNEUMONIA/.DS_Store",
        "chest_xray/val/PNEUMONIA/person1946_bacteria_4874.jpeg",
        "chest_xray/test/PNEUMONIA/person1_virus_6.jpeg",
        "chest_xray/test/NORMAL/person3_virus_1.jpeg",
        "chest_xray/test/NORMAL/Thumbs.db",
        "chest_xray/chest_xray/train/NORMAL/IM-0115-0001.jpeg",
        "chest_xray/__MACOSX/train/NORMAL/._IM-0115-0001.jpeg",
    )
    return tmp_path


def test_the_archive_that_repeats_itself_is_read_once_and_all_else_is_listed(kaggle: Path) -> None:
    manifest = index_cohort("pneumonia_kermany", kaggle)
    assert sorted(manifest.column("split")) == ["test", *["train"] * 4, "validate"]
    assert manifest.meta["skipped"] == {
        "second_copy": ["chest_xray/chest_xray"],
        "no_image": ["chest_xray/test/NORMAL/Thumbs.db"],
        "name_contradicts_folder": ["chest_xray/test/NORMAL/person3_virus_1.jpeg"],
    }
    assert index_cohort("pneumonia_kermany", kaggle / "chest_xray").column("id.patient").tolist() == (
        manifest.column("id.patient").tolist()
    )


@pytest.mark.parametrize("config", ["probe/pneumonia_kermany.yaml", "probe/pneumonia_kinds.yaml"])
def test_the_probes_read_the_re_upload_without_its_folder_val(kaggle: Path, config: str) -> None:
    touch(kaggle, "chest_xray/test/PNEUMONIA/person7_virus_3.jpeg")  # a number that the training folder has too
    manifest = open_manifest(load_evaluation(config, [f"data.root={kaggle}", "data.near_images=false"]).data)
    assert set(manifest.column("split")) == {"train", "validate", "test"}
    assert "P1946" not in manifest.column("id.patient")
    assert manifest.meta["leaks"]["found"]["patient"] >= 1  # counted and told


def test_equal_numbers_are_one_child_unless_kinds_are_told_apart(kaggle: Path) -> None:
    wide = index_cohort("pneumonia_kermany", kaggle)
    narrow = index_cohort("pneumonia_kermany", kaggle, {"patients": "kind"})
    pairs = zip(wide.column("id.patient"), narrow.column("id.patient"), strict=True)
    by_name = dict(zip(wide.column("image"), pairs, strict=True))
    (a, a2), (b, b2) = (by_name[f"chest_xray/train/PNEUMONIA/person7_{x}.jpeg"] for x in ("bacteria_24", "virus_12_1"))
    assert a == b
    assert a2 != b2
    (c, c2), (d, d2) = (
        by_name[f"chest_xray/train/NORMAL/{x}.jpeg"] for x in ("IM-0115-0001", "NORMAL2-IM-0115-0001-0002")
    )
    assert c == d != a
    assert c2 != d2


def test_labels_are_the_folder_and_the_kind_of_the_name(kaggle: Path) -> None:
    manifest = index_cohort("pneumonia_kermany", kaggle).where({"split": ["train"]})
    labels = {
        record["image"].rpartition("/")[2]: [  # type: ignore[attr-defined]
            record[f"label.{name}"] for name in ("no_finding", "pneumonia", "bacterial_pneumonia", "viral_pneumonia")
        ]
        for record in map(manifest.record, range(len(manifest)))
    }
    assert labels["IM-0115-0001.jpeg"] == [1, 0, 0, 0]
    assert labels["person7_bacteria_24.jpeg"] == [0, 1, 1, 0]
    assert labels["person7_virus_12_1.jpeg"] == [0, 1, 0, 1]


def test_names_of_the_sources_third_version_and_names_that_tell_nothing(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/PNEUMONIA/BACTERIA-7422-0001.jpeg",
        "test/PNEUMONIA/VIRUS-7422-0002.jpeg",
        "test/PNEUMONIA/scan17.jpeg",
    )
    manifest = index_cohort("pneumonia_kermany", tmp_path)
    records = {str(record["image"]): record for record in map(manifest.record, range(3))}
    assert records["train/PNEUMONIA/BACTERIA-7422-0001.jpeg"]["label.bacterial_pneumonia"] == 1
    assert [leak.kind for leak in check_split(manifest, images=False)] == ["patient"]
    unknown = records["test/PNEUMONIA/scan17.jpeg"]
    assert unknown["label.pneumonia"] == 1
    assert not {"id.patient", "label.viral_pneumonia", "label.bacterial_pneumonia"} & set(unknown)


def test_a_folder_without_classes_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no folder train/NORMAL.*give the unpacked data set as root"):
        index_cohort("pneumonia_kermany", tmp_path)
