"""Image <-> report retrieval in which duplicate reports are one relevance group and ties have an expected rank.

A query is answered when *any* candidate of its group is found: two studies with word-for-word the same report cannot be
told apart by it. Candidates with equal scores are taken in random order and the expectation over that order is computed
exactly, so that a model that gives one score to everything gets the result of a random ranking and not a perfect one.
The random ranking under the same groups is stated beside every number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.core.unit import unit_embeddings
from medvlp.evaluation.metric_row import Draw, drawn_rows, metric_row
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranks import Ranks, label_groups, random_recall, rank_embeddings, rank_queries, weighted_medians


def evaluate_retrieval(
    image: ArrayLike,
    text: ArrayLike | None,
    reports: Sequence[str],
    patients: Sequence[str],
    *,
    seed: int,
    ids: Sequence[str] | None = None,
    labels: ArrayLike | None = None,
    ks: Sequence[int] = (1, 5, 10),
    max_group: int | None = 3,
    resamples: int = 2000,
    split: str = "",
    name: str = "retrieval",
    title: str = "",
) -> Result:
    """Return image -> report and report -> image retrieval over studies, with a patient bootstrap over queries.

    Recall at k, and median and mean of the expected rank, for all queries and, as group ``report_group<=K``, for
    queries whose report belongs to at most K studies. The pool is always all studies. `chance` is the exact expectation
    of a random ranking under the same groups. With `labels` also as group ``label_equal``: a report of any study with
    the same labels answers the query.

    Args:
        image: ``(S, D)`` image embeddings, one a study; compared by cosine. Without `text` ``(S, S)``, how near each
            image is to each report by any other score.
        text: ``(S, D)`` report embeddings in the same order; None: see `image`.
        reports: ``(S,)`` report texts; equal ones (white space and case aside) are one group.
        patients: ``(S,)`` patient identifiers.
        name, title: of the `Result`, see there.
        ids: ``(S,)`` study identifiers for the per-case table; by default their position.
        labels: ``(S, L)`` labels; not mentioned (NaN) is a value like the others. None leaves those rows out.
        ks: lengths of the list that is looked at.
        max_group: K of the restricted rows; None leaves them out.
        resamples: bootstrap resamples; 0 for no intervals.
        split: written into the rows.

    Raises:
        DataError: if lengths disagree, an embedding is NaN, infinite or zero, or a k is not in 1 to S.

    Example:
        >>> eye = np.eye(4)
        >>> result = evaluate_retrieval(eye, eye, ["a", "b", "c", "c"], list("ABCD"), seed=0,
        ...                             ks=(1,), resamples=20)
        >>> result.find("recall@1", "image_to_report").value, result.find("recall@1", "image_to_report").chance
        (1.0, 0.375)
    """
    studies = len(reports)
    shapes, rank = _ranker(image, text)
    if not (shapes[0] == shapes[1] and shapes[0][0] == studies == len(patients)):
        raise DataError(
            f"Images are {shapes[0]}, reports {shapes[1]}, texts {studies}, patients {len(patients)}: "
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
    draw = partial(drawn_rows, clusters=clusters, seed=seed, resamples=resamples)
    metrics: list[Metric] = []
    cases = []
    for direction in ("image_to_report", "report_to_image"):
        ranks = rank(direction, group)
        everybody = np.ones(studies, dtype=bool)
        subsets: list[tuple[str | None, Ranks, NDArray[np.bool_]]] = [(None, ranks, everybody)]
        if max_group is not None:
            subsets.append((f"report_group<={max_group}", ranks, ranks.relevant <= max_group))
        if alike is not None:
            subsets.append(("label_equal", rank(direction, alike), everybody))
        for subset, ranked, chosen in subsets:
            facts = {"label": direction, "group": subset, "split": split, "policy": "none"}
            metrics += _direction_rows(ranked, chosen, clusters.patient[chosen], ks, facts, draw)
        table = {
            "id": list(ids) if ids is not None else [str(index) for index in range(studies)],
            "patient_id": [str(patient) for patient in patients],
            "direction": direction,
            "expected_rank": ranks.expected_rank(),
            "relevant": ranks.relevant,
            **{f"recall@{k}": ranks.recall(k) for k in ks},
        }
        cases.append(pd.DataFrame(table))
    return Result(name=name, title=title, metrics=tuple(metrics), cases=pd.concat(cases, ignore_index=True))


def _ranker(
    image: ArrayLike, text: ArrayLike | None
) -> tuple[tuple[tuple[int, ...], ...], Callable[[str, NDArray[np.int64]], Ranks]]:
    """Return the shapes of both sides, and what ranks one direction with the groups of equal reports."""
    if text is None:
        near = np.asarray(image)
        ranked = {"image_to_report": near, "report_to_image": near.T}
        return (near.shape, near.T.shape), lambda direction, group: rank_queries(ranked[direction], group, group)
    images, words = unit_embeddings(image, "Image"), unit_embeddings(text, "Report")
    pairs = {"image_to_report": (images, words), "report_to_image": (words, images)}
    return (images.shape, words.shape), lambda direction, group: rank_embeddings(*pairs[direction], group)


def _direction_rows(
    ranks: Ranks,
    chosen: NDArray[np.bool_],
    patient: NDArray[np.int64],
    ks: Sequence[int],
    facts: Mapping[str, Any],
    draw: Draw,
) -> list[Metric]:
    rank, relevant = ranks.expected_rank()[chosen], ranks.relevant[chosen]
    names = [*(f"recall@{k}" for k in ks), "median_rank", "mean_rank"]
    chances: list[float | None] = [None] * len(names)
    if len(rank):
        chances = [float(random_recall(relevant, ranks.pool, k).mean()) for k in ks]
        # The first of g items in a random order of C stands at (C + 1) / (g + 1) on average.
        chances += [None, float(((ranks.pool + 1) / (relevant + 1)).mean())]
    counts = Counts(n=len(rank), patients=len(np.unique(patient)), pool=ranks.pool)
    reason = None if len(rank) else "no_rows"
    rows = [
        Metric(metric=name, value=None, counts=counts, chance=chance, reason=reason, **facts)
        for name, chance in zip(names, chances, strict=True)
    ]
    if not len(rank):
        return [metric_row(row, None, None) for row in rows]
    averaged = np.stack([*(ranks.recall(k)[chosen] for k in ks), rank], axis=1)  # (n, len(ks) + 1)

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[patient]  # (n, B)
        total = row.sum(axis=0)
        means = (averaged.T @ row) / np.where(total > 0, total, np.nan)
        median = np.where(total > 0, weighted_medians(rank, row), np.nan)
        return np.concatenate([means[:-1], median[None], means[-1:]]).T

    return draw(rows, statistic, height=len(rank))
