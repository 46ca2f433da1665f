"""Image -> image retrieval: does the model find studies with the same findings in other patients?

A study is relevant where its labels equal the query's. The query's own patient is taken out of its candidates: another
film of the same body is found by the body. Ties have an expected rank, as in `retrieval`; average precision is the
expectation over the order of ties (McSherry and Najork, ECIR 2008, eq. 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medvlp.core.errors import DataError
from medvlp.core.unit import unit_embeddings
from medvlp.evaluation.metric_row import Draw, drawn_rows, metric_row
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.metrics import FloatArray
from medvlp.statistics.ranks import label_groups, random_recall

_BLOCK_ROWS = 256
_DIRECTION = "image_to_image"


def by_study(embedding: ArrayLike, studies: Sequence[str]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Return the unit mean of each study's embeddings, and the first row of each study; studies as they come.

    Args:
        embedding: (N, D).
        studies: (N,) identifiers.

    Example:
        >>> by_study(np.eye(3), ["b", "a", "b"])[0].round(3).tolist()
        [[0.707, 0.0, 0.707], [0.0, 1.0, 0.0]]
    """
    rows = unit_embeddings(embedding, "Image")
    names = np.asarray(studies).astype(str)
    if len(names) != len(rows):
        raise DataError(f"There are {len(names)} studies for {len(rows)} embeddings: give one a row.")
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    total = np.zeros((len(order), rows.shape[1]), dtype=rows.dtype)
    np.add.at(total, place[group], rows)
    return unit_embeddings(total, "Study"), first[order]


def expected_hits(ascending: FloatArray, relevant: FloatArray, k: int) -> tuple[float, float]:
    """Return the chance of a relevant item in the top k, and the expected share of relevant items there.

    Args:
        ascending: (C,) scores, sorted.
        relevant: those of the relevant items, sorted.
        k: from 1 to C.

    Example:
        >>> expected_hits(np.array([0.5, 0.5, 0.9]), np.array([0.5]), 2)
        (0.5, 0.25)
    """
    edge = ascending[len(ascending) - k]
    (below, through), (before, until) = (
        (int(np.searchsorted(each, edge)), int(np.searchsorted(each, edge, side="right")))
        for each in (ascending, relevant)
    )
    left, tied = k - (len(ascending) - through), through - below
    sure, open_relevant = len(relevant) - until, until - before
    share = (sure + left * open_relevant / tied) / k
    if sure or not open_relevant or left == tied:
        return float(sure + open_relevant > 0), share
    return float(random_recall([open_relevant], tied, left)[0]), share


def expected_average_precision(ascending: FloatArray, relevant: FloatArray) -> float:
    """Return the average precision of one ranking, its expectation where scores are tied.

    Args:
        ascending: (C,) scores, sorted.
        relevant: those of the relevant items, sorted; at least one.

    Example:
        >>> expected_average_precision(np.array([0.5, 0.5, 0.9]), np.array([0.5])).__round__(4)
        0.4167
    """
    first = np.flatnonzero(np.append(True, relevant[1:] != relevant[:-1]))
    level = relevant[first]  # a score that no relevant item has adds nothing
    found = np.diff(np.append(first, len(relevant)))
    through = np.searchsorted(ascending, level, side="right")
    size = through - np.searchsorted(ascending, level)
    group = np.repeat(np.arange(len(level)), size)
    within = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)  # places in the tie that come before
    r, n = found[group], size[group]
    before, above = (len(relevant) - first - found)[group], (len(ascending) - through)[group]
    mates = within * (r - 1) / np.maximum(n - 1, 1)
    return float(((r / n) * (before + mates + 1) / (above + within + 1)).sum() / len(relevant))


