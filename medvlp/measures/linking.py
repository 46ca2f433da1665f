"""Studies of one patient found among everybody's by image and text together, as CLIPPINGS links records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.cluster.hierarchy import fcluster, linkage

from medvlp.core.errors import UserError
from medvlp.core.unit import unit_embeddings
from medvlp.evaluation.evaluation import Evaluation, Part
from medvlp.evaluation.image_retrieval import by_study
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import drawn_rows
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.metrics import FloatArray

_MOST = 2048  # studies whose distances to each other are computed
Labels = NDArray[np.int64]


class Linking(Measure):
    """Whose study is it? By E = unit(w v + (1 - w) t) of a study's image and text; made where it is asked for.

    - ``adjusted_rand``: agreement with the patients of clusters by single linkage, in which studies are one patient's
      where a chain of cosine distances up to a limit joins them; 0 by chance, 1 where all is right.
    - ``nearest``: share of studies whose nearest other one is the same patient's, of patients with several.

    The share w of the image and the limit are those of the highest index on validation patients; beside
    ``image_and_text`` stand ``image`` (w = 1) and ``text`` (w = 0), which it must beat. Intervals are a bootstrap over
    patients, recentred. Of more than 2,048 studies those of the first patients of a seeded permutation are taken.

    Args:
        shares: that w is chosen from.

    References:
        Arora et al. 2023 (CLIPPINGS), inference; Hubert and Arabie 1985, the index.

    Note:
        What links studies recognises people: a number far above chance says that embeddings are no anonymous data.

    Example:
        >>> Linking().shares
        (0.25, 0.5, 0.75)
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 42

    def __init__(
        self,
        *,
        shares: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (0.25, 0.5, 0.75),
    ) -> None:
        self.shares = shares

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield both numbers of the three."""
        chosen_on = evaluation.validation
        if chosen_on is None or not evaluation.compares:
            raise UserError(
                "The measure 'linking' chooses on validation patients how far apart studies of one may lie, by picture "
                "and text: name a split of other patients in evaluation.fit, and a model with a text tower."
            )
        held, own = (_studies(evaluation, part) for part in (chosen_on, evaluation.judged))
        people = patient_clusters(own["patient_id"])
        fitted: dict[str, dict[str, float]] = {}
        cases: dict[str, Any] = {name: own[name] for name in ("id", "patient_id")}
        for label, shares in {"image_and_text": self.shares, "image": (1.0,), "text": (0.0,)}.items():
            tried = [(*best_limit(_pooled(held, share), held["patient"]), share) for share in shares]
            _, limit, share = max(tried, key=lambda each: each[0])
            rows = _pooled(own, share)
            fitted[label] = {"image_share": share, "distance": limit}
            cases[f"cluster:{label}"] = fcluster(linkage(rows, "single", "cosine"), limit, "distance")
            cases[f"nearest:{label}"] = nearest_hits(rows, own["patient"])

        def statistic(weights: FloatArray) -> FloatArray:
            each = weights[people.patient]
            found = [adjusted_rand(own["patient"], cases[f"cluster:{label}"], each) for label in fitted]
            for label in fitted:
                hits = cases[f"nearest:{label}"]
                asked = np.isfinite(hits)
                found.append(hits[asked] @ each[asked] / each[asked].sum(0))
            return np.stack(found, axis=1)

        counts = Counts(n=len(own["id"]), patients=people.patients)
        rows_of = [
            Metric(metric=m, label=label, value=None, split=evaluation.options.split, policy="none", counts=counts)
            for m in ("adjusted_rand", "nearest")
            for label in fitted
        ]
        drawn = drawn_rows(rows_of, statistic, people, height=counts.n, recentred=True, **evaluation.drawn)
        yield Result(
            name="linking",
            title="Studies of one patient",
            metrics=tuple(drawn),
            cases=pd.DataFrame(cases),
            fitted=fitted,
        )


def _studies(evaluation: Evaluation, part: Part) -> dict[str, Any]:
    """Return images and texts (S, D) of the studies of some patients, with their names and numbers of patients."""
    manifest, image, text = evaluation.paired(part)
    names = manifest.column("id.study").astype(str) if "id.study" in manifest else manifest.column("id").astype(str)
    patients = manifest.column("id.patient").astype(str)
    draw = np.random.default_rng(evaluation.options.seed)
    _, number, size = np.unique(patients, return_inverse=True, return_counts=True)
    order = draw.permutation(len(size))
    some = np.isin(number, order[np.cumsum(size[order]) <= _MOST])
    (image, first), (text, _) = (by_study(each[some], names[some].tolist()) for each in (image, text))
    patient = number[some][first]
    if len(np.unique(patient)) == len(patient):
        raise UserError(
            "The measure 'linking' finds studies of one patient, and no patient has two with a picture and a text: "
            "leave it out, or judge data that follow patients."
        )
    who = {"id": names[some][first], "patient_id": patients[some][first], "patient": patient}
    return {"image": image, "text": text, **who}


def _pooled(studies: dict[str, Any], share: float) -> FloatArray:
    return unit_embeddings(share * studies["image"] + (1 - share) * studies["text"], "Study").astype(np.float64)


def best_limit(rows: FloatArray, patients: Labels) -> tuple[float, float]:
    """Return the highest index of clusters by single linkage, and the distance up to which they are joined for it.

    Example:
        >>> angles = np.radians([0, 1, 90, 92, 180])
        >>> best_limit(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 0, 1, 1, 2]))[0]
        1.0
    """
    tree, one = linkage(rows, "single", "cosine"), np.ones((len(rows), 1))
    limits = np.unique(np.quantile(tree[:, 2], np.linspace(0, 1, 101), method="lower"))
    index = [adjusted_rand(patients, fcluster(tree, limit, "distance"), one)[0] for limit in limits]
    best = int(np.argmax(index))
    return float(index[best]), float(limits[best])


def adjusted_rand(truth: Labels, found: Labels, weights: FloatArray) -> FloatArray:
    """Return the adjusted Rand index of two partitions for B weightings of the rows, (B,); NaN where it is not defined.

    Pairs are of different rows: one of weight 2 makes no pair with itself.

    Example:
        >>> adjusted_rand(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 6]), np.ones((4, 1))).tolist()
        [0.0]
    """
    both = np.unique(np.stack([truth, found]), axis=1, return_inverse=True)[1].reshape(-1)
    single = (weights**2).sum(0)
    joint, true, made, every = (_squares(each, weights) - single for each in (both, truth, found, np.zeros_like(truth)))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = true * made / every
        return (joint - expected) / ((true + made) / 2 - expected)


def _squares(labels: Labels, weights: FloatArray) -> FloatArray:
    """Return the sum over labels of the square of their weight."""
    _, number = np.unique(labels, return_inverse=True)
    total = np.zeros((number.max(initial=0) + 1, weights.shape[1]))
    np.add.at(total, number, weights)
    return (total**2).sum(0)


def nearest_hits(rows: FloatArray, patients: Labels) -> FloatArray:
    """Return whether the nearest other row is of the same patient, (N,): a share of equally near ones, NaN without any.

    Example:
        >>> nearest_hits(np.eye(3)[[0, 0, 1, 2]], np.array([0, 0, 1, 0])).round(2).tolist()
        [1.0, 1.0, nan, 0.67]
    """
    near, same = rows @ rows.T, patients[:, None] == patients[None]
    np.fill_diagonal(near, -np.inf)
    np.fill_diagonal(same, False)
    first = near >= near.max(axis=1, keepdims=True) - 1e-12
    return np.where(same.any(axis=1), (first & same).sum(axis=1) / first.sum(axis=1), np.nan)
