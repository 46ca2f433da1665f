"""Text that is burned into a picture: thin strokes of one brightness, in a row.

Letters are found by what sets them apart from anatomy: strokes a few pixels wide that are flat inside, far from their
surroundings at both sides, of like height, standing beside each other. Three or more in a row are text; a lone letter
is a side marker and stays, as do two. It finds text, it does not read it, and words in a picture (a scanned page) are
its limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_WINDOW = 15  # pixels: wider than a stroke, narrower than a letter's surroundings
_LEAST_HEIGHT, _MOST_HEIGHT = 9, 60  # pixels of a letter
_LIMITS = (0.03, 0.06, 0.12, 0.25, 0.45, 0.7, 0.85)  # of the picture's range: letters part from what is brighter
_NOISE = 6.0  # times the typical top hat, at least
_FLAT = 0.15  # spread inside the strokes, of their contrast, at most
_SHARP = 0.45  # steepest step at the edge, of the contrast, at least
_SAME = 0.08  # difference of brightness within a row, of the picture's range, at most
_LEAST = 3  # letters in a row


@dataclass(frozen=True)
class _Letters:
    """Boxes ``(n, 4)`` as top, left, bottom, right (ends excluded) of what may be letters, and their brightness."""

    boxes: np.ndarray
    level: np.ndarray


def find_text(values: np.ndarray) -> np.ndarray:
    """Return where text is burned in.

    Args:
        values: ``(H, W)`` or ``(H, W, 3)`` of any numeric type and range.

    Returns:
        bool ``(H, W)``: rectangles around rows of letters, with a margin.

    Example:
        >>> find_text(np.zeros((64, 64), np.uint16)).any()
        np.False_
    """
    gray = values.astype(np.float32) if values.ndim == 2 else values.astype(np.float32).max(axis=-1)
    mask = np.zeros(gray.shape, bool)
    low, high = np.percentile(gray, (0.5, 99.5))
    if high <= low:
        low, high = gray.min(), gray.max()
    if high <= low:
        return mask
    scaled = np.clip((gray - low) / (high - low), -0.5, 1.5)
    edges = ndimage.maximum_filter(scaled, 3) - ndimage.minimum_filter(scaled, 3)
    for bright in (scaled, -scaled):
        hat = bright - ndimage.grey_opening(bright, size=(_WINDOW, _WINDOW), mode="nearest")
        noise = _NOISE * float(np.median(hat))
        for limit in (each for each in _LIMITS if each > noise or each == _LIMITS[-1]):
            letters = _letters(bright, hat, edges, max(limit, noise))
            for box, level in _rows(letters):
                top, left, bottom, right = _grown(box, level, bright, hat > max(limit, noise))
                margin = 2 + round(0.15 * (bottom - top))
                mask[max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin] = True
    return mask


def _letters(bright: np.ndarray, hat: np.ndarray, edges: np.ndarray, limit: float) -> _Letters:
    """Connected strokes that stand out by the white top hat, flat inside, sharp at the edge, as high as letters."""
    labels, count = ndimage.label(hat > limit, structure=np.ones((3, 3), bool))
    boxes, levels = [], []
    for index, place in enumerate(ndimage.find_objects(labels, max_label=count), 1):
        height, width = place[0].stop - place[0].start, place[1].stop - place[1].start
        if not (_LEAST_HEIGHT <= height <= _MOST_HEIGHT and width <= 12 * height):
            continue
        own = labels[place] == index
        if own.sum() < 1.5 * height or own.sum() > 0.9 * height * width > 10 * height:
            continue
        heights = hat[place][own]
        contrast = float(np.percentile(heights, 90))
        core = own & (hat[place] > 0.7 * contrast)
        inside = bright[place][core]
        if float(np.subtract(*np.percentile(inside, (80, 20)))) > _FLAT * contrast:
            continue
        rim = own & ~ndimage.binary_erosion(own, structure=np.ones((3, 3), bool))
        if float(np.median(edges[place][rim])) < _SHARP * contrast:
            continue
        boxes.append((place[0].start, place[1].start, place[0].stop, place[1].stop))
        levels.append(float(np.median(inside)))
    return _Letters(np.array(boxes, int).reshape(-1, 4), np.array(levels))


def _rows(letters: _Letters) -> list[tuple[np.ndarray, float]]:
    """Letters beside each other, of like height and brightness: box and brightness of each row of enough of them."""
    order = np.argsort(letters.boxes[:, 0], kind="stable")
    boxes, level = letters.boxes[order], letters.level[order]
    if len(boxes) < _LEAST:
        return []
    top, left, bottom, right = boxes.T
    height = bottom - top
    # Pairs that share a line: a texture has thousands of strokes, all pairs of which would not fit into memory.
    partners = np.maximum(np.searchsorted(top, bottom) - np.arange(len(top)) - 1, 0)
    one = np.repeat(np.arange(len(top)), partners)
    other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(partners) - partners, partners)
    large, small = np.maximum(height[one], height[other]), np.minimum(height[one], height[other])
    overlap = np.minimum(bottom[one], bottom[other]) - np.maximum(top[one], top[other])
    gap = np.maximum(left[one], left[other]) - np.minimum(right[one], right[other])
    near = (gap <= 1.5 * large) & (overlap >= 0.6 * small) & (large <= 2.2 * small)
    near &= np.abs(level[one] - level[other]) < _SAME
    pairs = coo_matrix((near[near], (one[near], other[near])), shape=(len(top), len(top)))
    _, row = connected_components(pairs, directed=False)
    found = []
    for each in np.flatnonzero(np.bincount(row) >= _LEAST):
        own = row == each
        box = np.array([top[own].min(), left[own].min(), bottom[own].max(), right[own].max()])
        if box[3] - box[1] > 1.2 * (box[2] - box[0]):
            found.append((box, float(np.median(level[own]))))
    return found


def _grown(box: np.ndarray, level: float, bright: np.ndarray, stands_out: np.ndarray) -> tuple[int, int, int, int]:
    """Take in what stands in line with a row and has its brightness: letters that touch something else, points."""
    top, left, bottom, right = (int(each) for each in box)
    height = bottom - top
    band = slice(max(top - height // 5, 0), bottom + height // 4)
    ink = (np.abs(bright[band] - level) < _SAME / 2) & stands_out[band]
    inked = ink.sum(axis=0) > 1
    for columns, ends in ((np.flatnonzero(inked[right:]) + right, 1), (np.flatnonzero(inked[:left])[::-1], -1)):
        for column in columns:
            edge = right if ends == 1 else left
            if abs(int(column) - edge) > 1.5 * height:
                break
            right, left = (int(column) + 1, left) if ends == 1 else (right, int(column))
    lines = np.flatnonzero(ink[:, left:right].any(axis=1)) + band.start
    if not len(lines):
        return top, left, bottom, right
    return min(top, int(lines[0])), left, max(bottom, int(lines[-1]) + 1), right
