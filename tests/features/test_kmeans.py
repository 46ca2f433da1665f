"""K-means against scikit-learn, against itself in other divisions of the rows, and what its answer promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlp.core import DataError, collectives
from medvlp.core.encoded import unit
from medvlp.features.kmeans import kmeans, means_of

BLOBS, SIZE = 6, 30


def blobs(seed: int = 0, spread: float = 0.3) -> torch.Tensor:
    """Six groups of thirty rows in five dimensions, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    middle = 3 * torch.randn(BLOBS, 5, generator=generator)
    rows = middle.repeat(SIZE, 1) + spread * torch.randn(BLOBS * SIZE, 5, generator=generator)
    return rows[torch.randperm(len(rows), generator=generator)]


@pytest.mark.parametrize("iterations", [1, 3, 20])
@pytest.mark.parametrize("seed", range(3))
def test_from_the_same_start_it_is_scikit_learns_lloyd(seed, iterations):
    cluster = pytest.importorskip("sklearn.cluster")
    rows = blobs(seed, spread=1.5)
    found = kmeans(rows, 8, start=rows[:8], iterations=iterations)
    oracle = cluster.KMeans(8, init=rows[:8].numpy(), n_init=1, max_iter=iterations, tol=0).fit(rows.numpy())
    np.testing.assert_allclose(found.centroids.numpy(), oracle.cluster_centers_, rtol=1e-5, atol=1e-5)
    if iterations == 20:  # converged: before that scikit-learn gives the labels of one assignment more
        assert (found.labels.numpy() == oracle.labels_).all()
        assert found.objective == pytest.approx(oracle.inertia_, rel=1e-5)


@pytest.mark.parametrize("spherical", [False, True])
def test_with_restarts_it_is_not_worse_than_faiss(spherical):
    faiss = pytest.importorskip("faiss")
    rows = unit(blobs(1, spread=2.0)) if spherical else blobs(1, spread=2.0)
    oracle = faiss.Kmeans(rows.shape[1], 8, niter=20, nredo=3, spherical=spherical, seed=1, min_points_per_centroid=1)
    oracle.train(rows.numpy())
    found = kmeans(rows, 8, spherical=spherical)
    scores = torch.from_numpy(oracle.centroids) @ rows.T
    theirs = (
        (1 - scores.max(0).values)
        if spherical
        else torch.cdist(rows, torch.from_numpy(oracle.centroids)).min(1)[0] ** 2
    )
    assert found.objective <= float(theirs.sum()) * 1.02


def test_from_the_same_start_it_is_faiss_lloyd():
    faiss = pytest.importorskip("faiss")
    rows = blobs(2, spread=1.5)
    oracle = faiss.Kmeans(rows.shape[1], 8, niter=10, min_points_per_centroid=1)
    oracle.train(rows.numpy(), init_centroids=rows[:8].numpy())
    found = kmeans(rows, 8, start=rows[:8], iterations=10)
    np.testing.assert_allclose(found.centroids.numpy(), oracle.centroids, rtol=1e-4, atol=1e-4)


def test_planted_groups_are_found():
    found = kmeans(blobs(3), BLOBS)
    assert found.counts.tolist() == [SIZE] * BLOBS
    assert found.objective == pytest.approx(0.3**2 * 5 * BLOBS * SIZE, rel=0.2)


@pytest.mark.parametrize("start", ["k-means++", "rows"])
@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 20])
def test_centroids_are_the_means_of_what_carries_their_label(spherical, iterations, start):
    rows = blobs(4, spread=2.0)
    found = kmeans(rows, 9, spherical=spherical, iterations=iterations, start=start)
    used = unit(rows) if spherical else rows
    for k in range(9):
        mean = used[found.labels == k].double().mean(0)
        expected = (mean / mean.norm() if spherical else mean).float()
        torch.testing.assert_close(found.centroids[k], expected, rtol=1e-6, atol=1e-6)
    assert found.counts.tolist() == torch.bincount(found.labels, minlength=9).tolist()
    distance = 1 - (used * found.centroids[found.labels]).sum(1)
    if not spherical:
        distance = (used - found.centroids[found.labels]).square().sum(1)
    assert found.objective == pytest.approx(float(distance.sum()), rel=1e-5)


def test_more_iterations_and_more_starts_are_never_worse():
    rows = blobs(5, spread=2.5)
    falling = [kmeans(rows, 12, restarts=1, iterations=n).objective for n in (1, 2, 4, 8, 16)]
    assert falling == sorted(falling, reverse=True)
    best = [kmeans(rows, 12, restarts=n).objective for n in (1, 2, 5)]
    assert best == sorted(best, reverse=True)


