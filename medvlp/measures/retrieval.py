"""Reports found by images, and images by reports, over studies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp.config.judge import Judge
from medvlp.evaluation.image_retrieval import by_study
from medvlp.evaluation.results import Result
from medvlp.evaluation.retrieval import evaluate_retrieval

__all__ = ["retrieval"]


def retrieval(judge: Judge) -> Iterator[Result]:
    """Yield both directions."""
    if not {judge.seen, "text/embedding"} <= set(judge.table.columns):
        return
    whole = np.isfinite(judge.table["text/embedding"]).all(1) & np.isfinite(judge.table[judge.seen]).all(1)
    complete = np.flatnonzero(whole)
    table, manifest = judge.table.rows(complete), judge.prepared.manifest.take(complete)
    images, first = by_study(table[judge.seen], manifest.column("id.study").tolist())
    table, chosen = table.rows(first), manifest.take(first)
    names = [f"label.{each.label}" for each in judge.prompts]
    yield evaluate_retrieval(
        images,
        table["text/embedding"],
        [str(text) for text in table.columns["text"]],
        chosen.column("id.patient").tolist(),
        ids=list(table.ids),
        labels=np.stack([np.asarray(chosen.column(n), dtype=float) for n in names], axis=1) if names else None,
        seed=judge.seed,
        resamples=judge.options.resamples,
        title="Image and report retrieval",
        ks=tuple(k for k in (1, 5, 10) if k <= len(table)),
        **judge.facts,
    )
