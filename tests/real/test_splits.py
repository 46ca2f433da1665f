"""Splits of real label tables: the lists of a release, and labels as unevenly spread as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medvlp.data.layouts import index_cohort
from medvlp.data.manifest import Manifest
from medvlp.data.splits import make_split

SHARES = {"train": 0.7, "validate": 0.1, "test": 0.2}


@pytest.fixture(scope="module")
def nih(pack: Callable[[str], Path]) -> Manifest:
    columns = {"image": "images_001/images/{Image Index}", "text": "Finding Labels", "patient_id": "Patient ID"}
    options = {"table": "Data_Entry_2017_v2020.csv", "columns": columns}
    manifest = index_cohort("csv", pack("nih-cxr14"), options)
    words = [set(str(text).split("|")) for text in manifest.column("text")]
    for word in sorted(set.union(*words) - {"No Finding"}):
        manifest = manifest.with_column(f"label.{word.lower()}", [float(word in found) for found in words])
    return manifest


def test_the_lists_of_nih_name_every_image_once_and_part_no_patient(nih: Manifest) -> None:
    files = {"train": "train_val_list.txt", "test": "test_list.txt"}
    split = make_split(nih, {"name": "ids", "files": files})
    listed = {part: len((nih.root / name).read_text().split()) for part, name in files.items()}
    assert {part: len(ids) for part, ids in split.parts.items()} == listed
    assert split.missing_in(nih) == split.unlisted_in(nih) == ()
    patient = dict(zip(nih.column("id"), nih.column("id.patient"), strict=True))
    train, test = ({patient[name] for name in split.parts[part]} for part in ("train", "test"))
    assert not train & test


def test_fourteen_findings_of_nih_are_spread_better_than_by_a_plain_draw(nih: Manifest) -> None:
    found = {}
    for name in ("patient", "stratified"):
        sides = make_split(nih, {"name": name, "fractions": SHARES}).apply(nih).column("split")
        positives = [nih.column(label) == 1 for label in nih.names_of("label")]
        found[name] = np.mean(
            [abs((sides[rows] == part).mean() - share) / share for rows in positives for part, share in SHARES.items()]
        )
    assert found["stratified"] < 0.5 * found["patient"]


def test_five_folds_of_kermany_hold_each_child_once_and_pneumonia_evenly(pack: Callable[[str], Path]) -> None:
    columns = {"image": "path", "text": "label", "patient_id": "patient_group"}
    manifest = index_cohort("csv", pack("pneumonia-kermany"), {"table": "labels.csv", "columns": columns})
    manifest = manifest.with_column("label.pneumonia", (manifest.column("text") == "PNEUMONIA").astype(float))
    splits = [make_split(manifest, {"name": "kfold", "fold": k, "stratify": True}) for k in range(5)]
    assert sorted(name for split in splits for name in split.parts["test"]) == sorted(manifest.column("id"))
    label = dict(zip(manifest.column("id"), manifest.column("label.pneumonia"), strict=True))
    shares = [np.mean([label[name] for name in split.parts["test"]]) for split in splits]
    assert max(shares) - min(shares) < 0.01
