"""A world of classes seen as images and texts, two small towers, and their training with or without a teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, parse_key
from medvlp.core.protocols import Objective, State
from medvlp.models.scale import LogitScale
from medvlp.state.frozen import Frozen

CLASSES, CODE, SEEN = 20, 8, 64


@dataclass(frozen=True)
class World:
    """What images and texts of a content look like; the same for all samples of a seed."""

    codes: Tensor  # (CLASSES, CODE)
    mixers: Mapping[str, Tensor]

    @classmethod
    def of(cls, seed: int) -> World:
        draw = torch.Generator().manual_seed(seed)
        mixers = {name: torch.randn(2 * CODE, SEEN, generator=draw) for name in ("image", "text")}
        return cls(torch.randn(CLASSES, CODE, generator=draw), mixers)

    def contents(self, label: Tensor, draw: torch.Generator, own: float = 0.5) -> Tensor:
        """What is to be said of each sample: its class's code, and something of its own."""
        return self.codes[label] + own * torch.randn(len(label), CODE, generator=draw)

    def shown(self, kind: str, content: Tensor, draw: torch.Generator, noise: float = 1.0) -> Tensor:
        """Show contents, (N, SEEN): mixed with as many numbers that mean nothing."""
        private = noise * torch.randn(content.shape, generator=draw)
        return torch.tanh(torch.cat([content, private], dim=1) @ self.mixers[kind] / 3)

    def pairs(self, label: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """An image and a text of each sample."""
        content = self.contents(label, draw)
        return {kind: self.shown(kind, content, draw) for kind in self.mixers}


class Towers(nn.Module):
    """A perceptron for images and one for texts."""

    def __init__(self, seed: int, *, hidden: int = 128, width: int = 16) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for name in ("image", "text"):
                setattr(self, name, nn.Sequential(nn.Linear(SEEN, hidden), nn.ReLU(), nn.Linear(hidden, width)))
        self.scale = LogitScale()

    def forward(self, view: str, values: Tensor) -> Tensor:
        """Raw embeddings of a view."""
        return self.get_submodule(view.partition(".")[0])(values)

    def frozen(self) -> Frozen:
        """A teacher that is a copy of it."""
        state = Frozen()
        state._keep(copy.deepcopy(self))  # type: ignore[arg-type]
        return state


def parts_of(towers: nn.Module, views: Mapping[str, Tensor], who: str = "") -> dict[Key, Part]:
    """Raw and unit embeddings, one row a sample."""
    found = {}
    for view, values in views.items():
        raw = towers(view, values)
        for part, rows in (("raw", raw), ("embedding", unit(raw))):
            found[parse_key(f"{who}{view}/{part}")] = Part(rows, torch.arange(len(rows)))
    return found


def train(
    towers: Towers,
    data: Mapping[str, Tensor],
    objectives: Sequence[tuple[Objective, float]],
    *,
    steps: int,
    seed: int,
    rate: float = 3e-3,
    teacher: Frozen | None = None,
    only: Sequence[str] = (),
    more: Mapping[Key, Part] | None = None,
    size: int = 64,
) -> Towers:
    """Train in place; `only` names the terms that count, `more` parts that every step has."""
    optimiser = torch.optim.AdamW(towers.parameters(), lr=rate, weight_decay=1e-3)
    draw, states = torch.Generator().manual_seed(seed), dict[str, State]()
    if teacher is not None:
        states["teacher"] = teacher
    for step in range(steps):
        rows = torch.randperm(len(data["image"]), generator=draw)[:size]
        views = {view: values[rows] for view, values in data.items()}
        parts = parts_of(towers, views) | dict(more or {})
        if teacher is not None:
            with torch.no_grad():
                parts |= parts_of(teacher.model, views, "teacher:")
        batch = Batch.of({"id.patient": [str(row) for row in rows.tolist()]}, first=size * step)
        ctx = Context(parts=parts, batch=batch, scale=towers.scale, states=states, samples_seen=size * step)
        loss = torch.zeros(())
        for objective, weight in objectives:
            loss = loss + sum(weight * t.value() for name, t in objective(ctx).items() if not only or name in only)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for module in (towers.scale, *(objective for objective, _ in objectives)):
            if hasattr(module, "after_step"):
                module.after_step(size * (step + 1))
    return towers


@torch.no_grad()
def zero_shot(towers: nn.Module, data: Mapping[str, Tensor], label: Tensor) -> float:
    """Share of the images that are nearest to the mean text of their class, among the classes that are there."""
    image, text = (unit(towers(view, data[view])) for view in ("image", "text"))
    there = label.unique()
    means = unit(torch.stack([text[label == each].mean(dim=0) for each in there]))
    return float((there[(image @ means.T).argmax(dim=1)] == label).float().mean())


@torch.no_grad()
def retrieval(towers: nn.Module, data: Mapping[str, Tensor]) -> float:
    """Share of the images whose own text is the nearest."""
    image, text = (unit(towers(view, data[view])) for view in ("image", "text"))
    return float(((image @ text.T).argmax(dim=1) == torch.arange(len(image))).float().mean())


@torch.no_grad()
def gap(towers: nn.Module, data: Mapping[str, Tensor]) -> float:
    """Distance between the mean image and the mean text on the sphere."""
    image, text = (unit(towers(view, data[view])).mean(dim=0) for view in ("image", "text"))
    return float((image - text).norm())
