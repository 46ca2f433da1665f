"""What changed between two indexes of one cohort: records that came or went, files and values that are not the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medvlp.data._columns import pc, take_rows
from medvlp.data.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences between two manifests.

    Attributes:
        gone: records that are no more.
        files: records of both whose file has other bytes.
        values: records of both with another value in a column of both.
        columns: names that one of them lacks.
    """

    added: int
    gone: int
    files: int
    values: int
    columns: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.gone or self.files or self.values or self.columns)

    def __str__(self) -> str:
        parts = {
            "new": self.added,
            "gone": self.gone,
            "with another file": self.files,
            "with other values": self.values,
        }
        changes = [f"{count} {word}" for word, count in parts.items() if count]
        changes += [f"other columns: {', '.join(self.columns)}"] if self.columns else []
        return "; ".join(changes) or "no difference"


def difference(old: Manifest, new: Manifest) -> Difference:
    """Compare by id. A file is another one where both manifests hash it (``sha256``) and the hashes differ."""
    before, after = old.arrow("id"), new.arrow("id")
    place = pc.index_in(after, value_set=before)
    both = place.is_valid().to_numpy(zero_copy_only=False)
    rows = pc.drop_null(place).to_numpy()
    files, values = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for name in (set(old.names) & set(new.names)) - {"id"}:
        unlike = _unlike(take_rows(old.arrow(name), rows), new.arrow(name).filter(pa.array(both)))
        if name.startswith("sha256"):
            files |= unlike
        else:
            values |= unlike
    return Difference(
        added=int((~both).sum()),
        gone=len(before) - len(rows),
        files=int(files.sum()),
        values=int(values.sum()),
        columns=tuple(sorted(set(old.names) ^ set(new.names))),
    )


def _unlike(one: pa.Array, other: pa.Array) -> np.ndarray:
    if one.type != other.type or pa.types.is_nested(one.type):
        pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
        return np.fromiter((a != b for a, b in pairs), bool, len(one))
    unlike = pc.fill_null(pc.not_equal(one, other), False)
    lost = pc.not_equal(one.is_valid(), other.is_valid())
    return pc.or_(unlike, lost).to_numpy(zero_copy_only=False)
