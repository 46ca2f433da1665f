"""Probes of real labels: the packs' own test stays whole, validation is made of training patients, nobody is in two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medvlp.data.splits import split_caveats
from medvlp.runs.data import open_manifest
from medvlp.runs.evaluate import load_evaluation


@pytest.mark.parametrize(
    ("name", "config", "test", "enough"),
    [
        (
            "nih-cxr14",
            "probe/nih_chestxray14.yaml",
            165,
            {"no_finding": 72, "pneumonia": 81, "infiltration": 30, "atelectasis": 18, "edema": 17},
        ),
        (
            "pneumonia-kermany",
            "probe/pneumonia_kermany.yaml",
            375,
            {"no_finding": 125, "pneumonia": 250, "bacterial_pneumonia": 125, "viral_pneumonia": 125},
        ),
    ],
)
def test_splits_of_the_probe_configurations(
    pack: Callable[[str], Path], name: str, config: str, test: int, enough: dict[str, int]
) -> None:
    run = load_evaluation(config, [f"data.root={pack(name)}"])
    manifest = open_manifest(run.data.model_copy(update={"near_images": False}))
    parts = {part: manifest.where({"split": part}) for part in ("train", "validate", "test")}
    people = {part: set(each.column("id.patient").tolist()) for part, each in parts.items()}
    assert len(parts["test"]) == test
    assert sum(map(len, people.values())) == len(set.union(*people.values()))
    assert 0.15 < len(people["validate"]) / len(people["train"] | people["validate"]) < 0.35
    counts = {label: int((parts["test"].column(label) == 1).sum()) for label in manifest.names_of("label")}
    least = run.evaluation.min_positives
    assert {label.removeprefix("label."): n for label, n in counts.items() if n >= least} == enough
    # Every finding of the table has both classes to choose its strength on.
    for label in enough:
        assert set(np.unique(parts["validate"].column(f"label.{label}"))) == {0.0, 1.0}
    assert split_caveats(manifest) == ()
