"""Tests of the maps themselves: does a map depend on the weights, on the picture, on the text?

A map that looks the same for a model with random weights explains nothing of the model (Adebayo et al. 2018); one that
looks the same for every picture shows where findings usually lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from medvlp.core.errors import DataError
from medvlp.core.grouped import grouped
from medvlp.evaluation.metric_row import mean_metric
from medvlp.evaluation.results import Result
from medvlp.statistics.metrics import FloatArray

SURVIVES = 0.5
"""A map this like that of random weights is flagged."""
INDEPENDENT = 0.9
"""Maps of different pictures this much alike are flagged."""

_MOST_OTHERS = 20


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return Spearman's correlation of two maps on one grid, ties by mean rank; NaN where one of them is flat.

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0]]), np.array([[5.0, 3.0]]))
        -1.0
    """
    a, b = (rankdata(values.ravel()) - (values.size + 1) / 2 for values in (one, other))
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 0 else np.nan


def evaluate_sanity(
    maps: Sequence[NDArray[np.floating]],
    randomised: Mapping[str, Sequence[NDArray[np.floating]]],
    *,
    ids: Sequence[str],
    patients: Sequence[str],
    findings: Sequence[str],
    seed: int,
    resamples: int = 1000,
    split: str = "",
    name: str = "grounding_sanity",
    title: str = "",
) -> Result:
    """Compare maps with each other and with those of random weights, by rank correlation over the view's grid.

    Rows: ``map_of_random_weights`` for each stage of the randomisation; ``map_between_images`` of one finding, other
    patients' pictures; ``map_between_findings`` of one picture. Low is good. A row above its limit has the reason
    ``survives_randomisation`` or ``input_independent``, and the result says it in a caveat.

    Args:
        maps: (rows, columns) of each case.
        randomised: stage -> maps of the same cases; the last stage has no learned weight left.
        ids: picture of each case.
        patients: patient of each case.
        findings: what each case asks for.
        name, title: of the `Result`, see there.
        resamples: over patients; 0 for no intervals.
        split: written into the rows.

    Raises:
        DataError: if lengths differ.
    """
    if not all(len(other) == len(maps) for other in (ids, patients, findings, *randomised.values())) or not maps:
        raise DataError(
            "Maps, ids, patients, findings and each stage's maps are not equally many, or none: give one each."
        )
    between = [
        ("map_of_random_weights", stage, np.array([rank_correlation(a, b) for a, b in zip(maps, some, strict=True)]))
        for stage, some in randomised.items()
    ]
    between += [
        ("map_between_images", "all", _alike(maps, findings, patients)),
        ("map_between_findings", "all", _alike(maps, ids, findings)),
    ]
    rows, caveats = [], []
    last = list(randomised)[-1:]
    shown = title or name
    for metric, label, values in between:
        row = mean_metric(metric, label, values, patients, seed=seed, resamples=resamples, split=split)
        value = row.value or 0.0
        if metric == "map_of_random_weights" and value > SURVIVES:
            row = replace(row, reason="survives_randomisation")
            if label in last:
                caveats.append(
                    f"{shown}: the map of a model with random weights is much like the model's own (rank correlation "
                    f"{value:.2f}): it shows the picture or the architecture, not what was learned."
                )
        if metric == "map_between_images" and value > INDEPENDENT:
            row = replace(row, reason="input_independent")
            caveats.append(
                f"{shown}: the maps of different pictures are nearly the same (rank correlation {value:.2f}): they "
                "show where a finding usually lies, not what is in the picture."
            )
        rows.append(row)
    return Result(name=name, metrics=tuple(rows), title=title, caveats=tuple(caveats))


def _alike(maps: Sequence[NDArray[np.floating]], same: Sequence[str], other: Sequence[str]) -> FloatArray:
    """Return for each case the mean correlation with at most 20 cases alike in one thing and unlike in the other.

    NaN where there is none: maps of other shapes are passed over.
    """
    found = np.full(len(maps), np.nan)
    members = grouped((key, at) for at, key in enumerate(same))
    for at, (key, own) in enumerate(zip(same, other, strict=True)):
        rest = [i for i in members[key] if other[i] != own and maps[i].shape == maps[at].shape]
        some = rest[:: max(1, -(-len(rest) // _MOST_OTHERS))]
        if some:
            values = [rank_correlation(maps[at], maps[i]) for i in some]
            found[at] = np.mean([value for value in values if not np.isnan(value)] or [np.nan])
    return found
