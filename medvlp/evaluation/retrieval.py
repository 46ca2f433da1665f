"""Image <-> report retrieval in which duplicate reports are one relevance group and ties have an expected rank.

A query is answered when *any* candidate of its group is found: two studies with word-for-word the same report cannot be
told apart by it. Candidates with equal scores are taken in random order and the expectation over that order is computed
exactly, so that a model that gives one score to everything gets the result of a random ranking and not a perfect one.
The random ranking under the same groups is stated beside every number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.evaluation.bootstrap import Clusters, bootstrap, patient_clusters, percentile_interval
from medvlp.evaluation.metrics import FloatArray
from medvlp.evaluation.results import Metric, Result

__all__ = [
    "Ranks",
    "evaluate_retrieval",
    "label_groups",
    "random_recall",
    "rank_embeddings",
    "rank_queries",
    "unit_embeddings",
]

_BLOCK_ROWS = 512


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where the best relevant candidate of each query stands; every array is ``(Q,)``.

    Attributes:
        above: irrelevant candidates with a higher score.
        tied: irrelevant candidates with the same score.
        tied_relevant: relevant candidates with that score, 1 or more.
        relevant: relevant candidates in the pool.
        pool: number of candidates.
    """

    above: NDArray[np.int64]
    tied: NDArray[np.int64]
    tied_relevant: NDArray[np.int64]
    relevant: NDArray[np.int64]
    pool: int

    def expected_rank(self) -> FloatArray:
        """Return the expected rank (from 1) of the first relevant one, ``1 + above + tied / (tied_relevant + 1)``."""
        return 1.0 + self.above + self.tied / (self.tied_relevant + 1.0)

    def recall(self, k: int) -> FloatArray:
        """Return the chance that a relevant candidate is among the first k, exact over the order of ties."""
        return _chance_of_a_hit(self.tied_relevant, self.tied, k - self.above)


def random_recall(relevant: ArrayLike, pool: int, k: int) -> FloatArray:
    """Return the recall at k of a random ranking: ``1 - C(pool - relevant, k) / C(pool, k)`` (hypergeometric).

    Args:
        relevant: ``(Q,)`` relevant candidates of each query.
        pool: candidates.
        k: length of the list that is looked at.

    Example:
        >>> random_recall([1, 2], pool=10, k=5).round(4).tolist()
        [0.5, 0.7778]
    """
    count = np.asarray(relevant, dtype=np.int64)
    return _chance_of_a_hit(count, pool - count, np.full_like(count, k))


def rank_queries(similarity: ArrayLike, query_group: ArrayLike, candidate_group: ArrayLike) -> Ranks:
    """Return the ranks of the queries of a similarity matrix.

    Args:
        similarity: ``(Q, C)``, higher is nearer.
        query_group: ``(Q,)`` relevance group of each query, integers.
        candidate_group: ``(C,)`` relevance group of each candidate.

    Raises:
        DataError: if shapes disagree, a similarity is NaN, or a query has no relevant candidate.

    Example:
        >>> ranks = rank_queries([[0.9, 0.5, 0.5]], [1], [0, 1, 2])
        >>> ranks.expected_rank().tolist(), ranks.recall(2).tolist()
        ([2.5], [0.5])
    """
    scores, query, candidate = np.asarray(similarity), np.asarray(query_group), np.asarray(candidate_group)
    if scores.shape != (len(query), len(candidate)):
        raise DataError(
            f"The similarity has shape {scores.shape}, the groups ask for ({len(query)}, {len(candidate)}): "
            f"give one row a query and one column a candidate."
        )
    if np.isnan(scores).any():
        raise DataError("The similarity holds NaN: mend the model, a rank cannot be made of it.")
    order = np.argsort(candidate, kind="stable")
    in_order = candidate[order]
    first, last = np.searchsorted(in_order, query), np.searchsorted(in_order, query, side="right")
    relevant = last - first
    if (relevant == 0).any():
        raise DataError(f"{int((relevant == 0).sum())} queries have no relevant candidate: leave them out.")
    # One flat list of (query, relevant candidate) pairs: the loop over queries, without the loop.
    start = np.cumsum(relevant) - relevant
    within = np.arange(relevant.sum()) - np.repeat(start, relevant)
    pairs = scores[np.repeat(np.arange(len(query)), relevant), order[np.repeat(first, relevant) + within]]
    best = np.maximum.reduceat(pairs, start) if len(query) else np.empty(0)
    tied_relevant = (
        np.add.reduceat((pairs == np.repeat(best, relevant)).astype(np.int64), start) if len(query) else start
    )
    higher = np.count_nonzero(scores > best[:, None], axis=1)
    equal = np.count_nonzero(scores == best[:, None], axis=1)
    return Ranks(higher, equal - tied_relevant, tied_relevant, relevant, len(candidate))


