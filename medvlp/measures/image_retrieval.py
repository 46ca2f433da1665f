"""Images found by images of other patients with equal labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp.config.judge import Judge
from medvlp.evaluation.image_retrieval import by_study, evaluate_image_retrieval
from medvlp.evaluation.results import Result

__all__ = ["image_retrieval"]


def image_retrieval(judge: Judge) -> Iterator[Result]:
    """Yield image -> image retrieval over studies; nothing where there is no other patient."""
    if not judge.prompts or not judge.sees:
        return
    manifest, images = judge.seen_rows()
    near, first = by_study(images, manifest.column("id.study").tolist())
    patients = manifest.column("id.patient")[first]
    pool = len(first) - int(np.unique(patients, return_counts=True)[1].max(initial=0))
    ks = tuple(k for k in (1, 5, 10) if k <= pool)
    if not ks:
        return
    names = [f"label.{each.label}" for each in judge.prompts]
    yield evaluate_image_retrieval(
        near,
        np.stack([np.asarray(manifest.column(name), dtype=float)[first] for name in names], axis=1),
        patients.tolist(),
        ids=[str(each) for each in manifest.column("id.study")[first]],
        ks=ks,
        seed=judge.seed,
        resamples=judge.options.resamples,
        title="Image to image retrieval, equal labels",
        **judge.facts,
    )
