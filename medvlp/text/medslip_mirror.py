"""The anatomy-observation matrix of a mirrored picture: rows of left and right landmarks change places."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_SIDE = re.compile(r"(?<![^_])(left|right)(?![^_])")


def mirrored_rows(anatomies: Sequence[str]) -> tuple[int, ...]:
    """Return which row stands in the place of each after mirroring; a row of no side, or without partner, stays."""
    place = {name: index for index, name in enumerate(anatomies)}
    return tuple(place.get(_other(name), index) for index, name in enumerate(anatomies))


def one_sided_rows(anatomies: Sequence[str]) -> tuple[int, ...]:
    """Return the rows of landmarks that have a side and no partner on the other one."""
    there = set(anatomies)
    return tuple(i for i, name in enumerate(anatomies) if _other(name) != name and _other(name) not in there)


def mirror_matrix(matrix: np.ndarray, anatomies: Sequence[str]) -> np.ndarray:
    """Return the matrix (..., A, P) of the mirrored picture.

    What was said of a landmark without partner (the middle lobe, the right atrium) is left unsaid, -1: on the other
    side of a mirrored chest lies something that the vocabulary has no word for.
    """
    mirrored = matrix[..., list(mirrored_rows(anatomies)), :].copy()
    mirrored[..., list(one_sided_rows(anatomies)), :] = -1
    return mirrored


def _other(name: str) -> str:
    return _SIDE.sub(lambda found: "right" if found[1] == "left" else "left", name)
