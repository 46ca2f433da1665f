"""Where the words of a box stand in a picture: beside it, inside the picture, smaller where they must be."""

from __future__ import annotations

from dataclasses import dataclass

from medvlp.evaluation.words import finding
from medvlp.pages.inputs import Box

__all__ = ["Label", "label_of"]

_SIZE = 0.055  # of the picture's width
_WIDTH = 0.66  # of a letter, in its height: more than a sans-serif's mean
_MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Label:
    """Words that begin at (x, y), the foot of their line, in pixels of the picture."""

    words: str
    x: float
    y: float
    size: float


def label_of(box: Box, *, width: int, height: int) -> Label:
    """Return the label of a box: above it, or below where there is no room.

    Example:
        >>> made = label_of(Box(90, 50, 99, 60, "endotracheal_tube"), width=100, height=100)
        >>> made.words, made.x + 0.66 * made.size * len(made.words) <= 99
        ('endotracheal tube', True)
    """
    words = finding(box.label)
    room = (1 - 2 * _MARGIN) * width
    size = min(_SIZE * width, room / (_WIDTH * max(1, len(words))))
    long = _WIDTH * size * len(words)
    x = min(max(box.left, _MARGIN * width), (1 - _MARGIN) * width - long)
    above = box.top - 0.3 * size
    y = above if above >= size else min(box.bottom + size, height - 0.3 * size)
    return Label(words, round(x, 2), round(y, 2), round(size, 2))
