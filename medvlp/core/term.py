"""A loss term as (sum, count): the only form that is right when valid counts differ between processes and chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError


@dataclass(frozen=True)
class Term:
    """A sum over rows and how many rows (or how much weight) it is a sum of.

    The value is the sum over all processes and chunks of ``sum`` divided by that of ``count``; a count of 0 gives 0
    with zero gradient. No objective takes a mean.

    Attributes:
        sum: () differentiable.
        count: () without gradient.
    """

    sum: Tensor
    count: Tensor

    @classmethod
    def of(cls, rows: Tensor, weight: Tensor | None = None) -> Term:
        """Sum (R,) rows, each with its weight (default 1).

        Rows of weight 0 are removed before they are summed, so that a NaN there cannot leak.

        Example:
            >>> t = Term.of(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([1.0, 1.0, 0.0]))
            >>> t.value().item(), t.count.item()
            (2.0, 2.0)
        """
        if weight is None:
            return cls(rows.sum(), rows.new_full((), rows.numel()))  # filled there: a copy would wait for the device
        weight = weight.to(rows.dtype)
        return cls((torch.where(weight != 0, rows, torch.zeros_like(rows)) * weight).sum(), weight.sum().detach())

    def value(self) -> Tensor:
        """Return sum / count of this term alone; 0 where the count is 0."""
        return self.sum / self.count if float(self.count) != 0 else (self.sum * 0).nan_to_num()

    def times(self, factor: float) -> Term:
        """Return the term of a value so many times as large."""
        return Term(self.sum * factor, self.count)

    def __add__(self, other: Term) -> Term:
        return Term(self.sum + other.sum, self.count + other.count)


Terms = Mapping[str, Term]


def checked_terms(found: object, name: str) -> Terms:
    """Return what an objective gave, if it is terms.

    Raises:
        ConfigError: if it is something else, such as a mean, which would be wrong over processes and chunks.
    """
    if not isinstance(found, Mapping):
        raise ConfigError(f"The objective {name!r} gave {_words(found)}: let it return {{name: Term.of(rows)}}.")
    for part, term in found.items():
        if not isinstance(term, Term):
            raise ConfigError(f"The term {name}/{part} is {_words(term)}: make it Term.of(rows), a sum and a count.")
        for each in (term.sum, term.count):
            if not isinstance(each, Tensor) or each.dim():
                raise ConfigError(f"The term {name}/{part} holds {_words(each)}: its sum and count are tensors ().")
    return found


def _words(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__}"
