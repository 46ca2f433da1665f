"""Image -> image retrieval and label-equal groups equal brute force over every order of ties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.evaluation.image_retrieval import (
    by_study,
    evaluate_image_retrieval,
    expected_average_precision,
    expected_hits,
)
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.statistics.ranks import label_groups


def _orders(scores: np.ndarray) -> list[list[int]]:
    return [
        list(order)
        for order in itertools.permutations(range(len(scores)))
        if not (np.diff(scores[list(order)]) > 0).any()
    ]


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_hits_and_share_equal_brute_force(seed: int) -> None:
    draws = np.random.default_rng(seed)
    scores, relevant = draws.integers(0, 3, 6) / 2.0, draws.random(6) < 0.5
    relevant[draws.integers(6)] = True
    values, hits, shares = [], [], []
    for order in _orders(scores):
        listed = relevant[order]
        found = np.cumsum(listed) / np.arange(1, 7)
        values.append(found[listed].mean())
        hits.append([listed[:k].any() for k in range(1, 7)])
        shares.append([listed[:k].mean() for k in range(1, 7)])
    ranked = np.sort(scores), np.sort(scores[relevant])
    assert expected_average_precision(*ranked) == pytest.approx(np.mean(values), abs=1e-12)
    for k in range(1, 7):
        hit, share = expected_hits(*ranked, k)
        assert hit == pytest.approx(np.mean([each[k - 1] for each in hits]), abs=1e-12)
        assert share == pytest.approx(np.mean([each[k - 1] for each in shares]), abs=1e-12)


def test_the_own_patient_is_no_candidate_and_chance_is_the_share_of_relevant() -> None:
    image = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    labels = [[1.0], [1.0], [1.0], [np.nan]]
    found = evaluate_image_retrieval(image, labels, ["p", "p", "q", "r"], seed=0, ks=(1, 2), resamples=10)
    # Both films of p find q's (1 of 2 candidates relevant), q's finds both of p's (2 of 3); r's asks for nothing.
    row = found.find("recall@1", "image_to_image", group="label_equal")
    assert (row.value, row.counts.n, row.counts.patients, row.counts.pool) == (1.0, 3, 2, 2)
    assert row.chance == pytest.approx((0.5 + 0.5 + 2 / 3) / 3)
    precision = found.find("precision@2", "image_to_image", group="label_equal")
    assert precision.value == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    assert precision.chance == pytest.approx(row.chance)
    assert found.find("mean_average_precision", "image_to_image", group="label_equal").value == 1.0


def test_one_embedding_for_all_is_a_random_ranking() -> None:
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 2, (12, 2)).astype(float)
    found = evaluate_image_retrieval(
        np.ones((12, 3)), labels, [str(i) for i in range(12)], seed=0, ks=(1, 5), resamples=0
    )
    for row in found.metrics[:-1]:
        assert row.value == pytest.approx(row.chance, abs=1e-12)


def test_no_study_with_the_same_labels_is_no_row_and_faults_are_told() -> None:
    eye = np.eye(3)
    found = evaluate_image_retrieval(eye, eye, list("abc"), seed=0, ks=(1,), resamples=5)
    assert {row.reason for row in found.metrics} == {"no_rows"}
    with pytest.raises(DataError, match="the smallest pool has 2 studies"):
        evaluate_image_retrieval(eye, eye, list("abc"), seed=0, ks=(3,))
    with pytest.raises(DataError, match="3 embeddings, 2 patients"):
        evaluate_image_retrieval(eye, eye, list("ab"), seed=0, ks=(1,))
    with pytest.raises(DataError, match="give one row a study"):
        label_groups(np.zeros((2, 1)), 3)


def test_a_study_is_the_unit_mean_of_its_films_in_the_order_of_the_studies() -> None:
    rows, first = by_study(np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0]]), ["s2", "s1", "s2"])
    np.testing.assert_allclose(rows, [[0.5**0.5, 0.5**0.5], [0.0, 1.0]])
    assert first.tolist() == [0, 1]
    with pytest.raises(DataError, match="give one a row"):
        by_study(np.eye(2), ["a"])


def test_a_report_with_the_same_labels_answers_the_query_of_the_label_equal_rows() -> None:
    image = text = np.eye(3)[[0, 1, 2]]
    swapped = text[[1, 0, 2]]
    labels = [[1.0], [1.0], [0.0]]
    found = evaluate_retrieval(
        image, swapped, ["a", "b", "c"], list("pqr"), labels=labels, seed=0, ks=(1,), resamples=20
    )
    assert found.find("recall@1", "image_to_report").value == pytest.approx(1 / 3)
    assert found.find("recall@1", "image_to_report", group="label_equal").value == 1.0
    assert found.find("recall@1", "image_to_report", group="label_equal").chance == pytest.approx((2 + 2 + 1) / 9)


def test_each_query_has_the_numbers_of_its_ranking() -> None:
    draws = np.random.default_rng(4)
    unit, group = draws.choice([-0.5, 0.5], (60, 4)), draws.integers(0, 2, 60)  # their products are exact
    people = draws.integers(0, 20, 60)
    found = evaluate_image_retrieval(unit, group[:, None], people.astype(str).tolist(), seed=0, ks=(1, 5), resamples=0)
    assert found.cases is not None
    for row in found.cases.to_dict("records"):
        at = int(row["id"])
        others = people != people[at]
        scores, relevant = (unit @ unit[at])[others], (group == group[at])[others]
        ranked = np.sort(scores), np.sort(scores[relevant])
        assert row["average_precision"] == pytest.approx(expected_average_precision(*ranked), abs=1e-12)
        for k in (1, 5):
            assert (row[f"recall@{k}"], row[f"precision@{k}"]) == pytest.approx(expected_hits(*ranked, k))
