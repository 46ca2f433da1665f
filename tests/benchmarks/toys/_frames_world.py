"""Short stacks of noisy 64-pixel frames, and towers with 16-pixel patches that learn what happened between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core import Context
from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Encoder, Head
from medvlp.objectives.ila import IlaObjective

SIZE, PATCH, WIDTH = 64, 16, 32
SLICE = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": SIZE}
SLICE |= {"options": {"embed_dim": WIDTH, "depth": 2, "num_heads": 2}}
Data = tuple[Tensor, Tensor]  # (N, S, 1, 64, 64) stacks, (N,) classes


def glyphs(count: int, seed: int) -> Data:
    """Two glyphs, each in a frame of its own somewhere on the 4 x 4 grid; the class is which came first."""
    fixed, draw = torch.Generator().manual_seed(77), torch.Generator().manual_seed(seed)
    shapes = (torch.rand(2, PATCH, PATCH, generator=fixed) > 0.5).float()
    label = torch.randint(2, (count,), generator=draw)
    values = 0.3 * torch.rand(count, 2, 1, SIZE, SIZE, generator=draw)
    place = torch.randint(SIZE // PATCH, (count, 2, 2), generator=draw) * PATCH
    for i in range(count):
        for frame in range(2):
            row, column = place[i, frame].tolist()
            values[i, frame, 0, row : row + PATCH, column : column + PATCH] += 0.7 * shapes[(label[i] + frame) % 2]
    return values, label


def changes(count: int, seed: int) -> Data:
    """A disc, current and prior: has it grown? Its size now tells nothing, and its place changes a little."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (count,), generator=draw)
    now = 10 + 8 * torch.rand(count, generator=draw)
    radius = torch.stack([now, now - 4 * (2 * label - 1)], dim=1)
    centre = 24 + 16 * torch.rand(count, 1, 2, generator=draw) + 4 * torch.randn(count, 2, 2, generator=draw)
    at = torch.arange(SIZE).float()
    far = (at[:, None] - centre[..., 0, None, None]).square() + (at - centre[..., 1, None, None]).square()
    disc = (far < radius[..., None, None].square()).float()[:, :, None]
    return 0.5 * disc + 0.3 * torch.rand(disc.shape, generator=draw), label


class Reader(nn.Module):
    """An encoder of stacks, perhaps a head over its frames, and a linear classifier."""

    def __init__(self, encoder: Encoder, head: Head | None = None, *, frames: int = 2) -> None:
        super().__init__()
        self.encoder, self.head, self.frames = encoder, head, frames
        self.classes = nn.Linear(encoder.width, 2)

    def encode(self, values: Tensor, *parts: str) -> Encoded:
        """Encode the first frames."""
        wanted = {"pooled", *parts, *(() if self.head is None else self.head.reads)}
        return self.encoder(values[:, : self.frames], parts=frozenset(wanted))

    def logits(self, rows: Encoded) -> Tensor:
        """Return (N, 2)."""
        return self.classes(rows.part("pooled") if self.head is None else self.head(rows, "video")["video"])


def accuracy(
    make: Callable[[], Reader], world: Callable[[int, int], Data], seed: int, *, steps: int, aligned: float = 0.0
) -> float:
    """Train on 2,048 stacks, 32 a step, and return the accuracy on 512 others; `aligned` weighs ILA's loss."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = make()
        optimiser = torch.optim.AdamW(reader.parameters(), lr=1e-3, weight_decay=1e-2)
        values, label = world(32 * 64, 2 * seed)
        for step in range(steps):
            some = slice(step % 64 * 32, step % 64 * 32 + 32)
            rows = reader.encode(values[some], *(("alignment",) if aligned else ()))
            loss = F.cross_entropy(reader.logits(rows), label[some])
            if aligned:
                parts: Mapping[str, Any] = {f"stack/{name}": rows.part(name) for name in ("alignment", "mask")}
                ctx = Context.of(parts, {"text": ["x"] * len(rows.owner)})
                loss = loss + aligned * IlaObjective()(ctx)["alignment"].value()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        reader.eval()
        values, label = world(512, 2 * seed + 1)
        with torch.no_grad():
            found = torch.cat([reader.logits(reader.encode(part)) for part in values.split(64)])
    return float((found.argmax(1) == label).float().mean())
