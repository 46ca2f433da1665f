"""Sets of findings that papers average over, which are not all that a data set has labels of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvlp.data.manifest import Manifest

__all__ = ["LabelSet", "label_sets"]


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Scores of a set of findings.

    Attributes:
        name: of the set.
        scores: ``(N,)`` by finding.
        told: which findings of the set are not among them.
    """

    name: str
    scores: dict[str, np.ndarray]
    told: tuple[str, ...]


def label_sets(
    sets: Mapping[str, Sequence[str]], scores: Mapping[str, np.ndarray], manifest: Manifest
) -> Iterator[LabelSet]:
    """Yield the scores of each set of which any finding has scores and labels."""
    for name, wanted in sets.items():
        there = {label: scores[label] for label in wanted if label in scores and f"label.{label}" in manifest}
        missing = [label for label in wanted if label not in there]
        sentence = f"{name} is of {len(wanted)} findings, of which {len(missing)} are missing: {', '.join(missing)}."
        if there:
            yield LabelSet(name, there, (sentence,) if missing else ())
