"""Rows that belong to each other, by their owners, and logits wide enough for a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.fields import parse_field
from medvlp.core.keys import parse_key


def first_of(owner: Tensor, wanted: Tensor) -> Tensor:
    """Index of the first row of each wanted owner, -1 where there is none.

    Example:
        >>> first_of(torch.tensor([0, 2, 2]), torch.tensor([2, 1, 0])).tolist()
        [1, -1, 0]
    """
    if not len(owner):
        return torch.full_like(wanted, -1)
    same = wanted[:, None] == owner[None, :]
    return torch.where(same.any(dim=1), same.int().argmax(dim=1), -1)


def first_partners(owner: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows have a partner of the same owner among others, and the first of each: indices (N,) twice.

    Example:
        >>> [t.tolist() for t in first_partners(torch.tensor([0, 1]), torch.tensor([2, 1, 1]))]
        [[1], [1]]
    """
    partner = first_of(others, owner)
    rows = (partner >= 0).nonzero()[:, 0]
    return rows, partner[rows]


def sums_by_sample(rows: Tensor, owner: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Return the sum (S, K) and the count (S,) of each sample's rows (R, K).

    Example:
        >>> total, count = sums_by_sample(torch.ones(2, 1), torch.tensor([0, 0]), 2)
        >>> total.flatten().tolist(), count.tolist()
        ([2.0, 0.0], [2.0, 0.0])
    """
    total = rows.new_zeros(samples, rows.shape[1]).index_add(0, owner, rows)
    return total, torch.bincount(owner, minlength=samples).to(rows)


def wide(logits: Tensor) -> Tensor:
    """Return half precision as float32, everything else as it is."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def memory_keys(view: str, part: str) -> tuple[str, str | None]:
    """Return the key of what a decoder reads of pictures, and of its mask where there is padding: slices of stacks.

    Example:
        >>> memory_keys("stack", "tokens"), memory_keys("image", "tokens")
        (('stack/tokens', 'stack/mask'), ('image/tokens', None))
    """
    return f"{view}/{part}", f"{view}/mask" if part == "tokens" and parse_field(view).kind == "stack" else None


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
