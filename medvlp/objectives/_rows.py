"""Rows that belong to each other, by their owners, and logits wide enough for a loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.fields import parse_field
from medvlp.core.keys import parse_key
from medvlp.core.step_index import REPORT


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


def own_columns(ctx: Context, relation: str, *, rows: str, columns: str, text: str) -> Tensor | None:
    """Return the column of each own row's sample, (R,), -1 for none, if there is no other positive; else None.

    It is worked out on the host from the step's index, in the time of a sort; a mask of all pairs is not needed then.

    Args:
        relation: "own" or "same_report"; of any other the answer is None.
        rows: key of the rows.
        columns: key of the columns.
        text: the text field that makes the same report, see `medvlp.objectives._targets.related`.

    Example:
        >>> rows = {"image/raw": torch.eye(2), "text/raw": torch.eye(2)}
        >>> for reports in (["clear", "nodule"], ["clear", "clear"]):
        ...     ctx = Context.of(rows, {"text": reports})
        ...     print(own_columns(ctx, "same_report", rows="image/raw", columns="text/raw", text="text"))
        tensor([0, 1])
        None
    """
    fields = {"own": (), "same_report": ("text", REPORT) if text == "text" else (text,)}.get(relation)
    if fields is None or parse_key(rows).is_bank or parse_key(columns).is_bank:
        return None
    index = ctx.index
    of_rows, owner = index.owner(rows), index.owner(columns)
    order = np.argsort(owner, kind="stable")
    ordered = owner[order]
    if len(owner) == 0 or (owner < 0).any() or (ordered[1:] == ordered[:-1]).any():
        return None
    if any(index.anywhere(field) and _shared(ctx, field, rows, columns) for field in fields):
        return None
    own = of_rows[index.own(rows)]
    found = order[np.searchsorted(ordered, own).clip(max=len(owner) - 1)]
    return torch.from_numpy(np.where(owner[found] == own, found, -1)).to(ctx[rows].device)


def _shared(ctx: Context, field: str, *keys: str) -> bool:
    """Whether any value of a field stands beside rows of two samples."""
    pairs = [(ctx.index.tags(field, key), ctx.index.owner(key)) for key in keys]
    tag = np.concatenate([tags.ravel() for tags, _ in pairs])
    owner = np.concatenate([np.repeat(of_rows, tags.shape[1]) for tags, of_rows in pairs])
    order = np.argsort(tag, kind="stable")
    tag, owner = tag[order], owner[order]
    return bool(((tag[1:] == tag[:-1]) & (owner[1:] != owner[:-1]) & (tag[1:] != 0)).any())
