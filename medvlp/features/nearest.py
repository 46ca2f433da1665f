"""The rows of a table with the largest products with each of many queries: exact, block by block, on any device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import DataError

_CACHED = 2**21  # products that stay in a processor's cache until they are compared


@dataclass(frozen=True)
class Neighbours:
    """What is nearest to Q queries.

    Attributes:
        rows: (Q, k) int64, nearest first and of equals the lower row first; -1 where there are not so many.
        scores: (Q, k) their products; minus infinity where there is no row.
    """

    rows: Tensor
    scores: Tensor


@torch.no_grad()
def nearest(
    queries: Tensor,
    table: Tensor,
    k: int,
    *,
    less: Tensor | None = None,
    usable: Tensor | None = None,
    block: int = 2**24,
) -> Neighbours:
    """Return for each query q the k rows t of a table with the largest q . t, or q . t - `less`.

    With half the squared lengths as `less` these are the rows at the smallest Euclidean distance. A row or query that
    is not finite is nobody's neighbour. Products are in the precision that is given, float32 at least.

    Args:
        queries: (Q, D).
        table: (R, D), of the same type and device.
        k: at least 1; more than R gives R.
        less: (R,).
        usable: (R,) bool, rows that may be found; all by default.
        block: most products that are held at a time.

    Raises:
        DataError: if queries are not as long as rows, or k is below 1.

    Example:
        >>> found = nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0], [1.0, 0.0]]), 2)
        >>> found.rows.tolist(), found.scores.tolist()
        ([[1, 2]], [[1.0, 1.0]])
    """
    if queries.ndim != 2 or table.ndim != 2 or queries.shape[1] != table.shape[1] or k < 1:
        raise DataError(
            f"Queries of {tuple(queries.shape)} have no {k} neighbours in a table of {tuple(table.shape)}: give them "
            "as many columns, and k of 1 or more."
        )
    if queries.dtype in (torch.float16, torch.bfloat16):
        queries, table = queries.float(), table.float()
    queries, table = queries.detach(), table.detach()
    block = min(block, _CACHED) if table.device.type == "cpu" else block
    wide = max(1, min(len(table), max(block // max(len(queries), 1), min(block, 4096))))
    step = min(max(1, block // wide), max(1, len(queries)))
    few = len(queries) < queries.shape[1]  # then it is less work to look at the products than at the table
    out = torch.zeros(len(table), dtype=torch.bool, device=table.device) if few else ~finite_rows(table)
    out = out if usable is None else out | ~usable
    cuts = [slice(begin, begin + wide) for begin in range(0, len(table), wide)]
    parts = [(cut.start, table[cut], None if less is None else less[cut], out[cut].nonzero().flatten()) for cut in cuts]
    held = queries.new_empty(step, wide)
    rows, scores = [], []
    for asked in queries.split(step):
        best, at = held.new_empty(len(asked), 0), out.new_empty(len(asked), 0, dtype=torch.int64)
        for begin, part, lower, unusable in parts:
            products = _products(asked, part, held[: len(asked), : len(part)])
            if lower is not None:
                products -= lower
            if few:
                products.masked_fill_(~products.isfinite(), -torch.inf)
            if len(unusable):
                products[:, unusable] = -torch.inf
            more, index = _largest(products, k)
            if begin:
                more, order = torch.cat([best, more], dim=1).sort(dim=1, descending=True, stable=True)
                index = torch.cat([at, index + begin], dim=1).gather(1, order)
            best, at = more[:, :k], index[:, :k]
        rows.append(at)
        scores.append(best)
    found, products = torch.cat(rows), torch.cat(scores)
    missing = ~(products.isfinite() & products[:, :1].isfinite())  # NaN stands first: of a query that is not finite
    return Neighbours(found.masked_fill(missing, -1), products.masked_fill(missing, -torch.inf))


def finite_rows(rows: Tensor) -> Tensor:
    """Return (R,) bool, which rows (R, D) hold neither NaN nor infinity.

    Example:
        >>> finite_rows(torch.tensor([[1.0, torch.nan], [3e38, 3e38], [torch.inf, -torch.inf]])).tolist()
        [False, True, False]
    """
    found = rows.sum(dim=1).isfinite()  # one reading; a sum may also be infinite by itself, so those are looked at
    found[~found] = rows[~found].isfinite().all(dim=1)
    return found


def _products(queries: Tensor, table: Tensor, out: Tensor) -> Tensor:
    if out.device.type == "cpu":  # numpy's OpenBLAS is the faster one where the processor is not Intel's
        with np.errstate(invalid="ignore", over="ignore"):
            np.matmul(queries.numpy(), table.numpy().T, out=out.numpy())
        return out
    return torch.matmul(queries, table.T, out=out)


def _largest(products: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row and their columns, of equals the first."""
    if k == 1:
        first = products.device.type == "cpu"
        index = torch.from_numpy(products.numpy().argmax(axis=1)) if first else products.argmax(dim=1)
        return products.gather(1, index[:, None]), index[:, None]
    values, index = products.topk(min(k, products.shape[1]), dim=1)
    last = values[:, -1:]
    tied = ((products >= last).sum(dim=1) > values.shape[1]) & (last[:, 0] > -torch.inf)  # topk takes any of them
    if tied.any():
        full = products[tied].sort(dim=1, descending=True, stable=True)
        values[tied], index[tied] = full.values[:, : values.shape[1]], full.indices[:, : values.shape[1]]
    index, order = index.sort(dim=1)
    values, again = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, index.gather(1, again)
