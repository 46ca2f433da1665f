"""The shipped configurations on real files of the public sets: they are read, judged, and say what they are of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medvlp.runs.evaluate import evaluate, load_evaluation

if TYPE_CHECKING:
    from medvlp.runs.train import Trained

PACKS = {"nih_chestxray14": "nih-cxr14", "covid_chestxray": "covid-cxr", "pneumonia_kermany": "pneumonia-kermany"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PACKS))
def test_a_public_set_is_judged_by_its_shipped_configuration(
    name: str, pack: Callable[[str], Path], tiny_run: Trained, tmp_path: Path
) -> None:
    words = [f"model={tiny_run.bundle}", f"out={tmp_path / 'out'}", f"data.root={pack(PACKS[name])}", "workers=1"]
    words += [f"data.cache={tmp_path / 'cache'}", "evaluation.resamples=100", "evaluation.min_positives=5"]
    words += ["evaluation.gallery=0", "evaluation.measures.sentences=null", "evaluation.measures.grounding=null"]
    config = load_evaluation(f"evaluate/{name}.yaml", words)
    found = evaluate(config, page=False).found
    (usual,) = [each for each in config.report if each.usual]
    row = found[usual.result].find(usual.metric, usual.label, split="test")
    assert row.value is not None
    assert row.interval.low is not None
    assert row.interval.low <= row.value <= row.interval.high  # type: ignore[operator]
    assert row.counts.n == {"nih_chestxray14": 165, "covid_chestxray": 81, "pneumonia_kermany": 375}[name]
    assert row.counts.patients < row.counts.n  # several images a patient, who is drawn as one
