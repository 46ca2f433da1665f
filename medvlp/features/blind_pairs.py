"""Blind pairs: pictures that one model sees alike and another one apart (MMVP, Tong et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable
from medvlp.core.unit import unit_embeddings

__all__ = ["BlindPairs", "blind_pairs"]

_BLOCK = 1024
_MOST = 2048  # records whose pairs give the quantiles
_PAIRS = 2**24  # that are held: half of those of 8,000 pictures
By = Literal["cosine", "quantile"]


@dataclass(frozen=True)
class BlindPairs:
    """P pairs of different records, those first on which the two models disagree most.

    Attributes:
        first: P ids.
        second: P ids.
        ours: (P,) cosines of the model that sees them alike.
        other: (P,) cosines of the other one; NaN without one.
        alike: cosine that was the limit of ours.
        apart: that of the other; None without one.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    ours: NDArray[np.float64]
    other: NDArray[np.float64]
    alike: float
    apart: float | None


def blind_pairs(
    ours: FeatureTable,
    other: FeatureTable | None,
    *,
    alike: float = 0.95,
    apart: float = 0.6,
    by: By = "cosine",
    patients: Mapping[str, str] | None = None,
) -> BlindPairs:
    r"""Return all pairs with cos(ours) > `alike` and cos(other) < `apart`, in the order of the difference.

    Args:
        ours: features of the model that may be blind, as of `medvlp embed`; of its columns embeddings of pictures, else
            the first other vectors of them.
        other: features of one that may see more: a self-supervised tower. Records are those that both tables have.
            None: all that ours sees alike, those most alike first.
        alike: the paper's 0.95, of CLIP's ViT-L.
        apart: the paper's 0.6, of DINOv2. Both as known of the paper; not checked against the authors' code.
        by: ``quantile`` reads both limits as shares of all pairs: films of the chest are so much alike that cosines of
            photographs find no pair, or all. Of more than 2,048 records every k-th gives the quantiles.
        patients: id -> patient; pairs of one patient are left out.

    Raises:
        DataError: if the tables have no records in common, or no such column, or there are more than 2^24 such pairs.

    References:
        Tong et al. 2024, Eyes Wide Shut, on CLIP-blind pairs.

    Example:
        >>> seen = FeatureTable(["a", "b", "c"], {"image/embedding": np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])})
        >>> more = FeatureTable(["a", "b", "c"], {"image/embedding": np.eye(3)})
        >>> found = blind_pairs(seen, more)
        >>> found.first, found.second, found.ours.tolist(), found.other.tolist()
        (('a',), ('b',), [1.0], [0.0])
    """
    tables = [ours] if other is None else [ours, other]
    known = set(tables[-1].ids)
    ids = [row for row in dict.fromkeys(ours.ids) if row in known]
    rows = [_rows(table, ids) for table in tables]
    there = np.flatnonzero(np.all([np.isfinite(each).all(axis=1) for each in rows], axis=0))
    if len(there) < 2:
        raise DataError(
            f"Blind pairs need features of the same records, and the tables have {len(there)} in common: embed the "
            "same manifest with both models."
        )
    units = [unit_embeddings(each[there].astype(np.float64), "Image") for each in rows]
    if by == "quantile":
        alike, apart = _quantile(units[0], alike), _quantile(units[-1], apart)
    who = np.array([ids[row] if patients is None else patients[ids[row]] for row in there.tolist()])
    found, count = [], 0
    for start in range(0, len(there), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines = [each[block] @ each.T for each in units]
        near, far = cosines[0], None if other is None else cosines[1]
        chosen = (near > alike) & (who[block, None] != who[None])
        chosen &= np.arange(len(there)) > (start + np.arange(len(near)))[:, None]
        row, column = np.nonzero(chosen if far is None else chosen & (far < apart))
        of_other = np.full(len(row), np.nan) if far is None else far[row, column]
        found.append(np.stack([row + start, column, near[row, column], of_other]))
        count += len(row)
        if count > _PAIRS:
            raise DataError(
                f"More than {_PAIRS:,} pairs of {len(there):,} records are alike above {alike:.3f}, as films often "
                "are: give other limits, or by: quantile with a share of pairs close to 1."
            )
    row, column, near, far = np.concatenate(found, axis=1)
    order = np.argsort(np.nan_to_num(far) - near, kind="stable")
    first, second = (tuple(ids[i] for i in there[side[order].astype(int)].tolist()) for side in (row, column))
    limit = None if other is None else float(apart)
    return BlindPairs(first, second, near[order], far[order], float(alike), limit)


def _rows(table: FeatureTable, ids: list[str]) -> np.ndarray:
    """Return the vectors of some records, of each the first row."""
    plain = {name: values for name, values in table.columns.items() if isinstance(values, np.ndarray)}
    kinds = [name for name in plain if name.partition("/")[0] in ("image", "stack", "volume") and plain[name].ndim == 2]
    if not kinds:
        raise DataError(f"The table has no vectors of pictures among {', '.join(table.columns)}: make it anew.")
    place = {row: at for at, row in reversed(list(enumerate(table.ids)))}
    name = min(kinds, key=lambda each: not each.endswith("/embedding"))
    return plain[name][[place[row] for row in ids]]


def _quantile(rows: np.ndarray, share: float) -> float:
    some = rows[:: max(1, -(-len(rows) // _MOST))]
    return float(np.quantile((some @ some.T)[np.triu_indices(len(some), 1)], share))
