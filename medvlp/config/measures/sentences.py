"""True sentences of reports against copies with one fact changed."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp.config.judge import Judge
from medvlp.evaluation.image_retrieval import by_study
from medvlp.evaluation.results import Result
from medvlp.evaluation.sentence_check import evaluate_sentence_check, sentence_pairs

__all__ = ["sentences"]


def sentences(judge: Judge) -> Iterator[Result]:
    """Yield the check over the first studies; nothing where no sentence can be falsified."""
    most = judge.options.sentences
    if not most or not {judge.seen, "text/embedding"} <= set(judge.table.columns):
        return
    manifest, images = judge.seen_rows()
    near, first = by_study(images, manifest.column("id.study").tolist())
    kept = first[:most]
    reports = [text if isinstance(text, str) else "" for text in manifest.column("text")[kept]]
    if sentence_pairs(reports):
        yield evaluate_sentence_check(
            near[:most],
            reports,
            manifest.column("id.patient")[kept].tolist(),
            judge.model.embed_text,
            seed=judge.seed,
            resamples=judge.options.resamples,
            **judge.facts,
        )
