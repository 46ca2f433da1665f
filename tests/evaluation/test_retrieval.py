"""Retrieval equals a brute force over all orders of ties, and the random ranking its simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.core.unit import unit_embeddings
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.statistics import ranks
from medvlp.statistics.bootstrap import patient_clusters, resample_patients
from medvlp.statistics.ranks import random_recall, rank_embeddings, rank_queries


def _brute_force(scores: np.ndarray, relevant: np.ndarray, k: int) -> tuple[float, float]:
    """Return mean rank of the first relevant and mean hit at k over every order of the candidates that sorts scores."""
    ranks, hits = [], []
    for order in itertools.permutations(range(len(scores))):
        listed = scores[list(order)]
        if (np.diff(listed) > 0).any():
            continue
        first = 1 + int(np.flatnonzero(relevant[list(order)])[0])
        ranks.append(first)
        hits.append(first <= k)
    return float(np.mean(ranks)), float(np.mean(hits))


@pytest.mark.parametrize("seed", range(25))
def test_ranks_equal_brute_force_with_duplicates_and_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    candidates = generator.integers(0, 4, 6)
    queries = generator.choice(candidates, 3)
    similarity = generator.integers(0, 3, (3, 6)) / 2.0
    ranks = rank_queries(similarity, queries, candidates)
    for k in (1, 2, 3, 5, 6):
        for query in range(3):
            rank, hit = _brute_force(similarity[query], candidates == queries[query], k)
            assert ranks.expected_rank()[query] == pytest.approx(rank, abs=1e-12)
            assert ranks.recall(k)[query] == pytest.approx(hit, abs=1e-12)


def test_one_score_for_everything_is_a_random_ranking() -> None:
    group = np.array([0, 0, 0, 1, 1, 2, 3, 4, 5, 6])
    ranks = rank_queries(np.ones((10, 10)), group, group)
    for k in (1, 3, 9):
        assert ranks.recall(k) == pytest.approx(random_recall(ranks.relevant, 10, k), abs=1e-14)


@pytest.mark.parametrize("seed", range(10))
def test_copies_of_a_candidate_tie_whatever_their_place(seed: int) -> None:
    """A matrix product rounds equal columns differently by their place: without care one of two copies would win."""
    rows = unit_embeddings(np.random.default_rng(seed).normal(size=(40, 90)), "Image")
    pool = np.concatenate([rows, rows[:7]])
    found = rank_embeddings(pool, pool, np.arange(47))
    assert (found.above.tolist(), found.tied.tolist()) == ([0] * 47, [1] * 7 + [0] * 33 + [1] * 7)


def test_random_recall_equals_simulation() -> None:
    generator = np.random.default_rng(0)
    relevant, pool, trials = np.array([1, 2, 7]), 40, 20_000
    places = np.argsort(generator.random((trials, pool)), axis=1)
    for k in (1, 5, 10):
        simulated = [(places[:, :count] < k).any(axis=1).mean() for count in relevant]
        exact = random_recall(relevant, pool, k)
        # Four standard errors of a share of 20,000.
        assert np.abs(simulated - exact).max() < 4 * 0.5 / np.sqrt(trials)
    assert random_recall([1], 40, 5)[0] == pytest.approx(5 / 40, abs=1e-15)
    assert random_recall([36], 40, 5)[0] == 1.0  # five of forty cannot all be among four


def _embeddings(studies: int = 120, seed: int = 0):
    generator = np.random.default_rng(seed)
    reports = [f"report {generator.integers(0, 70)}" for _ in range(studies)]
    by_report = {report: generator.normal(size=16) for report in sorted(set(reports))}
    text = np.stack([by_report[report] for report in reports])
    image = text + generator.normal(size=text.shape) * 1.5
    patients = [f"P{index}" for index in generator.integers(0, 50, studies)]
    return image, text, reports, patients


def _evaluate(image, text, reports, patients, **options):
    return evaluate_retrieval(image, text, reports, patients, seed=1, resamples=50, **options)


def test_directions_equal_a_loop_over_queries() -> None:
    image, text, reports, patients = _embeddings()
    result = _evaluate(image, text, reports, patients)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (image, text)]
    for label, similarity in (("image_to_report", unit[0] @ unit[1].T), ("report_to_image", unit[1] @ unit[0].T)):
        hits, ranks = [], []
        for query in range(len(reports)):
            relevant = np.array([other == reports[query] for other in reports])
            best = similarity[query][relevant].max()
            first = 1 + int((similarity[query][~relevant] > best + 1e-9).sum())
            ranks.append(first)
            hits.append(first <= 5)
        assert result.find("recall@5", label).value == pytest.approx(np.mean(hits), abs=1e-12)
        assert result.find("median_rank", label).value == np.median(ranks)
        assert result.find("mean_rank", label).value == pytest.approx(np.mean(ranks), abs=1e-12)


def test_restricted_queries_are_those_with_small_groups_and_the_pool_stays() -> None:
    image, text, reports, patients = _embeddings()
    small = [reports.count(report) <= 2 for report in reports]
    result = _evaluate(image, text, reports, patients, max_group=2)
    row = result.find("recall@5", "image_to_report", group="report_group<=2")
    assert (row.counts.n, row.counts.pool) == (sum(small), 120)
    assert result.cases is not None
    cases = result.cases[result.cases["direction"] == "image_to_report"]
    assert row.value == pytest.approx(cases.loc[small, "recall@5"].mean(), abs=1e-12)
    counts = np.array([reports.count(report) for report in reports])[small]
    assert row.chance == pytest.approx(random_recall(counts, 120, 5).mean(), abs=1e-12)


def test_the_chance_of_a_mean_rank_is_that_of_the_first_of_equal_reports_in_a_random_order() -> None:
    image, text, _, patients = _embeddings(5)
    row = _evaluate(image, text, ["a", "a", "b", "b", "b"], patients, ks=(1,)).find("mean_rank", "image_to_report")
    first = {many: [min(places) for places in itertools.combinations(range(1, 6), many)] for many in (2, 3)}
    assert row.chance == pytest.approx((2 * np.mean(first[2]) + 3 * np.mean(first[3])) / 5)


def test_the_interval_resamples_the_queries_of_patients() -> None:
    image, text, reports, patients = _embeddings()
    result = _evaluate(image, text, reports, patients)
    assert result.cases is not None
    cases = result.cases[result.cases["direction"] == "report_to_image"]
    clusters = patient_clusters(np.asarray(patients))
    weights = resample_patients(clusters, start=0, stop=50, seed=1)[clusters.patient].astype(int)
    for metric, column, statistic in (
        ("recall@5", "recall@5", np.mean),
        ("median_rank", "expected_rank", np.median),
        ("mean_rank", "expected_rank", np.mean),
    ):
        draws = [statistic(np.repeat(cases[column].to_numpy(), weights[:, b])) for b in range(50)]
        row = result.find(metric, "report_to_image")
        assert [row.interval.low, row.interval.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-12)


def test_a_mean_that_is_the_same_in_every_resample_has_no_interval() -> None:
    found = _evaluate(np.eye(9), np.eye(9), list("abcdefghi"), list("ABCDEFGHI"), ks=(1,))
    for metric in ("recall@1", "mean_rank"):
        row = found.find(metric, "image_to_report")
        assert (row.value, row.interval.low, row.reason) == (1.0, None, "no_spread")


def test_equal_reports_apart_from_white_space_and_case_are_one_group() -> None:
    image, text, _, patients = _embeddings(4)
    rows = _evaluate(image, text, ["No effusion.", "no  effusion.\n", "Nodule.", "Edema."], patients, ks=(1,))
    assert rows.find("recall@1", "image_to_report").chance == pytest.approx((2 / 4 + 2 / 4 + 1 / 4 + 1 / 4) / 4)


def test_order_of_studies_changes_nothing() -> None:
    image, text, reports, patients = (np.asarray(part) for part in _embeddings())
    order = np.random.default_rng(1).permutation(len(image))
    first = _evaluate(image, text, list(reports), list(patients))
    second = _evaluate(image[order], text[order], list(reports[order]), list(patients[order]))
    for a, b in zip(first.metrics, second.metrics, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-12)
        assert a.interval.low == pytest.approx(b.interval.low, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": np.zeros((5, 3))}, "Image embeddings hold 5 rows that are zero, NaN or infinite"),
        ({"text": np.full((5, 3), np.nan)}, "Report embeddings hold 5 rows"),
        ({"image": np.ones(5)}, r"Image embeddings have shape \(5,\)"),
        ({"patients": ["a"]}, "give one row of each a study"),
        ({"ks": (9,)}, r"k = \[9\] over a pool of 5 studies"),
        ({"ids": ["a"]}, "1 ids for 5 studies"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change: dict, sentence: str) -> None:
    good = {
        "image": np.eye(5, 3) + 1,
        "text": np.eye(5, 3) + 1,
        "reports": list("abcde"),
        "patients": list("vwxyz"),
        "ks": (1,),
    }
    with pytest.raises(DataError, match=sentence):
        _evaluate(**{**good, **change})
    with pytest.raises(DataError, match=r"No candidate is relevant to 1 of \d+ queries"):
        rank_queries(np.ones((1, 2)), [5], [0, 1])
    with pytest.raises(DataError, match="similarity holds NaN"):
        rank_queries([[np.nan, 0]], [0], [0, 1])
    with pytest.raises(DataError, match=r"similarity has shape \(1, 2\)"):
        rank_queries([[1, 0]], [0], [0])


def test_a_large_matrix_is_ranked_some_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(3)
    scores, group = draws.integers(0, 9, (40, 40)) / 8, draws.integers(0, 3, 40)
    whole = ranks.rank_queries(scores.T, group, group)
    sizes: list[tuple[int, ...]] = []
    counted = ranks._counted

    def watched(part: np.ndarray, *rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sizes.append(part.shape)
        return counted(part, *rest)

    monkeypatch.setattr(ranks, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(ranks, "_counted", watched)
    parts = ranks.rank_queries(scores.T, group, group)
    assert sizes == [(16, 40), (16, 40), (8, 40)]
    for name in ("above", "tied", "tied_relevant", "relevant"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()
    scores[0, 39] = np.nan
    with pytest.raises(DataError, match="NaN"):
        ranks.rank_queries(scores.T, group, group)
