"""The bundle's own prompts, and the groups by which its numbers are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from medvlp.config.judge import Judge
from medvlp.config.measures.label_sets import label_sets
from medvlp.evaluation.classification import size_terciles
from medvlp.evaluation.results import Result
from medvlp.phantom.planted import Planted

__all__ = ["group_columns", "zero_shot"]


def zero_shot(judge: Judge) -> Iterator[Result]:
    """Yield the scores of prompt pairs, and those of each set of findings that the configuration names."""
    if not judge.prompts or not judge.sees:
        return
    scores = judge.zero_shot_scores()
    held = None if judge.validation is None else judge.zero_shot_scores(judge.validation[1])
    title, groups = "Zero-shot, prompt pairs", group_columns(judge)
    yield judge.scores("zero_shot", scores, title, groups=groups, chosen_on=held)
    for each in label_sets(judge, scores):
        made = judge.scores(f"zero_shot_{each.name}", each.scores, f"{title}, {each.name}")
        yield replace(made, caveats=(*made.caveats, *each.told))


def group_columns(judge: Judge) -> dict[str, Any]:
    """Return the columns ``group:NAME``: what the configuration names, and terciles of planted sizes."""
    manifest = judge.prepared.manifest
    groups: dict[str, Any] = {f"group:{n}": manifest.column(n) for n in judge.options.groups if n in manifest}
    if judge.truth is not None:
        for label in judge.labels:
            sizes = np.array([_size(judge.truth, study, label) for study in manifest.column("id.study")])
            positive = np.asarray(manifest.column(f"label.{label}"), dtype=float) == 1
            if len(np.unique(sizes[positive & (sizes > 0)])) >= 3:
                groups[f"group:size@{label}"] = size_terciles(sizes, positive)
    return groups


def _size(truth: Planted, study: str, label: str) -> float:
    return max((f.size for f in truth.findings.get(study, ()) if f.name == label), default=0.0)