def test_the_answer_is_that_of_the_seed_and_another_seeds_is_another():
    rows = blobs(6, spread=2.5)
    first, again, other = (kmeans(rows, 12, restarts=1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.centroids, again.centroids)
    assert not torch.equal(first.centroids, other.centroids)


def test_spherical_clusters_do_not_see_lengths():
    rows, lengths = blobs(7, spread=1.0), torch.rand(BLOBS * SIZE, 1) + 0.5
    a, b = kmeans(rows, 7, spherical=True), kmeans(rows * lengths, 7, spherical=True)
    assert torch.equal(a.labels, b.labels)
    torch.testing.assert_close(a.centroids.norm(dim=1), torch.ones(7))


def test_an_empty_cluster_takes_the_farthest_row():
    """Two centroids start where nothing is; the lone rows are what they get, the largest distance first."""
    rows = torch.tensor([[0.0], [0.1], [0.2], [4.0], [9.0]])
    found = kmeans(rows, 3, start=torch.tensor([[0.0], [100.0], [200.0]]), iterations=1)
    assert found.labels.tolist() == [0, 0, 0, 2, 1]
    found = kmeans(rows, 3, start=torch.tensor([[0.0], [100.0], [200.0]]))
    assert found.objective == pytest.approx(0.02, rel=1e-4)


def test_a_cluster_is_never_emptied_for_another():
    rows = torch.tensor([[0.0], [10.0], [10.0]])
    found = kmeans(rows, 3, start=torch.tensor([[0.0], [9.0], [50.0]]))
    assert sorted(found.counts.tolist()) == [0, 1, 2]  # two distinct rows make two clusters
    assert found.centroids[found.counts == 0].abs().max() == 0


@pytest.mark.parametrize("clusters", [5, 40])
def test_few_distinct_rows_leave_clusters_empty_and_zero(clusters):
    rows = torch.eye(4).repeat(20, 1)
    found = kmeans(rows, clusters)
    assert (found.counts > 0).sum() == 4
    assert found.objective == 0
    assert not found.centroids[found.counts == 0].any()


def test_every_row_its_own_cluster():
    rows = blobs(8)[:20]
    found = kmeans(rows, 20)
    assert sorted(found.labels.tolist()) == list(range(20))
    assert found.objective == pytest.approx(0, abs=1e-9)


def test_k_means_plus_plus_draws_by_squared_distance():
    """Rows at 0 (nine of them), 1 and 3: after one of the zeros the second is 1 or 3 with chance 1 : 9."""
    rows = torch.tensor([[0.0]] * 90 + [[1.0]] + [[3.0]])
    second = []
    for seed in range(400):
        found = kmeans(rows, 2, restarts=1, iterations=1, seed=seed)
        counts = sorted(found.counts.tolist())
        if counts == [1, 91]:
            second.append(float(found.centroids[found.counts == 1]))
    # From {0, 3} the row 1 joins 0: 91 + 1. From {0, 1} the row 3 joins 1: 90 + 2.
    third = 400 - len(second)
    assert set(second) == {3.0}
    assert 0.05 < third / 400 < 0.16


@pytest.mark.parametrize("budget", [pytest.param(1, marks=pytest.mark.slow), 7, 100])
@pytest.mark.parametrize("spherical", [False, True])
def test_chunks_change_nothing(budget, spherical):
    rows = blobs(9, spread=2.0)
    whole, parts = (kmeans(rows, 7, spherical=spherical, budget=b) for b in (2**24, budget))
    assert torch.equal(whole.labels, parts.labels)
    torch.testing.assert_close(whole.centroids, parts.centroids, rtol=1e-6, atol=1e-6)


def test_means_leave_out_what_has_no_label():
    rows = torch.tensor([[1.0], [2.0], [float("nan")], [7.0]])
    means, counts = means_of(rows, torch.tensor([0, 0, -1, 2]), 4)
    assert means.flatten().tolist() == [1.5, 0.0, 7.0, 0.0]
    assert counts.tolist() == [2, 0, 1, 0]


def part_of(rows: torch.Tensor, bounds: list[int]) -> torch.Tensor:
    return rows[bounds[collectives.rank()] : bounds[collectives.rank() + 1]]


def clustered(rows: torch.Tensor, bounds: list[int], options: dict) -> dict:
    """K-means of one process's part of the rows; labels of all."""
    found = kmeans(part_of(rows, bounds), options.pop("clusters"), **options)
    labels = collectives.gather_rows(found.labels)
    return {"centroids": found.centroids, "labels": labels, "counts": found.counts, "objective": found.objective}


CASES = [
    {"clusters": 8},
    {"clusters": 8, "spherical": True},
    {"clusters": 25, "start": "rows", "restarts": 1, "iterations": 3},
    {"clusters": 60, "iterations": 2, "restarts": 1},
    {"clusters": 12, "start": torch.full((12, 5), 50.0)},  # eleven empty clusters in the first round
]


@pytest.mark.pool
@pytest.mark.parametrize("case", CASES, ids=["euclidean", "spherical", "rows", "many", "empty"])
def test_one_process_is_two_is_four(pool, case):
    rows = blobs(10, spread=1.5)
    expected = clustered(rows, [0, len(rows)], dict(case))
    for bounds in ([0, 90, 180], [0, 1, 180], [0, 0, 50, 60, 180]):
        for got in pool.run(len(bounds) - 1, clustered, rows, bounds, dict(case)):
            assert torch.equal(got["labels"], expected["labels"])
            assert torch.equal(got["counts"], expected["counts"])
            torch.testing.assert_close(got["centroids"], expected["centroids"], rtol=0, atol=1e-5)
            assert got["objective"] == pytest.approx(expected["objective"], rel=1e-6)


def test_what_is_refused():
    with pytest.raises(DataError, match=r"K-means cannot make 5 clusters of 4 rows: use between 1 and that many"):
        kmeans(torch.eye(4), 5)
    with pytest.raises(DataError, match=r"K-means met 2 rows that are not finite: leave them out, or look at the mod"):
        kmeans(torch.tensor([[1.0], [float("nan")], [float("inf")]]), 1)
