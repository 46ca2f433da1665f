"""Which own rows of two views belong to one sample."""

from __future__ import annotations

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import parse_key


def partners(ctx: Context, rows: str, columns: str) -> tuple[Tensor, Tensor]:
    """Return (own row of a key, own row of another key) of every pair of one sample, (P,) each, in order.

    Of a view with itself a row is no partner of its own, whatever part of it is read and whoever encoded it.

    Example:
        >>> import torch
        >>> from medvlp.core.parts import Part
        >>> rows = {"image/raw": torch.eye(2), "text/raw": Part(torch.eye(3), torch.tensor([1, 1, 2]))}
        >>> ctx = Context.of(rows, {"text": ["a", "b", "c"]})
        >>> [index.tolist() for index in partners(ctx, "image/raw", "text/raw")]
        [[1, 1], [0, 1]]
    """
    same = ctx.owner(rows)[:, None] == ctx.owner(columns)[None, :]
    if parse_key(rows).view == parse_key(columns).view:
        same.fill_diagonal_(False)
    row, column = same.nonzero(as_tuple=True)
    return row, column
