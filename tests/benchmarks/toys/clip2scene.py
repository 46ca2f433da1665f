"""CLIP2Scene: a volume of three textures, labelled slice by slice by a teacher that errs in every slice anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.keys import parse_key
from medvlp.core.protocols import Level
from medvlp.models.heads.voxel_texts import VoxelTexts
from medvlp.objectives.clip2scene import Clip2scene
from medvlp.state.frozen import Frozen

CLAIM = "Masks of a volume network distilled from slices overlap the truth more than the teacher's own masks of slices."
BETTER, WORSE = "volume", "slices"
CLASSES, DIM, DEPTH, SIDE, BATCH = 3, 8, 6, 12, 4


def volumes(count: int, texts: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return voxels (N, 1, Z, Y, X), their classes, and the teacher's cells (N Z, Y X, D).

    Two balls of their own brightness lie in the background, in noise; the teacher's cell is its class's text in more.
    """
    at = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in (DEPTH, SIDE, SIDE)), indexing="ij"))
    truth = torch.zeros(count, DEPTH, SIDE, SIDE, dtype=torch.int64)
    for kind in (1, 2):
        middle = torch.rand(count, 3, generator=draw) * torch.tensor([DEPTH, SIDE, SIDE])
        radius = 2.5 + 2 * torch.rand(count, 1, 1, 1, generator=draw)
        inside = (at[None] - middle[:, :, None, None, None]).norm(dim=1) < radius
        truth = torch.where(inside, kind, truth)
    pixels = truth[:, None].float() + 0.7 * torch.randn(count, 1, DEPTH, SIDE, SIDE, generator=draw)
    cells = texts[truth] + 0.6 * torch.randn(*truth.shape, DIM, generator=draw)
    return pixels, truth, cells.flatten(0, 1).flatten(1, 2)


def overlap(found: Tensor, truth: Tensor) -> float:
    """Mean intersection over union of the classes."""
    both = [((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum() for k in range(CLASSES)]
    return float(torch.stack(both).mean())


def toy(seed: int) -> dict[str, float]:
    """Mean IoU over 40 new volumes after 600 steps of 4."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    texts = unit(torch.randn(CLASSES, DIM, generator=draw))
    tower = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU())
    head = VoxelTexts(levels=(Level(8, (1, 1, 1)),), classes=CLASSES, embed_dim=DIM, width=8)
    objective = Clip2scene(teacher="t", bank="b", labels=["1", "2"], cells="local", own_from=BATCH * 300)
    optimiser = torch.optim.Adam([*tower.parameters(), *head.parameters()], lr=3e-3)
    owner, mask = torch.arange(BATCH), torch.ones(BATCH, DEPTH, dtype=torch.bool)

    def drawn(pixels: Tensor) -> dict[str, Tensor]:
        rows = torch.arange(len(pixels))
        there = torch.ones(len(pixels), DEPTH, dtype=torch.bool)
        maps = Encoded(owner=rows, mask=there, size=pixels.shape[2:], extra={"level[0]": tower(pixels)})
        return dict(head(maps, "voxels"))

    for step in range(600):
        pixels, _, cells = volumes(BATCH, texts, draw)
        parts = {f"stack/{name}": Part(part, owner) for name, part in drawn(pixels).items()}
        parts["t:image.slices/local"] = Part(cells, owner.repeat_interleave(DEPTH), (SIDE, SIDE))
        parts["t:bank.b/embedding"] = Part(texts, torch.full((CLASSES,), -1))
        columns = {"stack": Column(pixels.transpose(1, 2), owner, mask, torch.zeros(BATCH, DEPTH, 3))}
        ctx = Context(
            parts={parse_key(key): part for key, part in parts.items()},
            batch=Batch(tuple(map(str, owner.tolist())), owner + step * BATCH, columns),
            states={"t": Frozen()},
            heads={"stack/voxels": head},
            samples_seen=step * BATCH,
            seed=seed,
        )
        loss = torch.stack([term.value() for term in objective(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pixels, truth, cells = volumes(40, texts, torch.Generator().manual_seed(10_000 + seed))
    with torch.no_grad():
        found = drawn(pixels)["voxels"].argmax(dim=1)
    own = (unit(cells) @ texts.T).argmax(dim=2).view_as(truth)
    return {"volume": overlap(found, truth), "slices": overlap(own, truth)}
