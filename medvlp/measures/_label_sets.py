"""Sets of findings that papers average over, which are not all that a data set has labels of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medvlp.data.manifest import Manifest


def label_sets(
    sets: Mapping[str, Sequence[str]], scores: Mapping[str, np.ndarray], manifest: Manifest
) -> Iterator[tuple[str, dict[str, np.ndarray], tuple[str, ...]]]:
    """Yield each set of which any finding has scores and labels: its name, the scores, and notes on what is missing."""
    for name, wanted in sets.items():
        there = {label: scores[label] for label in wanted if label in scores and f"label.{label}" in manifest}
        missing = [label for label in wanted if label not in there]
        sentence = f"{name} is of {len(wanted)} findings, of which {len(missing)} are missing: {', '.join(missing)}."
        if there:
            yield name, there, (sentence,) if missing else ()
