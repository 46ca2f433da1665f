"""DITO: one object in a noisy picture, by the box that is most like its name."""

from __future__ import annotations

import torch

from medvlp.core.encoded import unit
from medvlp.models.heads._regions import map_of
from medvlp.models.heads.box_head import BoxHead
from medvlp.objectives._regions import random_boxes
from medvlp.objectives.dito import Dito
from tests.benchmarks.toys._drawn import DIM, SIDE, Towers, draw, train

CLAIM = "The box most like a name holds its object more often after the maximum over random boxes than after the mean."
BETTER, WORSE = "random boxes", "whole picture"


def towers() -> Towers:
    model = Towers()
    model.heads["dito"] = BoxHead(token_width=32, embed_dim=DIM, width=32, size=1, hidden=32)
    return model


@torch.no_grad()
def located(model: Towers) -> float:
    """Share of objects whose middle lies in the box that is most like their name, of 100 boxes drawn at random."""
    seen = draw(300, 1, torch.Generator().manual_seed(10_000))
    boxes = random_boxes(torch.rand(100, 4, generator=torch.Generator().manual_seed(7)), area=(0.05, 0.2), ratio=(1, 1))
    head, maps = model.heads["dito"], map_of(model.tokens(seen.cells), (SIDE, SIDE))
    row = torch.arange(300).repeat_interleave(100)
    vectors = unit(head.forward_boxes(maps, boxes.repeat(300, 1), row)[0]).view(300, 100, -1)  # pyrefly: ignore
    best = boxes[(vectors @ unit(model.names.weight)[seen.types[:, 0]][:, :, None])[..., 0].argmax(dim=1)]
    middle = (seen.boxes[:, 0, :2] + seen.boxes[:, 0, 2:]) / 2 / SIDE
    return ((middle >= best[:, :2]) & (middle < best[:, 2:])).all(dim=1).float().mean().item()


def toy(seed: int) -> dict[str, float]:
    """Return how often the object is in the box, after both."""
    drawn = Dito(boxes=16, area=(0.05, 0.3))
    whole = Dito(boxes=1, area=(1.0, 1.0), ratio=(1.0, 1.0))
    return {
        name: located(train(seed, [each], objects=1, towers=towers, steps=200))
        for name, each in (("random boxes", drawn), ("whole picture", whole))
    }