def evaluate_retrieval(
    image: ArrayLike,
    text: ArrayLike,
    reports: Sequence[str],
    patients: Sequence[str],
    *,
    seed: int,
    recipe: str,
    data: str,
    ids: Sequence[str] | None = None,
    labels: ArrayLike | None = None,
    ks: Sequence[int] = (1, 5, 10),
    max_group: int | None = 3,
    resamples: int = 2000,
    level: float = 0.95,
    split: str = "",
    name: str = "retrieval",
    title: str = "",
    synthetic: bool = False,
) -> Result:
    """Return image -> report and report -> image retrieval over studies, with a patient bootstrap over queries.

    Recall at k, and median and mean of the expected rank, for all queries and, as group ``report_group<=K``, for
    queries whose report belongs to at most K studies. The pool is always all studies. `chance` is the exact expectation
    of a random ranking under the same groups. With `labels` also as group ``label_equal``: a report of any study with
    the same labels answers the query.

    Args:
        image: ``(S, D)`` image embeddings, one a study; compared by cosine.
        text: ``(S, D)`` report embeddings in the same order.
        reports: ``(S,)`` report texts; equal ones (white space and case aside) are one group.
        patients: ``(S,)`` patient identifiers.
        seed: seed of the bootstrap.
        recipe: hash of what made the embeddings.
        data: hash of the data.
        ids: ``(S,)`` study identifiers for the per-case table; by default their position.
        labels: ``(S, L)`` labels; not mentioned (NaN) is a value like the others. None leaves those rows out.
        ks: lengths of the list that is looked at.
        max_group: K of the restricted rows; None leaves them out.
        resamples: bootstrap resamples; 0 for no intervals.
        level: confidence level.
        split: written into the rows.
        name: name of the result.
        title: its words for a page.
        synthetic: the data is synthetic.

    Raises:
        DataError: if lengths disagree, an embedding is NaN, infinite or zero, or a k is not in 1 to S.

    Example:
        >>> eye = np.eye(4)
        >>> result = evaluate_retrieval(eye, eye, ["a", "b", "c", "c"], list("ABCD"), seed=0, recipe="", data="",
        ...                             ks=(1,), resamples=20)
        >>> result.find("recall@1", "image_to_report").value, result.find("recall@1", "image_to_report").chance
        (1.0, 0.375)
    """
    pictures, words = unit_embeddings(image, "Image"), unit_embeddings(text, "Report")
    studies = len(reports)
    if not (pictures.shape == words.shape and len(pictures) == studies == len(patients)):
        raise DataError(
            f"Images are {pictures.shape}, reports {words.shape}, texts {studies}, patients {len(patients)}: "
            f"give one row of each a study."
        )
    if ids is not None and len(ids) != studies:
        raise DataError(f"There are {len(ids)} ids for {studies} studies: give one a study.")
    if not ks or any(not 1 <= k <= studies for k in ks):
        raise DataError(
            f"Recall is asked for at k = {list(ks)} over a pool of {studies} studies: k is from 1 to the pool."
        )
    keys = [" ".join(report.split()).casefold() for report in reports]
    group = np.unique(np.array(keys), return_inverse=True)[1]
    alike = None if labels is None else label_groups(labels, studies)
    clusters = patient_clusters(np.asarray(patients).astype(str))
    metrics: list[Metric] = []
    cases = []
    for direction, query, candidate in (("image_to_report", pictures, words), ("report_to_image", words, pictures)):
        ranks = rank_embeddings(query, candidate, group)
        subsets: list[tuple[str | None, NDArray[np.bool_]]] = [(None, np.ones(studies, dtype=bool))]
        if max_group is not None:
            subsets.append((f"report_group<={max_group}", ranks.relevant <= max_group))
        for subset, chosen in subsets:
            metrics += _direction_rows(ranks, chosen, clusters, ks, resamples, seed, level, direction, subset, split)
        if alike is not None:
            wide = rank_embeddings(query, candidate, alike)
            everybody = np.ones(studies, dtype=bool)
            metrics += _direction_rows(
                wide, everybody, clusters, ks, resamples, seed, level, direction, "label_equal", split
            )
        table = {
            "id": list(ids) if ids is not None else [str(index) for index in range(studies)],
            "patient_id": [str(patient) for patient in patients],
            "direction": direction,
            "expected_rank": ranks.expected_rank(),
            "relevant": ranks.relevant,
            **{f"recall@{k}": ranks.recall(k) for k in ks},
        }
        cases.append(pd.DataFrame(table))
    return Result(
        name=name,
        title=title,
        synthetic=synthetic,
        recipe=recipe,
        data=data,
        metrics=tuple(metrics),
        cases=pd.concat(cases, ignore_index=True),
    )


def label_groups(labels: ArrayLike, studies: int) -> NDArray[np.int64]:
    """Return (S,) numbers of the groups of studies with equal labels (S, L); NaN equals NaN.

    Raises:
        DataError: if there is not one row a study.

    Example:
        >>> label_groups([[1, float("nan")], [1, 0], [1, float("nan")]], 3).tolist()
        [1, 0, 1]
    """
    table = np.asarray(labels, dtype=np.float64)
    if table.ndim != 2 or len(table) != studies:
        raise DataError(f"The labels have shape {table.shape} for {studies} studies: give one row a study.")
    return np.unique(np.where(np.isnan(table), 9.0, table), axis=0, return_inverse=True)[1].reshape(-1)


