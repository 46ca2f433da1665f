"""A table of features as a map: its first two principal components, coloured by any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.features.drawing import COLOURS

_MOST_POINTS, _MOST_VALUES = 4000, 12
_NOT_COLOURS = ("id", "text", "image", "stack", "volume", "vector", "boxes", "mask", "sentence", "path")
_WIDTH, _HEIGHT, _EDGE = 720, 520, 12
_MISSING, _RAMP = "#c3cad0", ("#440154", "#3b528b", "#21918c", "#5ec962", "#d8c613")
_SHAPES = (  # a disc, a rhomb, two triangles, a square, a plus: a group is known without its colour
    *("M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0Z", "M0-4.4 4.4 0 0 4.4-4.4 0Z", "M0-4 4.2 3.4H-4.2Z"),
    *("M-2.9-2.9h5.8v5.8h-5.8Z", "M0 4-4.2-3.4H4.2Z", "M-4-1.3h2.7V-4h2.6v2.7H4v2.6H1.3V4h-2.6V1.3H-4Z"),
)
_SHAPE = dict(zip((*_RAMP, *COLOURS, _MISSING), (*_SHAPES[:5], *_SHAPES, "M-4-1.2h8v2.4h-8Z"), strict=True))


@dataclass(frozen=True)
class Projection:
    """A 2D projection of embeddings.

    Attributes:
        ids: (N,) of the rows.
        points: (N, 2) along the first two principal components.
        share: of the variance that each of the two holds.
        rows: how many there were, of which N are drawn.
        data: hash of the manifest that they are of.
    """

    ids: tuple[str, ...]
    points: NDArray[np.float64]
    share: tuple[float, float]
    rows: int
    data: object = None


def feature_columns(table: FeatureTable) -> list[str]:
    """Return the columns that can be projected: one vector a row."""
    return [name for name, values in table.columns.items() if isinstance(values, np.ndarray) and values.ndim == 2]


def project(table: FeatureTable, column: str, *, most: int = _MOST_POINTS) -> Projection:
    """Return the map of a column; components are those of all its rows, of which `most`, drawn by seed 0, are points.

    Raises:
        DataError: fewer than three rows have features.

    Example:
        >>> line = FeatureTable(list("abc"), {"x/raw": np.array([[0.0, 0, 0], [1, 1, 0], [2, 2, 0]])})
        >>> project(line, "x/raw").share
        (1.0, 0.0)
    """
    from sklearn.decomposition import PCA

    values = np.asarray(table[column], dtype=np.float64)
    known_rows = np.flatnonzero(np.isfinite(values).all(axis=1))
    if len(known_rows) < 3 or values.shape[1] < 2:
        raise DataError(f"Only {len(known_rows)} rows have {column!r}: a map needs three rows of two numbers or more.")
    solver: Any = "covariance_eigh" if len(known_rows) > values.shape[1] else "full"  # full: 4 times a tall table
    fitted = PCA(n_components=2, svd_solver=solver).fit(values[known_rows])
    if len(known_rows) > most:
        known_rows = np.sort(np.random.default_rng(0).choice(known_rows, most, replace=False))
    first, second = (round(float(share), 6) for share in fitted.explained_variance_ratio_)
    ids = tuple(str(table.ids[int(row)]) for row in known_rows)
    return Projection(ids, fitted.transform(values[known_rows]), (first, second), len(table), table.meta.get("data"))


def colour_columns(table: FeatureTable, manifest: Manifest | None) -> dict[str, list[Any]]:
    """Return what points can be coloured by: row by row of the table, from itself and from a manifest that knows it.

    Texts, identifiers and files are none.
    """
    found: dict[str, list[Any]] = {
        name: list(values)
        for name, values in table.columns.items()
        if not isinstance(values, np.ndarray) or values.ndim == 1
    }
    if manifest is not None:
        row_of = {str(name): row for row, name in enumerate(manifest.column("id").tolist())}
        rows = [row_of.get(str(name)) for name in table.ids]
        for name in manifest.names:
            if name.partition(".")[0] not in _NOT_COLOURS:
                values = manifest.column(name)
                found[name] = [None if row is None else values[row] for row in rows]
    return {name: values for name, values in found.items() if len({str(each) for each in values}) > 1}


def map_svg(shown: Projection, values: Sequence[Any] | None, name: str) -> str:
    """Return a map as SVG with its legend; each point says which row of the map it is.

    Args:
        shown: points.
        values: (N,) what colours them; None leaves them in one colour.
        name: of the values.
    """
    low, high = shown.points.min(axis=0), shown.points.max(axis=0)
    unit = (shown.points - low) / np.where(high > low, high - low, 1)
    x = _EDGE + unit[:, 0] * (_WIDTH - 2 * _EDGE)
    y = _HEIGHT - _EDGE - unit[:, 1] * (_HEIGHT - 2 * _EDGE)
    colours, legend = _coloured(values, len(x))
    dots = "".join(
        f'<path d="{_SHAPE[colour]}" transform="translate({a:.1f} {b:.1f})" fill="{colour}" data-row="{row}"/>'
        for row, (a, b, colour) in enumerate(zip(x, y, colours, strict=True))
    )
    keys = "".join(
        f'<span><svg viewBox="-5 -5 10 10"><path d="{_SHAPE[colour]}" fill="{colour}"/></svg>{escape(word)}</span>'
        for word, colour in legend
    )
    drawn = f"{len(x)} of {shown.rows} rows" if len(x) < shown.rows else f"{len(x)} rows"
    shares = f"components 1 and 2 hold {shown.share[0]:.0%} and {shown.share[1]:.0%} of the variance; {drawn}"
    return (
        f'<div class="map"><p class="legend"><b>{escape(name)}</b> {keys}</p>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(shares)}">{dots}</svg>'
        f'<p class="fine">{escape(shares)}</p></div>'
    )


def _coloured(values: Sequence[Any] | None, count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the colour of each point, and the legend: frequent values, or fifths of many numbers."""
    column = pd.Series([""] * count if values is None else values, dtype=object)
    known = column.notna()
    if (
        known.any()
        and column[known].nunique() > _MOST_VALUES
        and column[known].map(lambda v: not isinstance(v, str)).all()
    ):
        column = pd.qcut(column.astype(float), 5, duplicates="drop", precision=2)
        often = [str(each) for each in column.cat.categories]
        palette = dict(zip(often, _RAMP, strict=False))
    else:
        column = column.map(lambda v: f"{v:g}" if isinstance(v, float | np.floating) else str(v))
        often = column[known].value_counts(sort=True).index.tolist()
        named = sorted(often if len(often) <= len(COLOURS) else often[: len(COLOURS) - 1])
        palette = dict(zip(named, COLOURS, strict=False))
    words = column.astype(str)
    counts = words[known].value_counts()
    legend = [(f"{word} ({counts[word]})", colour) for word, colour in palette.items() if word]
    legend += [("other", COLOURS[-1])] if len(often) > len(palette) else []
    legend += [("not known", _MISSING)] if not known.all() else []
    drawn = zip(words, known, strict=True)
    return [palette.get(word, COLOURS[-1]) if sure else _MISSING for word, sure in drawn], legend
