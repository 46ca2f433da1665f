"""ALIGN's recipe is `clip` with options: both directions summed, smoothed labels, a temperature that starts at 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from medvlp.config.tree import load_config
from medvlp.core import Batch
from medvlp.core.registry import build
from tests.objectives.test_clip import context, value
from tests.objectives.world import rows


def test_its_loss_is_the_sum_of_two_smoothed_cross_entropies() -> None:
    (shipped,) = load_config("compare/align.yaml").phases[0].objectives
    spec = {**shipped, "positives": "own", "exclude": "none"}
    weight = spec.pop("weight")
    ctx = context(rows(6, 0), rows(6, 1), Batch.of({"text": list("abcdef")}), scale=1.0)
    z, diagonal = rows(6, 0) @ rows(6, 1).T, torch.arange(6)
    expected = sum(F.cross_entropy(matrix, diagonal, label_smoothing=0.1) for matrix in (z, z.T))
    objective = build("objectives", spec, where="x")
    torch.testing.assert_close(weight * value(objective, ctx), expected, rtol=1e-12, atol=1e-12)


def test_without_smoothing_it_is_twice_clip() -> None:
    ctx = context(rows(6, 0), rows(6, 1), Batch.of({"text": list("abcdef")}), scale=1.0)
    z, diagonal = rows(6, 0) @ rows(6, 1).T, torch.arange(6)
    both = F.cross_entropy(z, diagonal) + F.cross_entropy(z.T, diagonal)
    plain = build("objectives", {"name": "clip"}, where="x")
    torch.testing.assert_close(2 * value(plain, ctx), both, rtol=1e-12, atol=1e-12)


def test_its_temperature_starts_at_1() -> None:
    assert load_config("compare/align.yaml").model["scale"] == {"init": 1.0}
