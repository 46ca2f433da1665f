"""A small model with everything that a teacher must follow or switch off: weights, statistics, counters, dropout."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Encoded, Head, HeadSpec, Model, Plan


class Shift(Head):
    """A head with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros(1))

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        return {name: encoded.part("pooled") + self.by}


class Toy(Model):
    """image -> Linear, BatchNorm, Dropout -> pooled."""

    def __init__(self, *, seed: int = 0, width: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.tower = nn.Linear(4, width)
        with torch.no_grad():
            self.tower.weight.copy_(torch.randn(width, 4, generator=generator))
            self.tower.bias.copy_(torch.randn(width, generator=generator))
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.5)
        self.heads = nn.ModuleDict()
        self._scale = nn.Identity()

    def forward(self, batch: Batch, plan: Plan) -> dict[str, Encoded]:
        column = batch["image"]
        return {"image": Encoded(owner=column.owner, pooled=self.dropout(self.norm(self.tower(column.values))))}

    def finish(self, encoded: Mapping[str, Encoded], plan: Plan) -> dict[str, Encoded]:
        done = dict(encoded)
        for name, head in self.heads.items():
            done["image"] = done["image"].give(head(done["image"], name))
        return done

    def mount(self, heads: Mapping[str, HeadSpec], plan: Plan) -> None:
        for name in heads:
            self.heads[name] = Shift()

    def check(self, plan: Plan) -> None:
        pass

    @property
    def vision_kind(self) -> str:
        return "image"

    @property
    def slice_weights(self) -> str | None:
        return None

    @property
    def scale(self) -> nn.Module:
        return self._scale

    def outside_forward(self) -> list[str]:
        return [f"heads.{name}" for name, _ in self.heads.named_parameters()]


def moved(model: Toy, step: int) -> None:
    """Move every tensor of a model to numbers that depend on the step alone."""
    generator = torch.Generator().manual_seed(100 + step)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
            else:
                tensor.fill_(step)
