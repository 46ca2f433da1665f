from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import multivariate_t

from medvlp.features.split_merge import Prior, densities, mergers, part_known, split_and_merge


def blobs(centres: np.ndarray, each: int, *, seed: int, sigma: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    truth = np.repeat(np.arange(len(centres)), each)
    return centres[truth] + sigma * np.random.default_rng(seed).normal(size=(len(truth), centres.shape[1])), truth


@pytest.mark.parametrize("d", [1, 3])
def test_the_marginal_likelihood_is_the_product_of_conditionals(d):
    """Each row given those before it is Student's t (Murphy 2007, equation 232)."""
    draws = np.random.default_rng(d)
    rows, m, kappa, nu, psi = draws.normal(size=(6, d)), draws.normal(size=d), 0.7, d + 1.0, 0.3 * np.eye(d)
    expected, mean = 0.0, m
    for row in rows:
        shape = psi * (kappa + 1) / (kappa * (nu - d + 1))
        expected += multivariate_t(loc=mean, shape=shape, df=nu - d + 1).logpdf(row)
        psi = psi + kappa / (kappa + 1) * np.outer(row - mean, row - mean)
        mean, kappa, nu = (kappa * mean + row) / (kappa + 1), kappa + 1, nu + 1
    assert Prior(m, psi=0.3, kappa=0.7).log_marginal(rows) == pytest.approx(expected, rel=1e-9)


def test_a_split_becomes_likelier_than_none_where_two_groups_part():
    """Two groups of sixty in eight dimensions, sigma 0.1: about -120, -70, 0 and 90 at distances of 0, .5, 1 and 2."""
    found = []
    for apart in (0.0, 0.5, 1.0, 2.0):
        ratios = []
        for seed in range(3):
            centres = np.zeros((2, 8))
            centres[1, 0] = apart
            rows, _ = blobs(centres, 60, seed=seed)
            side = part_known(rows, np.full(120, -1), 2, seed=seed)
            ratios.append(Prior(rows.mean(axis=0)).log_ratio(rows[side == 0], rows[side == 1]))
        found.append(np.mean(ratios))
    assert found == sorted(found)
    assert -140 < found[0] < -100
    assert -100 < found[1] < -45
    assert abs(found[2]) < 30
    assert 65 < found[3] < 125


@pytest.mark.parametrize("start", [5, 20])
def test_whatever_it_begins_with_the_ten_that_are_there_are_found(start):
    for seed in range(3):
        centres = np.random.default_rng(seed).normal(size=(10, 8))
        centres *= 2 / np.linalg.norm(centres, axis=1, keepdims=True)
        rows, truth = blobs(centres, 60, seed=seed)
        prior = Prior(rows.mean(axis=0))
        labels = split_and_merge(rows, np.full(600, -1), start, prior=prior, rounds=20, seed=seed)
        assert labels.max() + 1 == 10
        assert accuracy(labels, truth) == 1


def accuracy(labels: np.ndarray, truth: np.ndarray) -> float:
    counts = np.zeros((truth.max() + 1, labels.max() + 1))
    np.add.at(counts, (truth, labels), 1)
    return counts[linear_sum_assignment(-counts)].sum() / len(truth)


def test_known_classes_stay_and_unknown_ones_are_found_beside_them():
    centres = 2 * np.eye(8)[:6]
    rows, truth = blobs(centres, 30, seed=1)
    known = np.where((truth < 3) & (np.arange(180) % 2 == 0), truth, -1)
    labels = split_and_merge(rows, known, 12, prior=Prior(rows.mean(axis=0)), rounds=10)
    assert (labels[known >= 0] == known[known >= 0]).all()
    old, new = truth < 3, truth >= 3
    assert (labels[old] == truth[old]).mean() == 1
    assert labels.max() + 1 == 6
    assert (labels[new] >= 3).all()
    assert accuracy(labels[new] - 3, truth[new] - 3) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("known", [[], [1], [0, 2]], ids=["none", "one of two", "two of three"])
def test_further_centroids_are_drawn_by_their_distance_from_all_before(known):
    """k-means++ (Arthur and Vassilvitskii 2007): each distance is from the nearest of the centroids so far."""
    rows, truth = blobs(3 * np.random.default_rng(0).normal(size=(6, 2)), 8, seed=1)
    given, classes = np.where(np.isin(truth, known), truth, -1), max(known, default=-1) + 1
    centroids = [rows[given == k].sum(axis=0) / max((given == k).sum(), 1) for k in range(classes)]
    there, free, draws = [centroids[k] for k in known], rows[given < 0], np.random.default_rng(5)
    while len(centroids) < 9:
        far = np.min([np.square(free - c).sum(axis=1) for c in there] or [np.ones(len(free))], axis=0)
        there.append(free[draws.choice(len(free), p=far / far.sum())])
        centroids.append(there[-1])
    expected = part_known(rows, given, 9, start=np.stack(centroids))
    np.testing.assert_array_equal(part_known(rows, given, 9, seed=5), expected)


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_class_without_a_row_takes_none_and_changes_nothing_for_others(empty):
    rows, truth = blobs(2 * np.eye(8)[:5], 30, seed=1)
    two = np.where((truth < 2) & (np.arange(150) % 2 == 0), truth, -1)
    place = np.delete(np.arange(3), empty)  # of the two among three
    three = np.where(two >= 0, place[two], -1)
    prior = Prior(rows.mean(axis=0))
    expected = split_and_merge(rows, two, 7, prior=prior, rounds=10)
    labels = split_and_merge(rows, three, 8, prior=prior, classes=3, rounds=10)
    assert labels.tolist() == np.concatenate([place, np.arange(3, 9)])[expected].tolist()


def test_two_that_are_each_others_nearest_merge_once():
    """One blob cut in two beside another: both halves name each other, and one cluster comes of it, not two."""
    rows, truth = blobs(np.array([[0.0, 0, 0, 0], [3.0, 0, 0, 0]]), 40, seed=1)
    parts = {3: np.arange(0, 20), 5: np.arange(20, 40), 8: np.flatnonzero(truth == 1)}
    assert mergers(rows, parts, Prior(rows.mean(axis=0))) == [(3, 5)]
    labels = split_and_merge(rows, np.full(80, -1), 3, prior=Prior(rows.mean(axis=0)), rounds=5)
    assert labels.max() + 1 == 2
    assert np.bincount(labels).tolist() == [40, 40]


def test_a_cluster_takes_part_in_one_merger_only():
    """A blob in three pieces: the middle one may be the nearest of both others."""
    rows, _ = blobs(np.zeros((1, 4)), 60, seed=2)
    parts = dict(enumerate(np.split(np.argsort(rows[:, 0]), 3)))
    pairs = mergers(rows, parts, Prior(rows.mean(axis=0)))
    assert len(pairs) == 1
    assert len({k for pair in pairs for k in pair}) == 2


def test_a_temperature_grows_with_the_spread_and_their_mean_is_given():
    rows, labels = blobs(np.eye(4)[:3], 20, seed=3)
    rows[labels == 2] = np.eye(4)[2] + 4 * (rows[labels == 2] - np.eye(4)[2])
    found = densities(rows, labels, np.eye(4)[:3], mean=0.2)
    assert found.argmax() == 2
    assert found.mean() == pytest.approx(0.2)


def test_a_row_that_is_alone_is_compared_as_softly_as_the_widest_cluster():
    """Its distance of 0 from itself says nothing: the other clusters have what they have without it."""
    rows, labels = blobs(np.eye(5)[:4], 20, seed=3)
    rows[labels == 2] = np.eye(5)[2] + 4 * (rows[labels == 2] - np.eye(5)[2])
    with_one, named = np.concatenate([rows, np.eye(5)[4:]]), np.concatenate([labels, [4]])
    found = densities(with_one, named, np.eye(5), mean=0.1)
    assert found.argmax() == 2
    assert found[4] == found[2]
    assert found.mean() == pytest.approx(0.1)


def test_no_temperature_is_zero_whatever_lies_in_a_cluster():
    """Two groups, twelve of equal rows, and a class without a row: the 90th percentile of twelve zeros is low."""
    rows, labels = blobs(np.eye(16)[:2], 20, seed=3)
    equal = np.eye(16)[2:14]
    rows = np.concatenate([rows, equal, equal])
    labels = np.concatenate([labels, np.arange(3, 15), np.arange(3, 15)])
    centroids = np.concatenate([np.eye(16)[:2], np.zeros((1, 16)), equal])
    for own in (slice(None), slice(0, 40), slice(40, None), slice(52, None)):  # all, groups, pairs, and single rows
        found = densities(rows[own], labels[own], centroids, mean=0.1)
        assert (found >= 0.02).all()
        assert found[2] == 0.1
    assert (found == 0.1).all()  # where nothing spreads none is softer
    found = densities(rows, labels, centroids, mean=0.1)
    assert (found[3:] == 0.02).all()
    assert found[:2].min() > 0.1
