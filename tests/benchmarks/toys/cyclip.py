"""CyCLIP (Goel et al. 2022): what the texts say of an image and what its neighbours say agree more often."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.scale import LogitScale
from medvlp.objectives.clip import Clip
from medvlp.objectives.cyclip import Cyclip

CLAIM = "Beside CLIP the consistency terms raise zero-shot accuracy, and its agreement with the nearest images' class."
BETTER, WORSE = "cyclip", "clip"

CLASSES, TRAIN, TEST, STEPS, BATCH = 40, 2000, 800, 400, 32


def toy(seed: int) -> dict[str, float]:
    """Return zero-shot accuracy of each, and beside it the share of images of which both ways say the same."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randn(CLASSES, 16, generator=draw)
    mixers = [torch.randn(48, 64, generator=draw) for _ in range(2)]
    train, test = (_pairs(count, codes, mixers, draw) for count in (TRAIN, TEST))
    found = {}
    for name in ("clip", "cyclip"):
        towers = _trained(name == "cyclip", train, seed)
        found[name], found[f"{name}_agreement"] = _accuracy(towers, train, test)
    return found


def _pairs(count: int, codes: Tensor, mixers: list[Tensor], draw: torch.Generator) -> list[Tensor]:
    """Return images and texts of samples whose class is their number modulo the classes."""
    shared = torch.cat([codes[torch.arange(count) % CLASSES], 0.5 * torch.randn(count, 16, generator=draw)], dim=1)
    private = [size * torch.randn(count, 16, generator=draw) for size in (2.0, 1.0)]
    return [torch.tanh(torch.cat([shared, p], dim=1) @ mixer / 6) for p, mixer in zip(private, mixers, strict=True)]


def _trained(consistent: bool, pairs: list[Tensor], seed: int) -> nn.ModuleList:
    torch.manual_seed(seed)
    towers = nn.ModuleList(
        nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64))
        for _ in range(2)
    )
    scale, objectives = LogitScale(), [Clip(), Cyclip()] if consistent else [Clip()]
    optimiser = torch.optim.AdamW([*towers.parameters(), *scale.parameters()], lr=1e-3, weight_decay=0.05)
    draw = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        rows = torch.randperm(TRAIN, generator=draw)[:BATCH]
        parts = {
            parse_key(f"{view}/embedding"): Part(unit(tower(values[rows])), torch.arange(BATCH))
            for view, tower, values in zip(("image", "text"), towers, pairs, strict=True)
        }
        ctx = Context(parts=parts, batch=Batch.of({"text": [str(row) for row in rows.tolist()]}), scale=scale)
        loss = sum((term.value() for objective in objectives for term in objective(ctx).values()), torch.zeros(()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        scale.after_step(step)
    return towers


@torch.no_grad()
def _accuracy(towers: nn.ModuleList, train: list[Tensor], test: list[Tensor]) -> tuple[float, float]:
    image, _ = (unit(tower(values)) for tower, values in zip(towers, test, strict=True))
    known_images, known_texts = (unit(tower(values)) for tower, values in zip(towers, train, strict=True))
    label = torch.arange(TRAIN) % CLASSES
    names = unit(torch.stack([known_texts[label == k].mean(dim=0) for k in range(CLASSES)]))
    by_text = (image @ names.T).argmax(dim=1)
    by_neighbours = label[(image @ known_images.T).topk(10).indices].mode(dim=1).values
    right = by_text == torch.arange(TEST) % CLASSES
    return float(right.float().mean()), float((by_text == by_neighbours).float().mean())
