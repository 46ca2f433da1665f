"""CLOC: pictures of four objects, all with boxes, one with a name in the text."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou

from medvlp.core.encoded import unit
from medvlp.models.heads._regions import map_of, within
from medvlp.models.heads.prompter import Prompter
from medvlp.objectives.clip import Clip
from medvlp.objectives.cloc import Cloc
from tests.benchmarks.toys._drawn import DIM, SIDE, TYPES, Drawn, Towers, draw, named, train

CLAIM = "A box asked of the prompter is named better than by CLIP's pooled tokens; a name finds its box above chance."
BETTER, WORSE = "cloc", "clip"


def towers() -> Towers:
    model = Towers()
    model.heads["cloc"] = Prompter(token_width=32, embed_dim=DIM)
    return model


def held_out() -> Drawn:
    return draw(300, 4, torch.Generator().manual_seed(10_000))


@torch.no_grad()
def prompted(model: Towers) -> tuple[float, float]:
    """Share of objects named by their box, and the mean IoU of the boxes that names ask for."""
    seen, head = held_out(), model.heads["cloc"]
    tokens = model.tokens(seen.cells).repeat_interleave(4, dim=0)
    boxes, types = seen.boxes.flatten(0, 1) / SIDE, seen.types.flatten()
    right = named(head.of_boxes(tokens, (SIDE, SIDE), boxes), model, types)  # pyrefly: ignore
    found = head.boxes_of(tokens, (SIDE, SIDE), unit(model.names.weight)[types])  # pyrefly: ignore
    return right, box_iou(found, boxes).diagonal().mean().item()


@torch.no_grad()
def pooled(model: Towers) -> float:
    """Share of objects named by the mean of the tokens in their box."""
    seen = held_out()
    maps = map_of(model.raw(model.tokens(seen.cells)), (SIDE, SIDE))
    row = torch.arange(300).repeat_interleave(4)
    return named(within(maps, seen.boxes.flatten(0, 1) / SIDE, row).flatten(1), model, seen.types.flatten())


def mean_box() -> float:
    """Mean IoU of the mean box with all."""
    boxes = held_out().boxes.flatten(0, 1)
    return box_iou(boxes.mean(dim=0, keepdim=True), boxes).mean().item()


def toy(seed: int) -> dict[str, float]:
    """Return the accuracy of regions, and the IoU of grounding."""
    cloc = Cloc(labels=[str(kind) for kind in range(TYPES)], bank="names", same_above=1.0)
    right, overlap = prompted(train(seed, [Clip(), cloc], objects=4, towers=towers, steps=200))
    return {
        "cloc": right,
        "clip": pooled(train(seed, [Clip()], objects=4, steps=200)),
        "cloc, IoU of grounding": overlap,
        "mean box, IoU of grounding": mean_box(),
    }
