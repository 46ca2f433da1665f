"""Exact search is a full sort of the products, however the table is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import DataError
from medvlp.features.nearest import nearest


def sorted_out(products: np.ndarray, usable: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    """Return rows and products of one query by sorting all of them; of equals the lower row first."""
    found = sorted((-score, row) for row, score in enumerate(products) if usable[row])[:k]
    missing = k - len(found)
    return [row for _, row in found] + [-1] * missing, [-score for score, _ in found] + [-np.inf] * missing


@given(st.integers(0, 10_000))
def test_it_is_a_full_sort(seed: int) -> None:
    draws = np.random.default_rng(seed)
    queries, count, k, block = (int(draws.integers(1, high)) for high in (9, 60, 12, 200))
    table = draws.integers(-2, 3, (count, 3)).astype(np.float32)  # exact products, many ties
    table[draws.random(count) < 0.1, 1] = draws.choice([np.nan, np.inf, -np.inf])
    asked = draws.integers(-2, 3, (queries, 3)).astype(np.float32)
    asked[draws.random(queries) < 0.1, 2] = draws.choice([np.nan, np.inf])
    less, usable = draws.integers(-3, 4, count).astype(np.float32), draws.random(count) < 0.8
    finite = np.isfinite(table).all(axis=1)
    given = torch.from_numpy(asked), torch.from_numpy(table), k
    whole = nearest(*given, block=block)
    part = nearest(*given, less=torch.from_numpy(less), usable=torch.from_numpy(usable), block=block)
    for found, lower, there in ((whole, 0 * less, finite), (part, less, finite & usable)):
        for at, query in enumerate(asked):
            with np.errstate(invalid="ignore"):
                products = table @ query - lower
            expected = sorted_out(products, there & bool(np.isfinite(query).all()), min(k, count))
            assert found.rows[at].tolist() == expected[0]
            assert found.scores[at].tolist() == expected[1]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("block", [1, 1000, 2**24])
def test_blocks_and_precision_find_the_same_rows(kind: torch.dtype, block: int) -> None:
    draws = torch.Generator().manual_seed(0)
    queries, table = (torch.randn(n, 16, generator=draws).to(kind) for n in (37, 211))
    products = queries.double() @ table.double().T
    found = nearest(queries, table, 7, block=block)
    assert torch.equal(found.rows, products.sort(dim=1, descending=True).indices[:, :7])
    torch.testing.assert_close(found.scores.double(), products.topk(7).values, rtol=1e-5, atol=1e-5)


def test_half_the_squared_lengths_make_it_euclidean() -> None:
    draws = torch.Generator().manual_seed(1)
    queries, table = torch.randn(20, 5, generator=draws), torch.randn(90, 5, generator=draws)
    found = nearest(queries, table, 4, less=table.square().sum(dim=1) / 2).rows
    assert torch.equal(found, torch.cdist(queries, table).sort(dim=1).indices[:, :4])


def test_large_finite_rows_are_found_and_an_empty_table_has_none() -> None:
    assert nearest(torch.tensor([[1e-30, 1e-30]]), torch.tensor([[3e38, 3e38], [0.0, 0.0]]), 1).rows.tolist() == [[0]]
    assert nearest(torch.ones(3, 2), torch.ones(0, 2), 4).rows.shape == (3, 0)
    assert nearest(torch.ones(0, 2), torch.ones(5, 2), 4).rows.shape == (0, 4)


@pytest.mark.parametrize(("width", "k"), [(3, 1), (2, 0)])
def test_what_does_not_fit_is_refused(width: int, k: int) -> None:
    with pytest.raises(DataError, match=r"Queries of \(1, \d\) have no \d neighbours in a table of \(4, 2\): give"):
        nearest(torch.ones(1, width), torch.ones(4, 2), k)
