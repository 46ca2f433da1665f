"""What CAPro, FoPro and INS share: a classifier of believed labels, and a projection that tells samples apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Term
from medvlp.objectives._contrast import contrast
from medvlp.objectives._labelled import Labelled
from medvlp.state.class_prototypes import ClassPrototypes
from medvlp.state.queue import Queue


class NoisyLabels(Labelled):
    r"""Labels by a linear layer with the targets that a state `class_prototypes` believes, and rows for its prototypes.

    The projection reads the row in the model's common space and gives z of unit length, in whose space the prototypes
    lie; a teacher, which follows the model, gives the key k of the same sample, and a queue the keys of others.

    Args:
        objective: name, for error sentences.
        labels: L findings, those of the state in its order.
        view: of the pictures.
        part: name of the classifier, which the bundle keeps and can be asked: the answer `findings`.
        state: a state `class_prototypes` that reads ``VIEW/HEAD``.
        teacher: state that encodes, `ema`.
        queue: state `queue` that reads ``TEACHER:VIEW/HEAD``.
        rows: HEAD, name of the projection.
        hidden: width of the projection's hidden layer.
        width: of z.
        temperature: t, of the contrast of samples.
        rebuild: whether the common row is drawn again from z.
    """

    scope: Literal["batch", "sample"] = "batch"

    def __init__(
        self,
        *,
        objective: str,
        labels: list[str],
        view: str,
        part: str,
        state: str,
        teacher: str,
        queue: str,
        rows: str,
        hidden: int,
        width: int,
        temperature: float,
        rebuild: bool,
    ) -> None:
        super().__init__(objective=objective, labels=labels, view=view, part=part, head={"name": "linear"})
        self.objective, self.state, self.queue = objective, state, queue
        self.rows, self.width, self.temperature = rows, width, temperature
        self.rows_key, self.taught_key = f"{view}/{rows}", f"{teacher}:{view}/{rows}"
        self._projection = {"reads": "raw", "hidden": hidden, "width": width, "bias": True}
        self._back = {"reads": rows, "hidden": hidden, "bias": True} if rebuild else None

    def needs(self) -> frozenset[Key]:
        """Logits, labels, rows and the teacher's, the two states, and the row that is drawn again."""
        back = [f"{self.rows_key}_back", f"{self.view}/raw"] if self._back else []
        states = [f"state:{self.state}", f"state:{self.queue}"]
        return super().needs() | keys(self.rows_key, self.taught_key, *states, *back)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The classifier, the projection and the way back."""
        back = {f"{self.rows}_back": HeadSpec("projection", self._back)} if self._back else {}
        return {**super().heads(), self.rows: HeadSpec("projection", self._projection), **back}

    # what the terms are made of -------------------------------------------------------------------------------------

    def believed(self, ctx: Context) -> tuple[ClassPrototypes, Tensor, Tensor]:
        """Return the state, own unit rows z (R, D) and their targets (R, L): 1, 0, between, or NaN for none."""
        state = ctx.state[self.state]
        if not isinstance(state, ClassPrototypes) or (state.labels, state.reads) != (self.labels, self.rows_key):
            raise ConfigError(
                f"Objective {self.objective!r} needs a state 'class_prototypes' with reads {self.rows_key} and labels "
                f"{', '.join(self.labels)}: states.{self.state} is another."
            )
        rows = unit(ctx[self.rows_key])
        return state, rows, state.targets(ctx, rows.detach(), self.rows_key)

    def queued(self, ctx: Context, key: str) -> Tensor:
        """Return the queue's rows of a key."""
        queue = ctx.state[self.queue]
        if not isinstance(queue, Queue):
            raise ConfigError(f"states.{self.queue} is no queue, which objective {self.objective!r} needs.")
        return queue.rows(key)

    def instance(self, ctx: Context, rows: Tensor) -> Term:
        """Return the contrast of each row's own key with the queue's (He et al. 2020, MoCo, equation 1)."""
        scores = (rows * unit(ctx[self.taught_key])).sum(dim=1, keepdim=True)
        past = self.queued(ctx, self.taught_key).to(rows)
        if len(past):
            scores = torch.cat([scores, rows @ past.T], dim=1)
        return contrast(scores / self.temperature, torch.zeros(len(rows), dtype=torch.int64, device=rows.device))

    def rebuilt(self, ctx: Context) -> Term:
        """Return the mean squared error of the row drawn again; what it shall come to is a constant."""
        return Term.of((ctx[f"{self.rows_key}_back"] - ctx[f"{self.view}/raw"].detach()).square().mean(dim=1))


def binary(logits: Tensor, targets: Tensor) -> Term:
    """Return the binary cross entropy of logits (R, L) with targets in [0, 1], NaN where there is none.

    Example:
        >>> round(binary(torch.zeros(1, 2), torch.tensor([[0.5, torch.nan]])).value().item(), 4)
        0.6931
    """
    known = targets.isfinite()
    loss = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num().to(logits), reduction="none")
    return Term.of(loss.flatten(), known.flatten().to(loss))


def two_way(scores: Tensor, targets: Tensor) -> Term:
    """Return the cross entropy of scores (R, L, 2), absent and present, with such targets (R, L).

    Example:
        >>> round(two_way(torch.tensor([[[0.0, 2.0]]]), torch.ones(1, 1)).value().item(), 4)
        0.1269
    """
    present = targets.nan_to_num().to(scores)
    shares = torch.stack([1 - present, present], dim=2) * targets.isfinite()[:, :, None]
    return contrast(scores.flatten(0, 1), shares.flatten(0, 1))
