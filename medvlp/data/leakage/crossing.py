"""Which rows of a split share an identifier or a file with another side: found in columns, before any row is an object.

Of ten million rows nearly none does; only those that do are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from medvlp.data._columns import pc
from medvlp.data.manifest import Manifest
from medvlp.data.shard_index import column_hashes


def named_crossing(manifest: Manifest, names: Sequence[str]) -> Manifest | None:
    """Return the rows one of whose values, column by column, stands on another side of the split too; None of none.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": ["a", "b", "c"], "text": ["x"] * 3, "id.patient": ["p", "p", "q"]}
        >>> manifest = Manifest.of(columns | {"split": ["train", "test", "test"]}, root=Path("."))
        >>> named_crossing(manifest, ["id.patient"]).column("id").tolist()
        ['a', 'b']
    """
    mask = np.zeros(len(manifest), bool)
    for name in names:
        if name in manifest:
            mask |= _crossing(manifest, [manifest.arrow(name)])
    return manifest.take(mask) if mask.any() else None


def packed_crossing(manifest: Manifest) -> Manifest | None:
    """Return the rows whose files must be compared one by one, None of none.

    Where an index of shards tells all hashes these are the rows with a file that another side has too, else all.
    """
    hashes = [column_hashes(manifest, name) for name in manifest.file_columns]
    known = [each for each in hashes if each is not None]
    if not known or len(known) < len(hashes):
        return manifest
    mask = _crossing(manifest, known)
    return manifest.take(mask) if mask.any() else None


def _crossing(manifest: Manifest, columns: list[pa.Array]) -> np.ndarray:
    sides = manifest.arrow("split")
    table = pa.concat_tables([pa.table({"value": column, "side": sides}) for column in columns]).drop_null()
    pairs = table.group_by(["value", "side"]).aggregate([])
    counts = pairs.group_by("value").aggregate([("side", "count")])
    several = counts["value"].filter(pc.greater(counts["side_count"], 1))
    mask = np.zeros(len(manifest), bool)
    for column in columns:
        mask |= pc.is_in(column, value_set=several, skip_nulls=True).to_numpy(zero_copy_only=False)
    return mask