def evaluate_image_retrieval(
    image: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str],
    *,
    seed: int,
    ids: Sequence[str] | None = None,
    ks: Sequence[int] = (1, 5, 10),
    resamples: int = 2000,
    split: str = "",
) -> Result:
    """Return recall and precision at k and mean average precision over studies, with a patient bootstrap over queries.

    A query without a relevant study in another patient is no query; it stays a candidate.

    Args:
        image: (S, D) embeddings, one a study; compared by cosine.
        labels: (S, L); equal rows are relevant to each other, NaN equals NaN.
        patients: (S,).
        ids: (S,) for the per-case table.
        ks: lengths of the list that is looked at.
        resamples: of the bootstrap; 0 for no intervals.
        split: written into the rows.

    Raises:
        DataError: if lengths disagree, an embedding is not usable, or a k exceeds the smallest pool.
    """
    rows, people = unit_embeddings(image, "Image"), np.asarray(patients).astype(str)
    group = label_groups(labels, len(rows))
    if len(people) != len(rows) or (ids is not None and len(ids) != len(rows)):
        raise DataError(f"There are {len(rows)} embeddings, {len(people)} patients: give one row of each a study.")
    person = np.unique(people, return_inverse=True)[1].reshape(-1)
    pool = len(rows) - np.bincount(person)[person]
    smallest = int(pool.min(initial=len(rows))) if len(rows) else 0
    if not ks or not 1 <= min(ks) <= max(ks) <= smallest:
        raise DataError(f"Precision is asked for at k = {list(ks)}, the smallest pool has {smallest} studies.")
    distinct, back = np.unique(rows, axis=0, return_inverse=True)  # equal studies get equal scores, wherever they stand
    cases: dict[str, list[float]] = {}
    chosen: list[int] = []
    for start in range(0, len(rows), _BLOCK_ROWS):
        near = (rows[start : start + _BLOCK_ROWS] @ distinct.T)[:, back.reshape(-1)]
        for at, scores in enumerate(near, start=start):
            others = person != person[at]
            relevant = (group == group[at])[others]
            if not relevant.any():
                continue
            chosen.append(at)
            own = scores[others]
            ascending, found = np.sort(own), np.sort(own[relevant])  # once, for all numbers
            numbers = {"average_precision": expected_average_precision(ascending, found), "relevant": float(len(found))}
            for k in ks:
                numbers[f"recall@{k}"], numbers[f"precision@{k}"] = expected_hits(ascending, found, k)
            numbers["share"] = float(relevant.mean())
            for key, value in numbers.items():
                cases.setdefault(key, []).append(value)
    asked = np.array(chosen, dtype=np.int64)
    frame = pd.DataFrame({key: np.array(values) for key, values in cases.items()})
    chances: dict[str, float | None] = dict.fromkeys(f"{each}@{k}" for each in ("recall", "precision") for k in ks)
    for k in ks if len(frame) else ():
        chances[f"recall@{k}"] = float(random_recall(frame["relevant"], pool[asked], k).mean())
        chances[f"precision@{k}"] = float(frame["share"].mean())
    chances["mean_average_precision"] = None
    frame.insert(0, "patient_id", people[asked])
    frame.insert(0, "id", [str(ids[i]) if ids is not None else str(i) for i in asked])
    draw = partial(drawn_rows, seed=seed, resamples=resamples, height=len(frame))
    metrics = _rows(frame, chances, smallest, split, draw)
    return Result(name="image_retrieval", metrics=metrics, cases=frame, title="Image to image retrieval, equal labels")


def _rows(
    frame: pd.DataFrame, chances: Mapping[str, float | None], pool: int, split: str, draw: Draw
) -> tuple[Metric, ...]:
    """Return a row for each of `chances`, which are by metric."""
    empty = Metric(metric="", label=_DIRECTION, value=None, split=split, policy="none", counts=Counts(n=0, patients=0))
    if not len(frame):
        return tuple(metric_row(replace(empty, metric=each, reason="no_rows"), None, None) for each in chances)
    values = frame[[each.removeprefix("mean_") for each in chances]].to_numpy(dtype=np.float64)
    clusters = patient_clusters(frame["patient_id"].to_numpy())

    def statistic(weights: FloatArray) -> FloatArray:
        row = weights[clusters.patient]
        return (values.T @ row / row.sum(axis=0)).T

    counts = Counts(n=len(frame), patients=clusters.patients, pool=pool)
    full = replace(empty, group="label_equal", counts=counts)
    rows = [replace(full, metric=each, chance=chance) for each, chance in chances.items()]
    return tuple(draw(rows, statistic, clusters))
