"""GOPro's loss: consistency of the texts of three views, and SimCLR against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Context, Part
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch
from medvlp.objectives.gopro import GOProLoss

VIEWS = ("image", "image.strong", "image.mixed")


def context(texts: list[Tensor], first: Tensor, second: Tensor, owners: list[list[int]] | None = None) -> Context:
    rows = owners or [list(range(len(t))) for t in texts]
    parts = {
        parse_key(f"{v}/findings_texts"): Part(t, torch.tensor(o)) for v, t, o in zip(VIEWS, texts, rows, strict=True)
    }
    for view, values in zip(VIEWS[:2], (first, second), strict=True):
        parts[parse_key(f"{view}/gopro")] = Part(values, torch.arange(len(values)))
    return Context(parts=parts, batch=Batch.of({"text": ["x"] * len(first)}))


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_its_equations() -> None:
    texts, a, b = [drawn(3, 4, 5, seed=i) for i in range(3)], drawn(3, 6, seed=8), drawn(3, 6, seed=9)
    terms = GOProLoss(simclr=0.1, temperature=0.5)(context(texts, a, b))
    squares = [
        [(texts[0][r, k, d] - texts[v][r, k, d]).item() ** 2 for r in range(3) for k in range(4) for d in range(5)]
        for v in (1, 2)
    ]
    assert terms["consistency"].value().item() == pytest.approx(sum(sum(s) / len(s) for s in squares))
    rows = [v / v.norm() for v in (*a, *b)]
    losses = []
    for i, row in enumerate(rows):
        near = [math.exp((row @ other).item() / 0.5) for other in rows]
        losses.append(-math.log(near[(i + 3) % 6] / (sum(near) - near[i])))
    assert terms["simclr"].value().item() == pytest.approx(0.1 * sum(losses) / 6)


def test_equal_views_are_consistent() -> None:
    texts, a = drawn(3, 4, 5, seed=0), drawn(3, 6, seed=1)
    assert GOProLoss()(context([texts] * 3, a, a))["consistency"].value() == 0


def test_a_picture_without_a_view_is_refused() -> None:
    texts, a = drawn(3, 4, 5, seed=0), drawn(3, 6, seed=1)
    found = context([texts, texts[:2], texts], a, a, [[0, 1, 2], [0, 1], [0, 1, 2]])
    with pytest.raises(ConfigError, match=r"'gopro' compares 'image.strong' with 'image', and a picture lacks one"):
        GOProLoss()(found)
