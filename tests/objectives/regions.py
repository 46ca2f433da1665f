"""Pictures with drawn boxes and phrases, for objectives of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medvlp.core import Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch, Column

SIDE = 40
LABELS = ("effusion", "nodule", "edema")
# finding -> (sample, box in pixels); sample 3 has none
DRAWN: Mapping[str, Sequence[tuple[int, list[float]]]] = {
    "effusion": [(0, [0, 20, 16, 40]), (0, [24, 20, 40, 40]), (2, [0, 24, 12, 40])],
    "nodule": [(0, [10, 4, 16, 10]), (1, [20, 8, 28, 16])],
    "edema": [(2, [4, 4, 36, 36])],
}
BOXES = [(s, label, box) for label in LABELS for s, box in DRAWN[label]]


def rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Tenfold(nn.Module):
    """A logit scale of 10."""

    def forward(self, scores: Tensor) -> Tensor:
        return 10 * scores


def context(
    parts: Mapping[str, Part],
    *,
    drawn: Mapping[str, Sequence[tuple[int, list[float]]]] = DRAWN,
    phrases: Tensor | None = None,
    heads: Mapping[str, nn.Module] | None = None,
) -> Context:
    """Four samples, one picture of 40 by 40 each; phrases (3, 5), random unit vectors unless given."""
    every = torch.arange(4)
    columns = {"image": Column(torch.zeros(4, 1, SIDE, SIDE), every)}
    for label, some in drawn.items():
        if some:
            owner = torch.tensor([sample for sample, _ in some])
            columns[f"boxes.{label}"] = Column(torch.tensor([box for _, box in some]).float(), owner)
    bank = unit(rand(3, 5, seed=9)) if phrases is None else phrases
    made = {parse_key(key): part for key, part in parts.items()}
    made[parse_key("bank.phrases/embedding")] = Part(bank, torch.full((len(bank),), -1))
    return Context(parts=made, batch=Batch(tuple("abcd"), every, columns), scale=Tenfold(), heads=heads, seed=1)
