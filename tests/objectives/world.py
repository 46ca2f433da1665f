"""A step of a tiny trainable model, written out: what the training task must do with an objective's terms.

The samples of a global batch are divided among processes at given bounds, each process weighs its sums with
world / global count, and gradients are averaged over processes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Context, Objective, Part, collectives
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, parse_key
from medvlp.core.registry import build

WORDS = (
    "No acute findings.",
    "Left effusion.",
    "no acute  findings.",
    "Nodule.",
    "Left effusion.",
    "",
    "Rib fracture.",
)
SAMPLES = 7


def rows(count: int, seed: int) -> Tensor:
    """Unit vectors (count, 6) in float64."""
    return unit(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


class Scale(nn.Module):
    """Learnable scale and bias."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor([-0.7], dtype=torch.float64))

    def forward(self, scores: Tensor) -> Tensor:
        return self.log.exp() * scores + self.bias


def rows_of(view: str) -> tuple[Tensor, Tensor]:
    """Values and owners over the global batch: sample 5 has no text, sample 1 has three, sample 3 two images."""
    owner = torch.tensor([0, 1, 1, 1, 2, 3, 4, 6] if view == "text" else [0, 1, 2, 3, 3, 4, 5, 6])
    generator = torch.Generator().manual_seed(len(view))
    return torch.randn(len(owner), 5, generator=generator, dtype=torch.float64), owner


def tokens_of(view: str) -> tuple[Tensor, Tensor]:
    """Tokens and their mask of the rows of `rows_of`, one to six of them real."""
    rows = len(rows_of(view)[1])
    generator = torch.Generator().manual_seed(10 + len(view))
    real = torch.randint(1, 7, (rows, 1), generator=generator)
    return torch.randn(rows, 6, 5, generator=generator, dtype=torch.float64), torch.arange(6)[None] < real


def fields() -> dict[str, Column]:
    every = torch.arange(SAMPLES)
    effusion = torch.tensor([0.0, 1, 0, float("nan"), 1, -1, 0])
    fracture = torch.tensor([0.0, 0, 0, 0, 1, 1, 1])
    return {
        "text": Column(WORDS, every),
        "id.patient": Column(("p", "q", "p", "r", "q", "", "s"), every),
        "id.study": Column(("a", "b", "a", "c", "b", "", "d"), every),
        "label.effusion": Column(effusion, every),
        "label.fracture": Column(fracture, every),
    }


def step(spec: Mapping[str, object], bounds: list[int]) -> dict[str, Tensor]:
    """Value and gradients of one objective on this process's samples, bounds[rank] to bounds[rank + 1]."""
    start, stop = bounds[collectives.rank()], bounds[collectives.rank() + 1]
    objective: Objective = build("objectives", spec, where="test")
    generator = torch.Generator().manual_seed(0)
    towers = {v: nn.Linear(5, 4, dtype=torch.float64) for v in ("image", "text")}
    for tower in towers.values():
        with torch.no_grad():
            tower.weight.copy_(torch.randn(4, 5, generator=generator, dtype=torch.float64))
            tower.bias.copy_(torch.randn(4, generator=generator, dtype=torch.float64))
    scale = Scale()
    parts: dict[Key, Part] = {}
    for view, tower in towers.items():
        values, owner = rows_of(view)
        here = (owner >= start) & (owner < stop)
        parts[parse_key(f"{view}/embedding")] = Part(unit(tower(values[here])), owner[here] - start)
        tokens, mask = (t[here] for t in tokens_of(view))
        longest = int(mask.sum(1).max()) if len(mask) else 1  # each process pads to its own longest row
        parts[parse_key(f"{view}/local")] = Part(tower(tokens[:, :longest]), owner[here] - start)
        parts[parse_key(f"{view}/mask")] = Part(mask[:, :longest], owner[here] - start)
    copies = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    owner = torch.tensor([1, 1, 4])
    here = (owner >= start) & (owner < stop)
    parts[parse_key("text.negative/embedding")] = Part(unit(towers["text"](copies[here])), owner[here] - start)
    whole = Batch(tuple(map(str, range(SAMPLES))), torch.arange(SAMPLES), fields())
    terms = objective(Context(parts=parts, batch=whole.take(start, stop), scale=scale))
    value, loss = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for term in terms.values():
        count = collectives.total(term.count)
        value += collectives.total(term.sum) / count
        loss = loss + collectives.world_size() * term.sum / count
    loss.backward()
    named = {f"{view}.{name}": p for view, tower in towers.items() for name, p in tower.named_parameters()}
    named |= {f"scale.{name}": p for name, p in scale.named_parameters()}
    collectives.average_gradients_(list(named.values()))
    grads = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named.items()}
    return {"value": value, **grads}
