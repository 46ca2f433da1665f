"""Pictures of a few objects, each in a box of its own, with names: who trained on them knows what lies where?

A picture is a grid of cells of 16 numbers; an object adds the direction of its type to the cells of its box, all cells
have noise. A tower mixes each cell with the mean of all, so that any cell may speak for the whole picture, and knows
where a cell lies. A text is one name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.keys import Key, parse_key
from medvlp.core.protocols import Head, Objective
from medvlp.models.heads._regions import centres

TYPES, SIDE, WIDTH, DIM = 8, 6, 16, 16
BATCH = 32


@dataclass(frozen=True)
class Drawn:
    """`cells` (N, 16, 6, 6); types (N, K) and boxes (N, K, 4), x0, y0, x1, y1 in cells, of their objects."""

    cells: Tensor
    types: Tensor
    boxes: Tensor


def draw(
    count: int, objects: int, generator: torch.Generator, *, types: Tensor | None = None, noise: float = 1.5
) -> Drawn:
    """Draw pictures; an object covers one to two cells each way in a quarter of its own, whichever."""
    directions = unit(torch.randn(TYPES, WIDTH, generator=torch.Generator().manual_seed(99))) * 3
    if types is None:
        types = torch.rand(count, TYPES, generator=generator).argsort(dim=1)[:, :objects]
    quarter = torch.rand(count, 4, generator=generator).argsort(dim=1)[:, :objects]
    size = torch.randint(1, 3, (count, objects, 2), generator=generator)
    low = torch.stack([quarter % 2, quarter // 2], dim=2) * 3
    low = low + (torch.rand(count, objects, 2, generator=generator) * (4 - size)).long()
    boxes = torch.cat([low, low + size], dim=2)
    cells = noise * torch.randn(count, WIDTH, SIDE, SIDE, generator=generator)
    for i in range(count):
        for kind, (x0, y0, x1, y1) in zip(types[i].tolist(), boxes[i].tolist(), strict=True):
            cells[i, :, y0:y1, x0:x1] += directions[kind, :, None, None]
    return Drawn(cells, types, boxes.float())


class Towers(nn.Module):
    """Tokens of cells, their projections, a table of names, and heads by name."""

    def __init__(self, names: int = TYPES) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH + 2, 32), nn.Linear(64, 32)
        self.raw, self.local = nn.Linear(32, DIM, bias=False), nn.Linear(32, DIM, bias=False)
        self.names = nn.Embedding(names, DIM)
        self.log = nn.Parameter(torch.tensor(10.0).log())
        self.heads = nn.ModuleDict()

    def tokens(self, cells: Tensor) -> Tensor:
        """Return (N, h w, 32)."""
        place = centres(cells.shape[2:], like=cells).expand(len(cells), -1, -1)
        own = self.first(torch.cat([cells.flatten(2).transpose(1, 2), place], dim=2)).relu()
        return self.second(torch.cat([own, own.mean(dim=1, keepdim=True).expand_as(own)], dim=2)).relu()

    def forward(self, scores: Tensor) -> Tensor:
        """Scale scores."""
        return self.log.exp().clamp(max=100) * scores


def image_parts(towers: Towers, cells: Tensor, view: str = "image") -> dict[Key, Part]:
    """Return tokens, their projection, the embedding, and what tower heads ``image/NAME`` give."""
    tokens, owner, grid = towers.tokens(cells), torch.arange(len(cells)), tuple(cells.shape[2:])
    found = {"tokens": tokens, "local": towers.local(tokens), "embedding": unit(towers.raw(tokens.mean(dim=1)))}
    rows = Encoded(owner=owner, tokens=tokens, mask=torch.ones(tokens.shape[:2], dtype=torch.bool), grid=grid)
    for name, head in towers.heads.items():
        if isinstance(head, Head) and head.stage == "tower":
            found |= head(rows, name)
    if "grain" in found:
        found["embedding"] = unit(towers.raw(found["grain"]))
    return {parse_key(f"{view}/{name}"): Part(values, owner, grid) for name, values in found.items()}


def train(
    seed: int,
    objectives: Sequence[Objective],
    *,
    objects: int,
    towers: Callable[[], Towers] = Towers,
    steps: int = 300,
    view: Callable[..., Batch] | None = None,
    given: Callable[[torch.Generator], tuple[Drawn, Tensor]] | None = None,
) -> Towers:
    """Train on batches of 32 pictures, each with the name of its first object unless `given` tells other names."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = towers()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    owner = torch.arange(BATCH)
    for step in range(steps):
        seen = draw(BATCH, objects, generator) if given is None else None
        seen, names = (seen, seen.types[:, 0]) if seen is not None else given(generator)  # pyrefly: ignore
        words = Column(tuple(str(name) for name in names.tolist()), owner)
        columns = {"image": Column(seen.cells, owner), "text": words, **boxes_of(seen)}
        batch = Batch(tuple(map(str, owner.tolist())), owner + step * BATCH, columns)
        batch = batch if view is None else view(batch, seed=seed)
        parts = image_parts(model, seen.cells)
        if "image.mosaic" in batch:
            made = batch["image.mosaic"]
            more = image_parts(model, made.values, "image.mosaic")  # pyrefly: ignore
            parts |= {key: Part(part.values, made.owner, part.grid) for key, part in more.items()}
        table = unit(model.names.weight)
        parts[parse_key("text/embedding")] = Part(table[names], owner)
        parts[parse_key("bank.names/embedding")] = Part(table[:TYPES], torch.full((TYPES,), -1))
        heads: Mapping[str, nn.Module] = dict(model.heads.items())
        ctx = Context(parts=parts, batch=batch, scale=model, heads=heads, seed=seed)
        loss = torch.stack([term.value() for each in objectives for term in each(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def boxes_of(seen: Drawn) -> dict[str, Column]:
    """Return ``boxes.TYPE``, in cells."""
    columns = {}
    for kind in range(TYPES):
        sample, place = (seen.types == kind).nonzero(as_tuple=True)
        if len(sample):
            columns[f"boxes.{kind}"] = Column(seen.boxes[sample, place], sample)
    return columns


def named(vectors: Tensor, model: Towers, types: Tensor) -> float:
    """Return the share of vectors (M, D) whose nearest name is their type's (M,)."""
    found = (unit(vectors) @ unit(model.names.weight)[:TYPES].T).argmax(dim=1)
    return (found == types).float().mean().item()
