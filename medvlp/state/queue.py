"""The newest rows of some keys, from the steps before this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import State


class Queue(State):
    """First in, first out: the last `size` rows of each key, of all processes, at unit length, without gradient.

    A step sees the rows of the steps before it; its own enter after the optimiser's step, and not at all where that was
    skipped.

    Args:
        reads: keys.
        size: rows of each.
        begin: samples seen by the run from which rows enter.
        beside: keys of the same rows that are kept as they are, such as logits, and batch fields, which give each row
            of the first of `reads` the value of its sample.

    Raises:
        ConfigError: if no key is named.

    Example:
        >>> Queue(reads=["image/embedding"], size=3840).rows("image/embedding").shape
        torch.Size([0, 0])
    """

    def __init__(
        self,
        *,
        reads: Sequence[str],
        size: Annotated[int, Field(ge=1)] = 3840,
        begin: Annotated[int, Field(ge=0)] = 0,
        beside: Sequence[str] = (),
    ) -> None:
        if not reads:
            raise ConfigError("state 'queue' reads nothing: name the keys whose rows it keeps.")
        self.reads = tuple(reads)
        self.size = size
        self.begin = begin
        self.beside = tuple(beside)
        self._rows: dict[str, Tensor] = {}
        self._coming: dict[str, Tensor] = {}

    def needs(self) -> frozenset[Key]:
        """The keys."""
        return keys(*self.reads, *self.beside)

    def rows(self, key: str) -> Tensor:
        """Return the rows of a key, oldest first, (R, D), R up to `size`.

        Raises:
            ConfigError: for a key that is not kept.
        """
        if key not in (*self.reads, *self.beside):
            raise ConfigError(f"The queue does not keep {key!r}: {did_you_mean(key, (*self.reads, *self.beside))}.")
        return self._rows.get(key, torch.zeros(0, 0))

    def full(self, key: str) -> bool:
        """Whether `size` rows of the key are there."""
        return len(self.rows(key)) == self.size

    @torch.no_grad()
    def observe(self, ctx: Context) -> None:
        """Put a step's rows aside."""
        self._coming = {}
        if ctx.samples_seen >= self.begin:
            self._coming = {key: unit(ctx.all(key).detach()) for key in self.reads}
            for key in self.beside:
                if parse_key(key).is_field:
                    self._coming[key] = collectives.gather_rows(ctx.rows(key, self.reads[0]).one())
                else:
                    self._coming[key] = ctx.all(key).detach()

    def after_step(self, model: object, samples_seen: int) -> None:
        """Append the rows observed in this step."""
        for key, new in self._coming.items():
            old = self._rows.get(key, new[:0])
            self._rows[key] = torch.cat([old.to(new), new])[-self.size :]
        self._coming = {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows."""
        return {f"rows|{key}": rows for key, rows in self._rows.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._rows = {name.partition("|")[2]: rows.clone() for name, rows in tensors.items()}
