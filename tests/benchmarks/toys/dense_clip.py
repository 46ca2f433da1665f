"""DenseCLIP: few masks, and cells that a pretrained projection has brought near the names of what lies in them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.keys import parse_key
from medvlp.core.protocols import Level
from medvlp.core.registry import build
from medvlp.models.bank import Bank
from medvlp.objectives.dice_ce import DiceCe
from tests.benchmarks.toys._drawn import SIDE, TYPES, WIDTH, Drawn, draw

CLAIM = "With eight drawn pictures, score maps of names beside the level and a loss on them raise the mean IoU."
BETTER, WORSE = "dense_clip", "fpn"
LABELS = [str(kind) for kind in range(TYPES)]
PICTURES, STEPS, NOISE = 8, 400, 0.5  # with 150 steps at noise 1, the first setting, neither head drew anything


def masks(seen: Drawn) -> Tensor:
    """Return what lies where, (N, TYPES, SIDE, SIDE) bool."""
    found = torch.zeros(len(seen.types), TYPES, SIDE, SIDE, dtype=torch.bool)
    for i in range(len(seen.types)):
        for kind, (x0, y0, x1, y1) in zip(seen.types[i].tolist(), seen.boxes[i].long().tolist(), strict=True):
            found[i, kind, y0:y1, x0:x1] = True
    return found


def rows(seen: Drawn) -> Encoded:
    cells = seen.cells
    tokens = cells.flatten(2).transpose(1, 2)
    extra = {"level[0]": cells, "raw": tokens.mean(dim=1)}
    return Encoded(torch.arange(len(cells)), tokens=tokens, grid=(SIDE, SIDE), size=(SIDE, SIDE), extra=extra)


def head_of(name: str, seed: int) -> Any:
    """Return a head; the pretrained projection takes each type's direction to its name's vector, and errs a little."""
    types = unit(torch.randn(TYPES, WIDTH, generator=torch.Generator().manual_seed(99)))  # as `draw` has them
    names = unit(torch.randn(TYPES, WIDTH, generator=torch.Generator().manual_seed(98)))
    matrix = torch.linalg.pinv(types) @ names
    torch.manual_seed(seed)
    matrix = matrix + 0.1 * torch.randn(WIDTH, WIDTH)
    given = {
        "levels": (Level(WIDTH, (1, 1)),),
        "banks": {"names": Bank("names", tuple(LABELS), names)},
        "project": lambda encoded: encoded.part("tokens") @ matrix,
    }
    options = {"bank": "names", "cells": "image", "decoder_width": 32, "decoder_layers": 1, "dropout": 0.0}
    spec = {"name": name, "classes": TYPES, "width": 32, **(options if name == "dense_clip" else {})}
    return build("models/heads", spec, where="toy", given=given)


def trained(name: str, seed: int) -> float:
    """Return the mean IoU on 300 new pictures after training on eight."""
    seen, head = draw(PICTURES, 2, torch.Generator().manual_seed(seed), noise=NOISE), head_of(name, seed)
    objective = DiceCe(labels=LABELS, decoder={"name": name}, scores=0.4 if name == "dense_clip" else 0.0)
    owner, drawn = torch.arange(PICTURES), masks(seen)
    columns = {f"mask.{kind}": Column(drawn[:, k], owner) for k, kind in enumerate(LABELS)}
    batch = Batch(tuple(LABELS[:PICTURES]), owner, {"image": Column(seen.cells, owner), **columns})
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(STEPS):
        parts = {parse_key(f"image/{part}"): Part(v, owner) for part, v in head(rows(seen), "segmentation").items()}
        loss = torch.stack([term.value() for term in objective(Context(parts=parts, batch=batch)).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    new = draw(300, 2, torch.Generator().manual_seed(10_000), noise=NOISE)
    with torch.no_grad():
        found, true = head(rows(new), "segmentation")["segmentation"] > 0, masks(new)
    both, either = ((found & true).sum((0, 2, 3)), (found | true).sum((0, 2, 3)))
    return float((both / either.clamp(min=1)).mean())


def toy(seed: int) -> dict[str, float]:
    """Return the mean IoU of both heads at equal steps."""
    return {name: trained(name, seed) for name in (BETTER, WORSE)}
