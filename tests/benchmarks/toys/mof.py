"""MoF: a tower whose captions never told sides and a self-supervised one, both frozen when captions tell them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import Plan, keys, parse_key
from medvlp.evaluation.blind_pairs import with_scores
from medvlp.features.embed import embed
from medvlp.objectives.clip import Clip
from tests.models.words import DUAL, VISION, dual

CLAIM = "Pairs that differ in side are told apart by interleaved features more often than by the CLIP tower's alone."
BETTER, WORSE = "mof", "clip"
SHAPES, SIDES, BATCH = ("disc", "cross", "bar"), ("left", "right"), 32
TOWER = {**VISION, "coordinates": True}


def toy(seed: int) -> dict[str, float]:
    """Return the share of 150 pairs of which both statements are right; a quarter is chance."""
    draw = torch.Generator().manual_seed(seed)
    blind, seeing = dual({**DUAL, "vision": TOWER}, seed=seed), dual({**DUAL, "vision": TOWER}, seed=100 + seed)
    _train(blind, draw, sides=False, second=False)
    _train(seeing, draw, sides=False, second=True)
    towers = {"first": blind.towers["image"].state_dict(), "second": seeing.towers["image"].state_dict()}
    both = {"name": "mof", "first": TOWER, "second": TOWER, "width": 16}
    scores = {}
    for name, vision in (("mof", both), ("clip", TOWER)):
        model: Any = dual({**DUAL, "vision": vision}, seed=200 + seed)
        tower = model.towers["image"]
        for part, frozen in (
            ((tower.first, "first"), (tower.second, "second")) if name == "mof" else ((tower, "first"),)
        ):
            part.load_state_dict(towers[frozen])
            part.requires_grad_(False)
        _train(model, draw, sides=True, second=False)
        scores[name] = _right(model, draw)
    return scores


def _pictures(shape: Tensor, side: Tensor, draw: torch.Generator) -> Tensor:
    """Return (N, 1, 32, 32) without noise: a shape of 7 pixels somewhere in the left or the right half."""
    out = torch.full((len(shape), 1, 32, 32), 0.3)
    rows = torch.randint(4, 22, (len(shape),), generator=draw)
    columns = torch.randint(2, 8, (len(shape),), generator=draw) + 15 * side
    for i, (kind, y, x) in enumerate(zip(shape.tolist(), rows.tolist(), columns.tolist(), strict=True)):
        spot = out[i, 0, y : y + 7, x : x + 7]
        if kind == 0:
            spot[1:6, 1:6] = 0.9
        else:
            spot[3] = 0.9
            spot[:, 3] = 0.9 if kind == 1 else spot[:, 3]
    return out


def _noisy(clean: Tensor, draw: torch.Generator) -> Tensor:
    return clean + 0.1 * torch.randn(clean.shape, generator=draw)


def _train(model: Any, draw: torch.Generator, *, sides: bool, second: bool, steps: int = 200) -> None:
    """Train what is not frozen on captions, or, where there is a `second` look, on two looks at each picture."""
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    views = ("image", "image.second") if second else ("image", "text")
    objective = Clip(text=views[1], positives="own" if second else "same_report")
    plan, owner = Plan.of(keys(*(f"{view}/embedding" for view in views))), torch.arange(BATCH)
    for _ in range(steps):
        shape, side = (torch.randint(n, (BATCH,), generator=draw) for n in (len(SHAPES), 2))
        clean = _pictures(shape, side, draw)
        words = [
            f"{SIDES[at]} {SHAPES[kind]}" if sides else SHAPES[kind]
            for kind, at in zip(shape.tolist(), side.tolist(), strict=True)
        ]
        batch = Batch.of({"image": _noisy(clean, draw), "image.second": _noisy(clean, draw), "text": words})
        rows = model(batch, plan)
        parts = {parse_key(f"{view}/embedding"): Part(rows[view].part("embedding"), owner) for view in views}
        terms = objective(Context(parts=parts, batch=batch, scale=model.scale))
        optimiser.zero_grad()
        torch.stack([term.value() for term in terms.values()]).sum().backward()
        optimiser.step()


def _right(model: Any, draw: torch.Generator, pairs: int = 150) -> float:
    shape = torch.arange(pairs) % len(SHAPES)
    pictures = torch.cat([_noisy(_pictures(shape, torch.full_like(shape, side), draw), draw) for side in (0, 1)])
    image = np.asarray(embed(model.eval(), "image", list(pictures)))
    said = [((f"left {SHAPES[kind]}",), (f"right {SHAPES[kind]}",)) for kind in shape.tolist()]
    table = pd.DataFrame({"first": range(pairs), "second": range(pairs, 2 * pairs), "statements": said})
    return float(with_scores(table, image, lambda texts: embed(model, "text", list(texts)))["right"].mean())
