"""True sentences of reports against copies with one fact changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from medvlp.answers.sentences.rows import Studies, sentence_pairs
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.image_retrieval import by_study
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.evaluation.sentence_check import evaluate_sentence_check


class Sentences(Measure):
    """The check of `medvlp.evaluation.sentence_check`, of models whose embeddings of pictures and texts are compared.

    Probabilities are fitted on as many validation studies, where there are any.

    Args:
        studies: the first so many are checked.

    Example:
        >>> Sentences().studies
        200
    """

    order: ClassVar[int] = 60

    def __init__(self, *, studies: Annotated[int, Field(ge=1)] = 200) -> None:
        self.studies = studies

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the check; nothing where no sentence can be falsified."""
        if not evaluation.compares or "text/embedding" not in evaluation.judged.table.columns:
            return
        studies = self._studies(*evaluation.seen_rows())
        if sentence_pairs(studies.reports):
            yield evaluate_sentence_check(
                studies.image,
                studies.reports,
                studies.patients,
                evaluation.model.embed_text,
                validation=self._validation(evaluation),
                **evaluation.facts,
            )

    def _validation(self, evaluation: Evaluation) -> Studies | None:
        if evaluation.validation is None:
            return None
        manifest, images = evaluation.seen_rows(evaluation.validation)
        return self._studies(manifest, images) if len(images) else None

    def _studies(self, manifest: Manifest, images: np.ndarray) -> Studies:
        near, first = by_study(images, manifest.column("id.study").tolist())
        first = first[: self.studies]
        reports = [text if isinstance(text, str) else "" for text in manifest.column("text")[first]]
        return Studies(near[: self.studies], reports, manifest.column("id.patient")[first].tolist())
