"""A bundle with a gate says of each file whether it should have been asked; one without says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.data.layouts.phantom import index
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.models.gate import Gate, Space, describe

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


def gate_around(pixels: torch.Tensor, *, limit: float) -> Gate:
    """Let pass what is alike in tones, in Euclidean distance."""
    described = describe(pixels)["tones"]
    space = Space(described, torch.eye(len(described), dtype=torch.float64), limit)
    return Gate({"tones": space}, 0.02, (100, 50))


def test_a_picture_unlike_the_others_is_scored_and_said_not_to_mean_anything(
    tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    bundle = load_bundle(tiny_run.bundle)
    manifest = index(tiny_cohort.root).where({"view_position": ["PA", "AP"]})
    films = [tiny_cohort.root / str(manifest.record(i)["image"]) for i in range(2)]
    plain = VisionLanguageModel(bundle)
    assert plain.verdict(plain.prepare(films[0])) is None
    before = predict_files(plain, films)["results"]
    assert not {"abstained", "ood"} & before[0].keys()
    own = plain.prepare(films[0]).pixels
    assert isinstance(own, torch.Tensor)
    other = plain.prepare(films[1]).pixels
    assert isinstance(other, torch.Tensor)
    apart = float((describe(own)["tones"] - describe(other)["tones"]).norm())
    gated = VisionLanguageModel(replace(bundle, gate=gate_around(own, limit=apart / 2)))
    found = predict_files(gated, films)["results"]
    assert [each["abstained"] for each in found] == [False, True]
    assert found[0]["ood"] == {"flagged": False, "score": 0.0, "reasons": []}
    assert found[1]["ood"]["flagged"] is True
    assert found[1]["ood"]["reasons"][-1] == "tones"
    assert found[1]["ood"]["score"] == pytest.approx(2.0, abs=1e-4)
    # The scores are those of the bundle without a gate: it judges, it does not change.
    assert [each["scores"] for each in found] == [each["scores"] for each in before]
    blank = gated.prepare(np.full((64, 64), 0.5))
    verdict = gated.verdict(blank)
    assert verdict is not None
    assert verdict.reasons[0] == "blank"
    save_bundle(tmp_path / "bundle", replace(bundle, gate=gate_around(own, limit=apart / 2)))
    from medvlp.answers.asking.model import load

    assert predict_files(load(tmp_path / "bundle"), films)["results"] == found
