"""The common case in which no two samples are the same: then a row's only positive is its own sample's column."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import parse_key
from medvlp.core.step_index import REPORT


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
