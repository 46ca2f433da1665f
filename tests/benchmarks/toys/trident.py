"""Trident: three textures in one picture, values of words with much noise, and another tower that sees the textures."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.features.maps._affinity import affinity

CLAIM = "Values gathered over the affinities of a tower that sees the regions give a higher mean IoU than values alone."
BETTER, WORSE = "trident", "maskclip"
SIDE, CLASSES, WIDTH = 14, 3, 32


def region(generator: torch.Generator) -> Tensor:
    """Return which texture each cell has, (SIDE * SIDE,): a ground, and two boxes on it."""
    cells = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    for kind in (1, 2):
        height, width = torch.randint(4, 8, (2,), generator=generator).tolist()
        y, x = (int(torch.randint(0, SIDE - n + 1, (1,), generator=generator)) for n in (height, width))
        cells[y : y + height, x : x + width] = kind
    return cells.flatten()


def mean_iou(found: Tensor, true: Tensor) -> float:
    """Return the mean of the classes' intersection over union."""
    pairs = [(found == kind, true == kind) for kind in range(CLASSES)]
    return sum(float((a & b).sum() / (a | b).sum()) for a, b in pairs) / CLASSES


def toy(seed: int) -> dict[str, float]:
    """Return the mean IoU over 100 pictures with and without the second tower, whose tokens have noise too."""
    draw = torch.Generator().manual_seed(seed)
    texts, looks = (unit(torch.randn(CLASSES, WIDTH, generator=draw)) for _ in range(2))
    found: dict[str, list[Tensor]] = {"trident": [], "maskclip": []}
    true = []
    for _ in range(100):
        kinds = region(draw)
        values = texts[kinds] + 0.4 * torch.randn(len(kinds), WIDTH, generator=draw)
        tokens = looks[kinds] + 0.1 * torch.randn(len(kinds), WIDTH, generator=draw)
        weights = affinity(tokens, beta=1.2, gamma=3.0)
        for name, rows in (("trident", weights @ values), ("maskclip", values)):
            found[name].append((unit(rows) @ texts.T).argmax(dim=1))
        true.append(kinds)
    return {name: mean_iou(torch.cat(each), torch.cat(true)) for name, each in found.items()}
