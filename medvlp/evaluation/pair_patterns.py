"""Facts in which two radiographs may differ, with what is said of each: the patterns of `blind_pairs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from medvlp.data.manifest import Manifest


@dataclass(frozen=True)
class Pattern:
    """A fact in which two pictures of a finding may differ.

    Attributes:
        column: kind of column that tells it: ``side`` of ``side.FINDING``; ``label`` is "present" or "absent" only.
        values: of the first picture, and of the second.
        statements: wordings that are true of the first picture, and of the second; ``{it}`` is the finding.
        only: finding that it is of; empty: of all.
    """

    column: str
    values: tuple[frozenset[str], frozenset[str]]
    statements: tuple[tuple[str, ...], tuple[str, ...]]
    only: str = ""


def _pattern(column: str, first: str, second: str, one: str, other: str, only: str = "") -> Pattern:
    values = (frozenset(first.split()), frozenset(second.split()))
    return Pattern(column, values, (tuple(one.split("|")), tuple(other.split("|"))), only)


PATTERNS: Final[Mapping[str, Pattern]] = MappingProxyType(
    {
        "presence": _pattern("label", "present", "absent", "{it}.|There is {it}.", "No {it}.|There is no {it}."),
        "small": _pattern("severity", "mild", "absent", "Small {it}.|Mild {it}.", "No {it}.|There is no {it}."),
        "side": _pattern("side", "left", "right", "Left {it}.|Left-sided {it}.", "Right {it}.|Right-sided {it}."),
        "count": _pattern("side", "left right", "both", "Unilateral {it}.|{it} on one side.", "Bilateral {it}."),
        "size": _pattern("severity", "mild", "severe", "Small {it}.|Mild {it}.", "Large {it}.|Severe {it}."),
        "lobe": _pattern("lobe", "upper", "lower", "Upper lobe {it}.", "Lower lobe {it}."),
        "tip": _pattern(
            "size",
            "low",
            "high",
            "The endotracheal tube is low and could be withdrawn.",
            "The endotracheal tube is high and could be advanced.",
            only="endotracheal_tube",
        ),
    }
)
"""Name -> pattern, those that columns of the data can tell."""

_TIP = (30.0, 70.0)  # mm above the carina: 5 cm, 2 cm either way with the neck (Goodman et al., AJR 1976;127:433)


def values_of(manifest: Manifest, finding: str, column: str) -> NDArray[np.object_] | None:
    """Return what a column says of a finding, "absent" where its label denies it, "" where nothing is said; or None."""
    name = f"{column}.{finding}"
    if name not in manifest:
        return None
    label = np.asarray(manifest.column(f"label.{finding}"), dtype=float)
    given = manifest.column(name).tolist()
    if column == "label":
        given = np.where(label == 1, "present", "").tolist()
    elif column == "size":
        given = [
            "" if v is None or not v > 0 else "low" if v < _TIP[0] else "high" if v > _TIP[1] else "" for v in given
        ]
    found = np.array([value if isinstance(value, str) else "" for value in given], dtype=object)
    found[label != 1] = ""
    found[label == 0] = "absent"
    return found
