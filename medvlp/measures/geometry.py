"""How image and text embeddings lie on the unit sphere: modality gap, alignment, uniformity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import drawn_rows
from medvlp.evaluation.results import Counts, Metric, Result
from medvlp.statistics.bootstrap import patient_clusters
from medvlp.statistics.metrics import FloatArray

_MOST = 2048  # records whose distances to each other are computed


class Geometry(Measure):
    """Where unit embeddings v of images and t of their own texts lie, over records; made where it is asked for.

    - ``modality_gap``: length of mean(v) - mean(t) (Liang et al. 2022, section 2).
    - ``alignment``: mean of |v - t|^2 over matching pairs (Wang and Isola 2020, eq. 3, alpha 2); lower is nearer.
    - ``uniformity``: log of the mean of exp(-2 |x - y|^2) over pairs of different records (the same, eq. 4, t 2), of
      images and of texts; lower is more evenly spread, 0 is a single point.

    None of them is better by itself: a collapsed model has perfect alignment. Intervals are a bootstrap over patients,
    recentred; of more than 2,048 records the first of a seeded permutation are taken.

    Example:
        >>> eye = np.eye(2)
        >>> found = Geometry.numbers(eye, eye, np.ones((2, 1)))
        >>> {name: round(float(value[0]), 3) for name, value in found.items()}
        {'modality_gap': 0.0, 'alignment': 0.0, 'uniformity image': -4.0, 'uniformity text': -4.0}
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 55

    @staticmethod
    def numbers(image: FloatArray, text: FloatArray, weights: FloatArray) -> dict[str, FloatArray]:
        """Return each number for B weightings of the records, (B,).

        Args:
            image: (N, D) unit embeddings.
            text: (N, D) unit embeddings of their texts.
            weights: (N, B), not negative.
        """
        total = weights.sum(0)
        centre = ((image - text).T @ weights) / total
        apart = ((image - text) ** 2).sum(1)
        found = {"modality_gap": np.linalg.norm(centre, axis=0), "alignment": apart @ weights / total}
        pairs = total**2 - (weights**2).sum(0)
        for name, rows in (("image", image), ("text", text)):
            near = np.exp(-2 * cdist(rows, rows, "sqeuclidean"))
            np.fill_diagonal(near, 0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                found[f"uniformity {name}"] = np.log((weights * (near @ weights)).sum(0) / pairs)
        return found

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the four numbers; nothing where fewer than two records have an image and a text."""
        records, image, text = evaluation.paired(evaluation.judged)
        if len(records) < 2:
            return
        chosen = np.sort(np.random.default_rng(evaluation.options.seed).permutation(len(records))[:_MOST])
        manifest = records.take(chosen)
        patients = [str(each) for each in manifest.column("id.patient")]
        people = patient_clusters(patients)
        facts: dict[str, Any] = {
            "split": evaluation.options.split,
            "policy": "none",
            "counts": Counts(n=len(chosen), patients=people.patients),
        }
        names = list(self.numbers(image[:1], text[:1], np.ones((1, 1))))
        rows = [
            Metric(metric=name.partition(" ")[0], label=name.partition(" ")[2] or "image_and_text", value=None, **facts)
            for name in names
        ]

        def statistic(weights: FloatArray) -> FloatArray:
            found = self.numbers(image[chosen], text[chosen], weights[people.patient])
            return np.stack([found[name] for name in names], axis=1)

        yield Result(
            name="geometry",
            title="Embeddings on the sphere",
            metrics=tuple(drawn_rows(rows, statistic, people, height=len(chosen), recentred=True, **evaluation.drawn)),
            cases=pd.DataFrame(
                {
                    "id": [str(each) for each in manifest.column("id")],
                    "patient_id": patients,
                    "alignment": ((image[chosen] - text[chosen]) ** 2).sum(1),
                }
            ),
        )
