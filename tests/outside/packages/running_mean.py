"""A state: one file, one class that looks at every step and is saved with the run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import State


class RunningMean(State):
    """The mean of all rows of a key so far, of all processes."""

    def __init__(self, *, reads: str = "image/embedding") -> None:
        self.reads, self.sum, self.count = reads, torch.zeros(0), torch.zeros(())

    def needs(self) -> frozenset[Key]:
        return keys(self.reads)

    def observe(self, ctx: Context) -> None:
        rows = ctx.all(self.reads).detach()
        self.sum = rows.sum(0) + (self.sum if self.count else 0.0)
        self.count = self.count + len(rows)

    def state_dict(self) -> dict[str, Tensor]:
        return {"sum": self.sum, "count": self.count}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        self.sum, self.count = tensors["sum"], tensors["count"]
