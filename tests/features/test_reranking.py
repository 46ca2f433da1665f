from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlp.core.encoded import unit
from medvlp.features.reranking import reranked, smoothed


def dense(rows: np.ndarray, k1: int, k2: int, share: float) -> np.ndarray:
    """The paper's re-ranked distances, all of them, by sets and matrices."""
    far = 1 - rows @ rows.T
    np.fill_diagonal(far, -1)
    rank, n = np.argsort(far, axis=1, kind="stable"), len(rows)
    np.fill_diagonal(far, 0)

    def mutual(i: int, k: int) -> list[int]:
        return [j for j in rank[i, : k + 1] if i in rank[j, : k + 1]]

    v = np.zeros((n, n))
    for i in range(n):
        own = set(mutual(i, k1))
        grown = set(own)
        for j in own:
            near = set(mutual(j, round(k1 / 2)))
            if len(near & own) > 2 / 3 * len(near):
                grown |= near
        members = sorted(grown)
        v[i, members] = np.exp(-far[i, members]) / np.exp(-far[i, members]).sum()
    v = np.stack([v[rank[i, :k2]].mean(axis=0) for i in range(n)])
    least = np.minimum(v[:, None], v[None]).sum(axis=2)
    return (1 - share) * (1 - least / np.maximum(v[:, None], v[None]).sum(axis=2)) + share * far


@pytest.mark.parametrize(("k1", "k2", "share"), [(8, 3, 0.3), (20, 6, 0.3), (6, 1, 1.0), (6, 2, 0.0)])
def test_neighbours_are_ordered_as_the_paper_orders_them(k1, k2, share):
    rows = unit(torch.randn(40, 4, generator=torch.Generator().manual_seed(k1), dtype=torch.float64))
    got = reranked(rows, neighbours=k1, inner=k2, share=share, budget=120).numpy()
    expected = dense(rows.numpy(), k1, k2, share)
    for i, near in enumerate(got):
        assert len(set(near)) == k1
        values = expected[i, near]
        assert (np.diff(values) >= -1e-12).all()
        # The same k1 as by the distance alone, in another order.
        assert set(near) == set(np.argsort(1 - rows.numpy() @ rows.numpy()[i], kind="stable")[1 : k1 + 1])


def test_a_row_without_values_gets_those_of_its_neighbours():
    values = torch.tensor([[1.0, 0.0], [torch.nan, torch.nan], [3.0, 2.0], [torch.nan, torch.nan]])
    got = smoothed(values, torch.tensor([[2], [0], [1], [1]]))
    assert got[:3].tolist() == [[2.0, 1.0], [1.0, 0.0], [3.0, 2.0]]
    assert got[3].isnan().all()  # nor had its neighbour any
