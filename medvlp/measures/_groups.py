"""The groups by which numbers are told."""

from __future__ import annotations

from typing import Any

import numpy as np

from medvlp.evaluation.classification import size_terciles
from medvlp.evaluation.evaluation import Evaluation

__all__ = ["group_columns"]


def group_columns(evaluation: Evaluation) -> dict[str, Any]:
    """Return columns ``group:NAME`` of what is judged: those that are asked for, and terciles of ``size.FINDING``."""
    manifest = evaluation.judged.manifest
    groups: dict[str, Any] = {f"group:{n}": manifest.column(n) for n in evaluation.options.groups if n in manifest}
    for label in evaluation.labels:
        if f"size.{label}" in manifest:
            sizes = np.nan_to_num(np.asarray(manifest.column(f"size.{label}"), dtype=float))
            positive = np.asarray(manifest.column(f"label.{label}"), dtype=float) == 1
            if len(np.unique(sizes[positive & (sizes > 0)])) >= 3:
                groups[f"group:size@{label}"] = size_terciles(sizes, positive)
    return groups
