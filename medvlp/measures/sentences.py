"""True sentences of reports against copies with one fact changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp.config.judge import Judge
from medvlp.data.manifest import Manifest
from medvlp.evaluation.image_retrieval import by_study
from medvlp.evaluation.results import Result
from medvlp.evaluation.sentence_check import evaluate_sentence_check
from medvlp.evaluation.sentence_rows import Studies, sentence_pairs

__all__ = ["sentences"]


def sentences(judge: Judge) -> Iterator[Result]:
    """Yield the check over the first studies; nothing where no sentence can be falsified.

    Probabilities are fitted on as many validation studies, where there are any.
    """
    most = judge.options.sentences
    if not most or not {judge.seen, "text/embedding"} <= set(judge.table.columns):
        return
    judged = _studies(*judge.seen_rows(), most)
    if sentence_pairs(judged.reports):
        yield evaluate_sentence_check(
            judged.image,
            judged.reports,
            judged.patients,
            judge.model.embed_text,
            validation=_validation(judge, most),
            seed=judge.seed,
            resamples=judge.options.resamples,
            **judge.facts,
        )


def _validation(judge: Judge, most: int) -> Studies | None:
    if judge.validation is None:
        return None
    manifest, images = judge.seen_rows(judge.validation)
    return _studies(manifest, images, most) if len(images) else None


def _studies(manifest: Manifest, images: np.ndarray, most: int) -> Studies:
    near, first = by_study(images, manifest.column("id.study").tolist())
    kept = first[:most]
    reports = [text if isinstance(text, str) else "" for text in manifest.column("text")[kept]]
    return Studies(near[:most], reports, manifest.column("id.patient")[kept].tolist())
