"""ComCLIP: two objects, one on each side; who learnt pictures of one object reads captions with the sides swapped."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.answers.com_clip import composed
from medvlp.core.encoded import unit
from medvlp.objectives.clip import Clip
from tests.benchmarks.toys._drawn import SIDE, TYPES, Drawn, Towers, draw, train

CLAIM = "A caption is told from the one with its two objects' sides swapped more often when their halves are put in."
BETTER, WORSE = "com_clip", "clip"
NOISE = 0.5  # at 1.5 and 200 steps, the first setting, both stayed at chance: nobody had learnt sides


def side_of(seen: Drawn) -> Tensor:
    """Return 0 for objects in the left half, 1 for those in the right one."""
    return ((seen.boxes[:, :, 0] + seen.boxes[:, :, 2]) / 2 > SIDE / 2).long()


def single(generator: torch.Generator) -> tuple[Drawn, Tensor]:
    """Return pictures of one object and the name of its type and side."""
    seen = draw(32, 1, generator, noise=NOISE)
    return seen, seen.types[:, 0] * 2 + side_of(seen)[:, 0]


def embedded(model: Towers, cells: Tensor) -> Tensor:
    return model.raw(model.tokens(cells).mean(dim=1))


@torch.no_grad()
def right(model: Towers) -> dict[str, float]:
    """Return how often the true caption is nearer than the swapped one, of pictures with an object on each side."""
    seen = draw(2000, 2, torch.Generator().manual_seed(10_000), noise=NOISE)
    side = side_of(seen)
    apart = side[:, 0] != side[:, 1]
    cells, types, side = seen.cells[apart], seen.types[apart], side[apart]
    halves = torch.zeros(2, 1, SIDE, SIDE)
    halves[0, :, :, : SIDE // 2] = halves[1, :, :, SIDE // 2 :] = 1
    whole, subs = embedded(model, cells), torch.stack([embedded(model, cells * half) for half in halves], dim=1)
    table = model.names.weight
    near: dict[str, list[Tensor]] = {"com_clip": [], "clip": []}
    for said in (side, 1 - side):  # the true caption, and the other
        words = table[types * 2 + said]  # (N, 2, D)
        text = unit(words.sum(dim=1))
        shown = torch.stack([composed(w, s[o], t) for w, s, o, t in zip(whole, subs, said, words, strict=True)])
        for name, rows in (("com_clip", shown), ("clip", whole)):
            near[name].append((unit(rows) * text).sum(dim=1))
    return {name: float((true > false).float().mean()) for name, (true, false) in near.items()}


def toy(seed: int) -> dict[str, float]:
    """Return the accuracy of both with the same towers."""
    return right(train(seed, [Clip()], objects=1, towers=lambda: Towers(2 * TYPES), steps=600, given=single))
