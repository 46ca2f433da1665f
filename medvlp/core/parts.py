"""Rows of a key, rows of a batch field beside them, and how planned parts are taken out of encoded views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key


@dataclass(frozen=True)
class Part:
    """The rows of one key, each with the sample that owns it.

    Attributes:
        values: (R, ...).
        owner: (R,) sample of this process's batch that owns each; a bank's rows are owned by -1.
        grid: (rows, columns) or (S, rows, columns) of the view's tokens, where they form one.
    """

    values: Tensor
    owner: Tensor
    grid: tuple[int, ...] | None = None


@dataclass(frozen=True)
class FieldRows:
    """Rows of a batch field beside own rows of a key.

    Attributes:
        field: its name.
        values: (F, ...), those of one row of the key together, in their order.
        row: (F,) int64, ascending: the own row of the key that each stands beside.
        count: R, own rows of the key.
    """

    field: str
    values: Tensor
    row: Tensor
    count: int

    def one(self) -> Tensor:
        """Return the one value beside each row of the key, (R, ...); NaN where there is none.

        Raises:
            ConfigError: if a row has several, or none of a kind that has no NaN.
        """
        if parse_field(self.field).spec.collate == "stack" and len(self.row) == self.count:
            return self.values
        found = torch.bincount(self.row, minlength=self.count)
        if bool((found > 1).any()):
            raise ConfigError(
                f"Field {self.field!r} has {int(found.max())} rows for a sample where one is wanted: let a view leave "
                f"one, or use all of them with ctx.rows({self.field!r}, KEY).values and .row."
            )
        if not self.values.is_floating_point() and bool((found == 0).any()):
            raise ConfigError(
                f"Field {self.field!r} has no row for a sample where one is wanted, and its kind has no missing value: "
                f"use those that are there with ctx.rows({self.field!r}, KEY).values and .row."
            )
        fill = torch.nan if self.values.is_floating_point() else 0
        return self.values.new_full((self.count, *self.values.shape[1:]), fill).index_copy(0, self.row, self.values)


def collect_parts(
    encoded: Mapping[str, Encoded],
    parts: Mapping[str, frozenset[str]],
    who: str = "",
    dtype: torch.dtype = torch.float32,
) -> dict[Key, Part]:
    """Take the planned parts out of encoded views; masked rows that stand in for an absent view are dropped.

    Args:
        encoded: rows by view.
        parts: wanted, by view.
        who: the teacher that encoded; "" is the model.
        dtype: the model's. What has fewer digits, half precision or a teacher that was stored, is widened to it, and to
            float32 at least.
    """
    out: dict[Key, Part] = {}
    for view, names in parts.items():
        rows = encoded[view] if view.startswith("bank.") else encoded[view].present()
        for name in sorted(names):
            values = rows.part(name)
            # Terms are float32 (float64 where the model is): half precision ends here, where the towers end.
            if values.is_floating_point():
                values = values.to(torch.promote_types(torch.promote_types(values.dtype, dtype), torch.float32))
            out[Key(view, name, who)] = Part(values, rows.owner, rows.grid)
    return out
