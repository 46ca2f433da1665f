"""Pictures of a few objects among empty cells, and texts that name them: who trained on them finds which cell?

A picture has 16 cells of 24 numbers; an object adds the direction of its type to one cell, all cells have noise. Towers
mix each cell (or word) with the mean of all, so that any cell may speak for the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.protocols import Objective

TYPES, FILLERS, CELLS, WIDTH, NOISE = 8, 4, 16, 24, 0.5


@dataclass(frozen=True)
class Pictures:
    """Samples: `cells` (N, 16, 24), the types (N, K) of their objects and the cells (N, K) in which these lie."""

    cells: Tensor
    types: Tensor
    places: Tensor


def draw(count: int, objects: int, *, together: float, generator: torch.Generator) -> Pictures:
    """Draw pictures; types 2 k and 2 k + 1 come together in so large a share of pictures of two objects."""
    directions = unit(torch.randn(TYPES, WIDTH, generator=torch.Generator().manual_seed(99))) * 3
    types = torch.rand(count, TYPES, generator=generator).argsort(dim=1)[:, :objects]
    if together:
        pair = torch.rand(count, generator=generator) < together
        types[pair, 1] = types[pair, 0] ^ 1
    places = torch.rand(count, CELLS, generator=generator).argsort(dim=1)[:, :objects]
    cells = NOISE * torch.randn(count, CELLS, WIDTH, generator=generator)
    cells[torch.arange(count)[:, None], places] += directions[types]
    return Pictures(cells, types, places)


class Mixer(nn.Module):
    """Tokens (R, N, W) -> (R, N, 32), each knowing itself and the mean of all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 32), nn.Linear(64, 32)

    def forward(self, tokens: Tensor) -> Tensor:
        own = self.first(tokens).relu()
        return self.second(torch.cat([own, own.mean(dim=1, keepdim=True).expand_as(own)], dim=2)).relu()


class Towers(nn.Module):
    """Both towers, their projections of pooled tokens (``raw``) and of single ones (``local``), and the logit scale."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.words = Mixer(WIDTH), nn.Sequential(nn.Embedding(TYPES + FILLERS, 32), Mixer(32))
        names = [f"{view}_{part}" for view in ("image", "text") for part in ("raw", "local")]
        self.projections = nn.ModuleDict({name: nn.Linear(32, 16, bias=False) for name in names})
        self.log = nn.Parameter(torch.tensor(10.0).log())

    def parts(self, view: str, values: Tensor) -> dict[str, Tensor]:
        """Return ``embedding``, ``local``, ``mask`` and the tokens projected as the pooled vector is, ``plain``."""
        tokens = self.cells(values) if view == "image" else self.words(values)
        raw, local = self.projections[f"{view}_raw"], self.projections[f"{view}_local"]
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
        return {
            "embedding": unit(raw(tokens.mean(dim=1))),
            "local": local(tokens),
            "mask": mask,
            "plain": unit(raw(tokens)),
        }

    def scale(self, scores: Tensor) -> Tensor:
        """Return scaled scores."""
        return self.log.exp().clamp(max=100) * scores


class _Scale(nn.Module):
    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, scores: Tensor) -> Tensor:
        return self.towers.scale(scores)


def train(
    seed: int, objectives: Sequence[Objective], *, objects: int, rows: int = 1, names: int = 1, together: float = 0.0
) -> Towers:
    """Train towers for 300 batches of 32 pictures, each with `rows` texts of so many `names` and two fillers."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    towers = Towers()
    optimiser = torch.optim.Adam(towers.parameters(), lr=3e-3)
    owner = torch.arange(32).repeat_interleave(rows)
    for _ in range(300):
        seen = draw(32, objects, together=together, generator=generator)
        named = seen.types[:, : rows * names].reshape(-1, names)
        fillers = TYPES + torch.randint(FILLERS, (len(named), 2), generator=generator)
        sides = {"image": (seen.cells, torch.arange(32)), "text": (torch.cat([named, fillers], dim=1), owner)}
        parts = {
            parse_key(f"{view}/{part}"): Part(values, whose)
            for view, (given, whose) in sides.items()
            for part, values in towers.parts(view, given).items()
        }
        words = Column(tuple(" ".join(map(str, sorted(each))) for each in named.tolist()), owner)
        batch = Batch(tuple(map(str, range(32))), torch.arange(32), {"text": words})
        ctx = Context(parts=parts, batch=batch, scale=_Scale(towers))
        loss = torch.stack([term.value() for each in objectives for term in each(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return towers


@torch.no_grad()
def pointing(towers: Towers, *, cell: str, word: str, objects: int, together: float = 0.0) -> float:
    """Return how often the cell most like the name of an object is its cell, over 500 new pictures.

    Args:
        towers: trained.
        cell: part of the cells that is compared: ``local`` or ``plain``.
        word: part of the name: ``embedding``, or ``local`` of its one word.
        objects: of a picture.
        together: see `draw`.
    """
    seen = draw(500, objects, together=together, generator=torch.Generator().manual_seed(10_000))
    cells = unit(towers.parts("image", seen.cells)[cell])
    names = towers.parts("text", torch.arange(TYPES)[:, None])[word]
    names = unit(names[:, 0] if word == "local" else names)
    found = torch.einsum("nkd,ncd->nkc", names[seen.types], cells).argmax(dim=2)
    return (found == seen.places).float().mean().item()
