"""How well one map finds one region: pointing, overlap, contrast. No number here is tuned on what it is told of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from medvlp.core.map import Scale
from medvlp.evaluation.grounding.case import Case
from medvlp.statistics.metrics import FloatArray

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
TOLERANCE = 15.0  # source pixels, as in the pointing game of Zhang et al. 2016


def measure(case: Case, *, scale: Scale) -> Mapping[str, float]:
    """Return all measures of a case whose finding is there; NaN where one is not defined.

    Args:
        case: with a region.
        scale: ``own``: the thresholds are values of the map; ``peak``: shares of its largest value in the picture.

    Example:
        >>> case = Case(id="a", patient="p", finding="mass", values=np.array([[0.0, 1.0], [0.0, 0.0]]), size=(8, 8),
        ...             view=(0, 0, 8, 8), boxes=((4, 0, 8, 4),))
        >>> measure(case, scale="peak")["pointing_game"]
        1.0
    """
    evidence, region = case.evidence, case.region
    levels = scaled(evidence, scale)
    found = {
        "pointing_game": pointing(evidence, region),
        f"pointing_game_{TOLERANCE:g}px": pointing(evidence, region, reach=TOLERANCE / case.step),
        "grid_ceiling": grid_ceiling(case),
    }
    pairs = [overlap(levels >= threshold, region) for threshold in THRESHOLDS]
    for at, name in enumerate(("iou", "dice")):
        found |= {f"{name}@{threshold:g}": pair[at] for threshold, pair in zip(THRESHOLDS, pairs, strict=True)}
        found[f"mean_{name}"] = float(np.mean([pair[at] for pair in pairs]))
    signed = contrast_to_noise(evidence, region)
    return {**found, "cnr": abs(signed), "cnr_signed": signed}


def scaled(evidence: FloatArray, scale: Scale) -> FloatArray:
    """Return the map that thresholds are held against; what was not seen (NaN) is below each of them.

    Example:
        >>> scaled(np.array([[-1.0, 2.0, 4.0, np.nan]]), "peak").tolist()
        [[0.0, 0.5, 1.0, -inf]]
    """
    known = np.where(np.isnan(evidence), -np.inf, evidence)
    if scale == "own":
        return known
    top = known.max()
    positive = np.where(np.isinf(known), known, np.maximum(known, 0))
    return positive / top if top > 0 else positive


def pointing(evidence: FloatArray, region: NDArray[np.bool_], *, reach: float = 0.0) -> float:
    """Return the chance that the strongest pixel lies in the region, one of several equal ones drawn at random.

    A map of one value gets the region's share of the picture, not a hit by the order of pixels (the pointing game of
    Zhang et al. 2016 with expected ties; their effect: arXiv 2404.19128).

    Args:
        evidence: (h, w), NaN where nothing was seen.
        region: (h, w).
        reach: a miss by at most so many pixels is a hit.

    Example:
        >>> pointing(np.ones((2, 2)), np.array([[True, False], [False, False]]))
        0.25
    """
    if np.isnan(evidence).all():
        return 0.0
    strongest = evidence == np.nanmax(evidence)
    hits = region[strongest]
    if reach > 0 and region.any() and not hits.all():
        hits = np.asarray(distance_transform_edt(~region))[strongest] <= reach
    return float(hits.mean())


def overlap(predicted: NDArray[np.bool_], region: NDArray[np.bool_]) -> tuple[float, float]:
    """Return intersection over union, and Dice; both NaN where nothing is there and nothing was said.

    Example:
        >>> overlap(np.array([True, True, False]), np.array([False, True, True]))
        (0.3333333333333333, 0.5)
    """
    both, either = int((predicted & region).sum()), int((predicted | region).sum())
    return (both / either, 2 * both / (both + either)) if either else (np.nan, np.nan)


def contrast_to_noise(evidence: FloatArray, region: NDArray[np.bool_]) -> float:
    """Return (mean inside - mean outside) / sqrt(variance inside + variance outside), of what was seen.

    Its size is the CNR of BioViL (Boecking et al. 2022), which calls a map that is lowest on the finding as good as one
    that is highest there; the sign tells the two apart. A flat map has 0; NaN where one side is empty, or both are flat
    at different values.

    Example:
        >>> contrast_to_noise(np.array([2.0, 4.0, 0.0, 2.0]), np.array([True, True, False, False])).__round__(4)
        1.4142
    """
    seen = ~np.isnan(evidence)
    inside, outside = evidence[seen & region], evidence[seen & ~region]
    if not len(inside) or not len(outside):
        return np.nan
    # Not by the variance: a mean of equal numbers rounds.
    if inside.min() == inside.max() and outside.min() == outside.max():
        return 0.0 if inside[0] == outside[0] else np.nan
    return float((inside.mean() - outside.mean()) / np.sqrt(inside.var() + outside.var()))


def grid_ceiling(case: Case) -> float:
    """Return the pointing game of the best map with one strongest cell on the grid of a case.

    Such a map points at the middle of a cell; one at the edge of the view at the outer half of it, where a map is held
    at its last value, by the region's share there. So 1 where a box holds the middle of any cell, which is then the
    middle of the cell that it overlaps most; 0 for a small finding between the middles, whatever a model knows of it.

    Args:
        case: whose map tells the grid, and whose region is asked for.

    Example:
        >>> case = Case(id="a", patient="p", finding="nodule", values=np.zeros((4, 4)), view=(0, 0, 64, 64),
        ...             size=(64, 64), boxes=((20, 20, 30, 30),))
        >>> grid_ceiling(case)  # the middle of the second cell lies at 24
        1.0
    """
    rows, columns = (_strongest(*axis) for axis in zip(case.axes, case.values.shape, strict=True))
    return float((rows @ case.region @ columns.T).max())


def _strongest(place: FloatArray, cells: int) -> FloatArray:
    """Return where a map is highest whose peak is each of the cells, (cells, pixels), each row summing to 1, or to 0.

    Args:
        place: of the pixels over the view, 0 to 1; outside it nothing was seen.
        cells: along this axis.
    """
    away = np.abs(np.clip(place * cells - 0.5, 0, cells - 1) - np.arange(cells)[:, None])
    away[:, (place < 0) | (place > 1)] = np.inf
    nearest = np.isclose(away, away.min(axis=1, keepdims=True), rtol=0, atol=1e-9) & (away < 1)
    return nearest / np.maximum(nearest.sum(axis=1, keepdims=True), 1)
