"""Images found by images of other patients with equal labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.image_retrieval import by_study, evaluate_image_retrieval
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result

_KS = (1, 5, 10)


class ImageRetrieval(Measure):
    """Image -> image retrieval over studies, by the cosine of the features of pictures.

    Equal are studies with the same labels of all findings that the model has prompts of.

    Example:
        >>> ImageRetrieval.order
        40
    """

    order: ClassVar[int] = 40

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the result; nothing if the cohort has a single patient."""
        if not evaluation.prompts or not evaluation.sees:
            return
        manifest, images = evaluation.seen_rows()
        near, first = by_study(images, manifest.column("id.study").tolist())
        patients = manifest.column("id.patient")[first]
        pool = len(first) - int(np.unique(patients, return_counts=True)[1].max(initial=0))
        ks = tuple(k for k in _KS if k <= pool)
        if not ks:
            return
        names = [f"label.{each.label}" for each in evaluation.prompts]
        yield evaluate_image_retrieval(
            near,
            np.stack([np.asarray(manifest.column(name), dtype=float)[first] for name in names], axis=1),
            patients.tolist(),
            ids=[str(each) for each in manifest.column("id.study")[first]],
            ks=ks,
            **evaluation.facts,
        )
