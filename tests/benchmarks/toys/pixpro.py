"""Patches of texture on a picture: tokens trained place by place and pictures trained as wholes, read cell by cell."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import Encoded
from medvlp.core.keys import parse_key
from medvlp.core.sample import ImageRecord
from medvlp.models.heads.pixel_propagation import PixelPropagation
from medvlp.models.heads.projection import Projection
from medvlp.objectives.byolip import ByoLip
from medvlp.objectives.pixpro import PixPro

CLAIM = (
    "A linear probe finds textures in the cells of a tower trained by PixPro better than of one trained on whole crops."
)
BETTER, WORSE = "pixpro", "instance"
BATCH, STEPS, SIDE, CROP, WIDTH, KINDS = 32, 150, 40, 32, 24, 4


def toy(seed: int) -> dict[str, float]:
    """Return the accuracy of a linear probe for the texture at each cell, on unseen pictures."""
    return {name: _probe(_trained(name, seed), seed) for name in (BETTER, WORSE)}


def _pictures(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (B, 1, S, S) of 5 x 5 squares, each of one of four textures, and which, (B, S, S)."""
    kind = torch.randint(KINDS, (count, 5, 5), generator=generator).repeat_interleave(8, 1).repeat_interleave(8, 2)
    at = torch.arange(SIDE).float()
    waves = [
        at[:, None].expand(SIDE, SIDE),
        at[None].expand(SIDE, SIDE),
        at[:, None] + at[None],
        0 * at[None] + 0 * at[:, None],
    ]
    textures = torch.stack([(1.6 * wave).sin() for wave in waves])
    pixels = torch.stack(
        [textures[kind[n], torch.arange(SIDE)[:, None], torch.arange(SIDE)[None]] for n in range(count)]
    )
    return (pixels + 0.5 * torch.randn(pixels.shape, generator=generator))[:, None], kind


def _tower() -> nn.Sequential:
    layers = [
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, WIDTH, 3, stride=2, padding=1),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers)


def _trained(name: str, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    dense = name == BETTER
    student = nn.ModuleDict({"tower": _tower(), "project": _head("tokens" if dense else "pooled", WIDTH)})
    student["predict"] = PixelPropagation(in_width=16, reads="p") if dense else _head("p", 16)
    teacher = copy.deepcopy(student)
    objective = PixPro() if dense else ByoLip(pairs=[("image.large", "image.large")])
    part = ("pixpro_propagated", "pixpro") if dense else ("byolip_predicted", "byolip")
    optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3)
    owner = torch.arange(BATCH).repeat_interleave(2)
    for _ in range(STEPS):
        pixels, _ = _pictures(BATCH, generator)
        corners = torch.randint(SIDE - CROP + 1, (2 * BATCH, 2), generator=generator).tolist()
        crops = torch.stack([pixels[i // 2, :, y : y + CROP, x : x + CROP] for i, (x, y) in enumerate(corners)])
        crops = crops * (0.7 + 0.6 * torch.rand(2 * BATCH, 1, 1, 1, generator=generator))
        rows = _encoded(student, crops, owner)
        rows = rows.give(student["predict"](rows, "y"))
        with torch.no_grad():
            taught = _encoded(teacher, crops, owner).part("p")
        grid = (CROP // 4, CROP // 4)
        parts = {f"image.large/{part[0]}": rows.part("y"), f"ema:image.large/{part[1]}": taught}
        parts[f"image.large/{part[1]}"] = rows.part("p")
        records = tuple(ImageRecord(seed=0, box=(x, y, x + CROP, y + CROP)) for x, y in corners)
        batch = Batch(
            tuple(map(str, range(BATCH))),
            torch.arange(BATCH),
            {"image.large": Column(crops, owner)},
            {"image.large": records},
        )
        made = {parse_key(key): Part(values, owner, grid) for key, values in parts.items()}
        loss = sum(term.value() for term in objective(Context(parts=made, batch=batch)).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for own, new in zip(teacher.parameters(), student.parameters(), strict=True):
                own.lerp_(new, 0.02)
    return student["tower"]


def _encoded(model: nn.ModuleDict, crops: Tensor, owner: Tensor) -> Encoded:
    maps = model["tower"](crops).flatten(2).transpose(1, 2)
    rows = Encoded(owner=owner, tokens=maps, pooled=maps.mean(dim=1))
    return rows.give(model["project"](rows, "p"))


def _head(reads: str, width: int) -> Projection:
    return Projection(in_width=width, embed_dim=16, reads=reads, hidden=48, norm="batch", stage="batch")


@torch.no_grad()
def _probe(tower: nn.Module, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed + 1)
    pixels, kind = _pictures(120, generator)
    features = tower(pixels).permute(0, 2, 3, 1)
    truth = kind[:, 2::4, 2::4]
    rows = torch.cat([features, torch.ones(*features.shape[:3], 1)], dim=-1)
    weight = torch.linalg.lstsq(
        rows[:60].flatten(0, 2), nn.functional.one_hot(truth[:60], KINDS).float().flatten(0, 2)
    ).solution
    return float(((rows[60:] @ weight).argmax(dim=-1) == truth[60:]).float().mean())
