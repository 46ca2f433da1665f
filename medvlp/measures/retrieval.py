"""Reports found by images, and images by reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from medvlp.core.answers import Answer
from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation, title_of
from medvlp.evaluation.image_retrieval import by_study
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.statistics.ranks import rank_queries

_KS = (1, 5, 10)


class Retrieval(Measure):
    """One result for each answer that compares images with their own reports, over studies and in both directions.

    While a model trains ``recall@k``: the mean of both directions over records, of which those with the same words
    are one another's answers; of fewer than k records it is 1.

    Example:
        >>> from pathlib import Path
        >>> near, words = np.array([[0.9, 0.1], [0.8, 0.2]]), ("clear lungs", "an effusion")
        >>> said = Predictions(("a", "b"), similarity=near, compared=words)
        >>> cohort = Manifest.of({"id": ["a", "b"], "text": list(words)}, root=Path("."))
        >>> Retrieval().values(said, cohort)
        {'recall@1': 0.75, 'recall@5': 1.0, 'recall@10': 1.0}
    """

    reads: ClassVar[frozenset[str]] = frozenset({"similarity"})
    points: ClassVar[tuple[str, ...]] = tuple(f"recall@{k}" for k in _KS)
    order: ClassVar[int] = 50

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return the recalls; none where all texts are the same, or they are not the rows' own."""
        if said.similarity is None or len(said.compared) != len(said.ids):
            return {}
        there = np.isfinite(said.similarity.diagonal())
        words = [" ".join(said.compared[i].lower().split()) for i in np.flatnonzero(there)]
        group = np.unique(words, return_inverse=True)[1]
        if len(set(words)) < 2:
            return {}
        near = said.similarity if there.all() else said.similarity[np.ix_(there, there)]
        ranks = [rank_queries(each, group, group) for each in (near, near.T)]
        return {f"recall@{k}": float(np.mean([r.recall(k).mean() for r in ranks])) for k in _KS}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield both directions; nothing where there are no reports."""
        for name, answer in evaluation.answers.items():
            if not self.reads <= answer.gives or "text" not in evaluation.judged.table.columns:
                continue
            found = _studies(evaluation, name, answer)
            if found is None:
                continue
            image, text, chosen, reports = found
            names = [f"label.{each.label}" for each in evaluation.prompts]
            yield evaluate_retrieval(
                image,
                text,
                reports,
                chosen.column("id.patient").tolist(),
                ids=chosen.column("id").tolist(),
                labels=np.stack([np.asarray(chosen.column(n), dtype=float) for n in names], axis=1) if names else None,
                name=name,
                title=title_of(name, answer),
                ks=tuple(k for k in _KS if k <= len(reports)),
                **evaluation.facts,
            )


def _studies(
    evaluation: Evaluation, name: str, answer: Answer
) -> tuple[np.ndarray, np.ndarray | None, Manifest, list[str]] | None:
    """Return images and reports of studies, one row a study, or their similarity alone; and the first records.

    Embeddings are compared block by block and not all at once.
    """
    model, table = evaluation.model.model, evaluation.judged.table
    seen = f"{model.vision_kind}/embedding"
    whole: Any = None
    if "embedding" in answer.gives:
        if not {seen, "text/embedding"} <= set(table.columns):
            return None
        there = np.isfinite(table["text/embedding"]).all(1) & np.isfinite(table[seen]).all(1)
    else:
        said = evaluation.predictions(name)
        if said is None or said.similarity is None:
            return None
        whole = said.similarity
        there = np.isfinite(whole.diagonal())
    complete = np.flatnonzero(there)
    if not len(complete):  # of several data sets the judged one may have no reports
        return None
    manifest = evaluation.judged.manifest.take(complete)
    studies = manifest.column("id.study").tolist()
    if whole is None:
        image, first = by_study(table[seen][complete], studies)
        text = table["text/embedding"][complete[first]]
    else:
        first = np.flatnonzero(~pd.Series(studies).duplicated().to_numpy())
        # Of a study with several images the mean of their scores, against the report of the first.
        near = pd.DataFrame(whole[np.ix_(complete, complete[first])]).groupby(np.asarray(studies), sort=False).mean()
        image, text = near.to_numpy(), None
    reports = [str(table.columns["text"][int(i)]) for i in complete[first]]
    return (image, text, manifest.take(first), reports) if len(reports) else None
