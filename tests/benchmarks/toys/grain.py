"""GRAIN: classes of the same two parts in another order: which part is left tells them apart."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.models.heads.region_queries import RegionQueries
from medvlp.objectives.clip import Clip
from medvlp.objectives.grain import Grain
from tests.benchmarks.toys._drawn import DIM, TYPES, Drawn, Towers, draw, image_parts, train

CLAIM = "Classes that differ in the order of their parts are told apart better when queries learned boxes and parts."
BETTER, WORSE = "grain", "clip"
CLASSES = 12  # names TYPES ... TYPES + 11: ordered pairs of four types


def towers() -> Towers:
    model = Towers(TYPES + CLASSES)
    shape = {"width": 32, "layers": 2, "heads": 4, "feedforward": 64}
    model.heads["grain"] = RegionQueries(token_width=32, embed_dim=DIM, queries=3, **shape)
    model.raw = torch.nn.Linear(32, DIM, bias=False)
    return model


def pictures(count: int, generator: torch.Generator) -> tuple[Drawn, Tensor]:
    """Return pictures of two parts and the name of their class: the left part, then the right one."""
    types = torch.rand(count, 4, generator=generator).argsort(dim=1)[:, :2]
    seen = draw(count, 2, generator, types=types)
    middle = (seen.boxes[:, :, 0] + seen.boxes[:, :, 2]) + 0.01 * seen.boxes[:, :, 1]  # of equal ones the upper first
    left = middle.argmin(dim=1)
    first, second = (types.gather(1, at[:, None])[:, 0] for at in (left, 1 - left))
    return seen, TYPES + first * 3 + second - (second > first).long()


@torch.no_grad()
def classed(model: Towers) -> float:
    """Share of new pictures whose nearest class name is theirs."""
    seen, names = pictures(500, torch.Generator().manual_seed(10_000))
    vectors = {str(key): part.values for key, part in image_parts(model, seen.cells).items()}["image/embedding"]
    found = (vectors @ unit(model.names.weight)[TYPES:].T).argmax(dim=1)
    return (found == names - TYPES).float().mean().item()


def toy(seed: int) -> dict[str, float]:
    """Return the accuracy of classes with the region terms, and of the same decoder without them."""
    grain = Grain(labels=[str(kind) for kind in range(TYPES)], bank="names")
    given = {"objects": 2, "towers": towers, "steps": 200, "given": lambda generator: pictures(32, generator)}
    return {
        name: classed(train(seed, each, **given)) for name, each in (("grain", [Clip(), grain]), ("clip", [Clip()]))
    }