def _chance_of_a_hit(relevant: NDArray[np.int64], other: NDArray[np.int64], drawn: NDArray[np.int64]) -> FloatArray:
    """Return the chance of a relevant item among `drawn` of `relevant + other`, drawn without replacement.

    ``1 - C(other, drawn) / C(relevant + other, drawn)`` as a product over the draws, which cannot overflow.
    """
    missed = np.ones(len(relevant))
    for already in range(int(drawn.max(initial=0))):
        left = np.maximum(relevant + other - already, 1)
        missed *= np.where(already < drawn, np.clip(other - already, 0, None) / left, 1.0)
    return 1.0 - missed


def unit_embeddings(embedding: ArrayLike, what: str) -> NDArray[np.floating]:
    """Return embeddings (S, D) at unit length.

    Raises:
        DataError: if they are no table, or a row is zero, NaN or infinite.
    """
    rows = np.asarray(embedding)
    if rows.ndim != 2:
        raise DataError(f"{what} embeddings have shape {rows.shape}: give one row a study, (S, D).")
    rows = rows.astype(np.result_type(rows.dtype, np.float32), copy=False)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        bad = int((~(np.isfinite(length) & (length > 0))).sum())
        raise DataError(
            f"{what} embeddings hold {bad} rows that are zero, NaN or infinite: mend the model or drop them."
        )
    return rows / length


def rank_embeddings(query: NDArray[np.floating], candidate: NDArray[np.floating], group: NDArray[np.int64]) -> Ranks:
    """Return the ranks of the queries (Q, D) among candidates (C, D), both at unit length and in the same groups.

    A block of queries is ranked at a time; equal embeddings get equal scores.

    A matrix product may round two equal columns differently by their place, which would break a tie by position; so
    each distinct candidate is multiplied once and its score copied.
    """
    distinct, back = np.unique(candidate, axis=0, return_inverse=True)
    parts = []
    for start in range(0, len(query), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        parts.append(rank_queries((query[rows] @ distinct.T)[:, back], group[rows], group))
    return Ranks(
        np.concatenate([part.above for part in parts]),
        np.concatenate([part.tied for part in parts]),
        np.concatenate([part.tied_relevant for part in parts]),
        np.concatenate([part.relevant for part in parts]),
        len(candidate),
    )


def _weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the medians of ``(n,)`` values under the columns of ``(n, B)`` weights, ``(B,)``; halves are averaged."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order], axis=0)
    half = cumulative[-1] / 2
    lower = values[order][np.argmax(cumulative >= half, axis=0)]
    upper = values[order][np.argmax(cumulative > half, axis=0)]
    return (lower + upper) / 2


def _direction_rows(
    ranks: Ranks,
    chosen: NDArray[np.bool_],
    clusters: Clusters,
    ks: Sequence[int],
    resamples: int,
    seed: int,
    level: float,
    direction: str,
    group: str | None,
    split: str,
) -> list[Metric]:
    patient = clusters.patient[chosen]
    rank, relevant = ranks.expected_rank()[chosen], ranks.relevant[chosen]
    names = [*(f"recall@{k}" for k in ks), "median_rank", "mean_rank"]
    chances: list[float | None] = [None] * len(names)
    point = draws = np.empty((0, len(names)))
    if len(rank):
        averaged = np.stack([*(ranks.recall(k)[chosen] for k in ks), rank], axis=1)  # (n, len(ks) + 1)

        def statistic(weights: FloatArray) -> FloatArray:
            row = weights[patient]  # (n, B)
            total = row.sum(axis=0)
            means = (averaged.T @ row) / np.where(total > 0, total, np.nan)
            return np.concatenate(
                [means[:-1], np.where(total > 0, _weighted_median(rank, row), np.nan)[None], means[-1:]]
            ).T

        point = statistic(np.ones((clusters.patients, 1)))
        if resamples:
            draws = bootstrap(statistic, clusters, resamples=resamples, seed=seed, height=len(rank))
        chances = [float(random_recall(relevant, ranks.pool, k).mean()) for k in ks]
        # The first of g items in a random order of C stands at (C + 1) / (g + 1) on average.
        chances += [None, float(((ranks.pool + 1) / (relevant + 1)).mean())]
    rows = []
    for at, (metric, chance) in enumerate(zip(names, chances, strict=True)):
        interval = percentile_interval(draws[:, at], level=level) if len(draws) else None
        rows.append(
            Metric(
                metric=metric,
                label=direction,
                value=float(point[0, at]) if len(point) else None,
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                level=level,
                method="patient_bootstrap" if interval else "none",
                interval="percentile" if interval else "none",
                n=len(rank),
                patients=len(np.unique(patient)),
                split=split,
                policy="none",
                group=group,
                chance=chance,
                pool=ranks.pool,
                resamples=interval.used if interval else None,
                skipped=interval.skipped if interval else None,
                reason=None if len(rank) else "no_rows",
            )
        )
    return rows
