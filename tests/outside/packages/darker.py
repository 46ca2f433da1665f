"""An attack: one file, one class with ``fit``, which gives what changes a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from medvlp.core.attack import Attack, Ball, Perturbation
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch


class Darker(Attack):
    """Every pixel down by the whole size."""

    def __init__(self, *, epsilon: float = 8.0) -> None:
        self.ball = Ball(epsilon)

    def fit(self, model: Model | None, batches: Sequence[Batch]) -> Perturbation:
        def darker(batch: Batch) -> Batch:
            column = batch["image"]
            moved = self.ball.add(column.values, torch.full_like(column.values, -self.ball.radius))
            return batch.with_columns({"image": replace(column, values=moved)})

        return darker
