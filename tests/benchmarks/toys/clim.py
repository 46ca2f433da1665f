"""CLIM: pictures of one object are trained on, regions of pictures of four are named."""

from __future__ import annotations

import torch

from medvlp.data.batch_views.mosaic import Mosaic
from medvlp.models.heads._regions import map_of, within
from medvlp.objectives.clim import Clim
from medvlp.objectives.clip import Clip
from tests.benchmarks.toys._drawn import SIDE, Towers, draw, named, train

CLAIM = "Regions of pictures of several objects are named better after mosaics, single pictures as well as before."
BETTER, WORSE = "clim", "clip"


@torch.no_grad()
def regions(model: Towers, *, local: bool) -> float:
    """Share of objects, four a picture, that are named by the mean of the tokens in their box."""
    seen = draw(300, 4, torch.Generator().manual_seed(10_000))
    tokens = model.tokens(seen.cells)
    maps = map_of((model.local if local else model.raw)(tokens), (SIDE, SIDE))
    row = torch.arange(300).repeat_interleave(4)
    return named(within(maps, seen.boxes.flatten(0, 1) / SIDE, row).flatten(1), model, seen.types.flatten())


@torch.no_grad()
def singles(model: Towers) -> float:
    """Share of pictures of one object that are named."""
    seen = draw(300, 1, torch.Generator().manual_seed(10_001))
    return named(model.raw(model.tokens(seen.cells).mean(dim=1)), model, seen.types[:, 0])


def toy(seed: int) -> dict[str, float]:
    """Return the accuracy of regions, and of single pictures, after both."""
    plain = train(seed, [Clip()], objects=1, steps=200)
    tiled = train(seed, [Clip(), Clim()], objects=1, steps=200, view=Mosaic(resize=False))
    return {
        "clim": regions(tiled, local=True),
        "clip": regions(plain, local=False),
        "clim, single pictures": singles(tiled),
        "clip, single pictures": singles(plain),
    }
