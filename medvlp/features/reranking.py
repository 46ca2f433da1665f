"""Neighbours that name each other: k-reciprocal re-ranking, and values smoothed over the neighbours it finds."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.features.nearest import nearest


@torch.no_grad()
def reranked(rows: Tensor, *, neighbours: int = 20, inner: int = 6, share: float = 0.3, budget: int = 2**24) -> Tensor:
    r"""Return each row's nearest others, nearest first by (1 - lambda) Jaccard + lambda distance, (N, k).

    With d = 1 - cosine and N(i, k) the row itself and its k nearest, R(i, k) are the members of N(i, k) that have i
    among theirs. R(i, k1) grows by R(j, k1 / 2) of each member j that shares more than two thirds of it. V_i is
    exp(-d_ij) over what is found, summing to 1, then averaged over the k2 nearest of i; the Jaccard distance of two
    rows is 1 - sum min(V_i, V_j) / sum max(V_i, V_j). Only the k1 nearest by d are ranked anew, so that memory is N k1
    and not N^2.

    Args:
        rows: (N, D) at unit length.
        neighbours: k1.
        inner: k2.
        share: lambda.
        budget: cosines that are held at a time.

    Returns:
        (N, k) int64, k the smaller of k1 and N - 1.

    References:
        Zhong et al. 2017, equations 2 to 12; k1 = 20, k2 = 6 and lambda = 0.3 there and in CAPro.

    Example:
        >>> angle = torch.tensor([0.0, 0.1, 0.2, 2.0, 2.1])
        >>> reranked(torch.stack([angle.cos(), angle.sin()], dim=1), neighbours=2, inner=2)[:, 0].tolist()
        [1, 2, 1, 4, 3]
    """
    count = len(rows)
    k = min(neighbours, count - 1)
    near, far = _nearest(rows.double(), k, budget)
    lists = [row[: k + 1] for row in near.tolist()]
    full = [set(row) for row in lists]
    half = [set(row[: round(k / 2) + 1]) for row in lists]
    mutual = [[j for j in row if i in full[j]] for i, row in enumerate(lists)]
    close = [{j for j in half[i] if i in half[j]} for i in range(count)]
    weight: list[dict[int, float]] = []
    for i, own in enumerate(mutual):
        grown = set(own)
        for j in own:
            if len(close[j] & set(own)) > 2 / 3 * len(close[j]):
                grown |= close[j]
        members = sorted(grown)
        shares = (rows[members].double() @ rows[i].double() - 1).exp()
        weight.append(dict(zip(members, (shares / shares.sum()).tolist(), strict=True)))
    spread = [_mean([weight[j] for j in row[:inner]]) for row in lists]
    final = far[:, 1:].clone()
    for i, row in enumerate(lists):
        for place, j in enumerate(row[1:]):
            least = sum(min(value, spread[j][m]) for m, value in spread[i].items() if m in spread[j])
            final[i, place] = (1 - share) * (1 - least / (2 - least)) + share * far[i, place + 1]
    order = torch.argsort(final, dim=1, stable=True).to(near.device)
    return near[:, 1:].gather(1, order)


def smoothed(values: Tensor, near: Tensor) -> Tensor:
    """Return the mean of each row's values and those of its neighbours; rows of NaN have no say, but get one.

    Args:
        values: (N, D), NaN where a row has none.
        near: (N, k) of `reranked`.

    Example:
        >>> smoothed(torch.tensor([[1.0], [torch.nan], [4.0]]), torch.tensor([[1], [0], [0]])).flatten().tolist()
        [1.0, 1.0, 2.5]
    """
    own = torch.arange(len(values), device=near.device)[:, None]
    return values[torch.cat([own, near], dim=1)].nanmean(dim=1)


def _nearest(rows: Tensor, k: int, budget: int) -> tuple[Tensor, Tensor]:
    """Return each row and its k nearest, (N, k + 1), and their distances; the row itself always comes first."""
    found = nearest(rows, rows, k + 1, block=budget)
    own = torch.arange(len(rows), device=rows.device)[:, None]
    # Of many equal rows it may lack.
    order = torch.argsort((found.rows == own).to(torch.int8), dim=1, stable=True)[:, :k]
    far = (1 - found.scores).clamp(min=0).gather(1, order)
    return torch.cat([own, found.rows.gather(1, order)], dim=1), torch.cat([torch.zeros_like(far[:, :1]), far], dim=1)


def _mean(weights: list[dict[int, float]]) -> dict[int, float]:
    total: dict[int, float] = {}
    for each in weights:
        for member, value in each.items():
            total[member] = total.get(member, 0.0) + value / len(weights)
    return total
