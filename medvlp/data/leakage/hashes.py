"""Perceptual hashes that a crop hardly moves: they propose pairs of pictures that may be the same film.

A picture is squeezed to 32 x 32 pixels (which undoes any stretching) and described by its lowest 12 x 12 cosine
coefficients at unit length, without the direction that all pictures of the cohort share: a chest looks like a chest.
Fisher's discriminant (Rao 1948) then turns and weighs these 143 numbers so that crops of one picture move little and
different pictures move much; the 64 best numbers at unit length are the hash. Resizing and compression hardly touch it,
inversion turns its sign, so likeness is the absolute value of the inner product. Cutting it to 64 bits would propose a
hundred times as many pairs at the same recall; numbers cost no more, since blocks of inner products are one matrix
product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.linalg import eigh

LIKE = 0.55
"""Inner product from which a pair is proposed.

Of copies with up to 5 % cut off each side one in a hundred stays below 0.7; about one in a thousand pairs of chest
films of two patients reach 0.55. The nearest hash is always proposed as well, for the rare copy that stays below.
"""

_EDGE, _CORNER, _LENGTH = 32, 12, 64
_CUT = 0.05  # the largest crop a side that is learnt
_PRIOR = 50  # pictures' worth of what is known of any natural image: with few pictures the cohort says little
_BLOCK = 1024  # 4 MB of inner products: they stay in the processor


def cosines(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the low cosine coefficients of gray pictures at unit length, the constant one left out: ``(N, 143)``.

    A picture of one gray value gives zeros.
    """
    return _coefficients(np.stack([_squeezed(picture) for picture in images]))


def crops(picture: np.ndarray, generator: np.random.Generator, *, count: int) -> np.ndarray:
    """Return `cosines` of random crops, up to 5 % off each side, in other gray curves: ``(count, 143)``."""
    height, width = picture.shape
    cuts = generator.uniform(0, _CUT, (count, 4)) * (generator.random((count, 4)) < 0.7)
    curves = 2.0 ** generator.uniform(-0.5, 0.5, count)
    squeezed = []
    for (left, upper, right, lower), curve in zip(cuts, curves, strict=True):
        box = (left * width, upper * height, (1 - right) * width, (1 - lower) * height)
        squeezed.append((_squeezed(picture, box) / 255) ** curve)
    return _coefficients(np.stack(squeezed))


@dataclass(frozen=True, eq=False)
class Hasher:
    """A linear map from `cosines` to hashes; `matrix` is ``(143, 64)``."""

    matrix: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return hashes ``(N, 64)`` float32 at unit length (zeros stay zeros)."""
        return unit(features @ self.matrix).astype(np.float32)


def fit_hasher(features: np.ndarray, sample: np.ndarray, cropped: np.ndarray) -> Hasher:
    """Learn the map from a cohort.

    With W the scatter of crops about their picture and B that of the images, the map's columns v solve
    B v = w W v with v'Wv = 1, are those of the largest w, and are weighed by w^(-1/4): half way between trusting what
    separates best and giving each direction its say, which proposes fewest pairs at full recall.

    Args:
        features: ``(N, 143)`` `cosines` of the cohort.
        sample: ``(S,)`` which of its pictures were cropped.
        cropped: ``(S, C, 143)`` `crops` of these.
    """
    mean = features.mean(axis=0)
    length = np.linalg.norm(mean)
    mean = mean / length if length > 0 else mean
    without = np.eye(len(mean)) - np.outer(mean, mean)
    seen, moved = features @ without, (cropped - features[sample][:, None]).reshape(-1, len(mean)) @ without
    count = len(features)
    u, v = np.divmod(np.arange(1, _CORNER * _CORNER), _CORNER)
    natural = 1.0 / (u * u + v * v)  # the power of natural images falls with the square of frequency (Field 1987)
    between = (seen.T @ seen + _PRIOR * np.diag(natural / natural.sum())) / (count + _PRIOR)
    within = moved.T @ moved / len(moved)
    within += 1e-3 * np.trace(within) / len(within) * np.eye(len(within))
    solved: Any = eigh(between, within)
    values, vectors = (part[..., ::-1][..., :_LENGTH] for part in solved)
    return Hasher(without @ vectors * np.maximum(values, 1e-12) ** -0.25)


def nearest_and_like(
    hashes: np.ndarray, sides: np.ndarray, *, things: np.ndarray | None = None, like: float = LIKE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of hashes on two sides that are alike, and each hash with its nearest on another side.

    Blocks of the table of inner products are made one after the other, so that memory does not grow with its size.

    Args:
        hashes: ``(N, 64)`` at unit length.
        sides: ``(N,)`` integers; only pairs of different sides count.
        things: ``(N,)`` integers; hashes of the same thing are not compared.

    Yields:
        indices ``(first, second)`` of pairs; the last ones are the nearest, and may repeat earlier ones.

    Example:
        >>> hashes = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
        >>> [list(zip(a.tolist(), b.tolist())) for a, b in nearest_and_like(hashes, np.array([0, 0, 1]))]
        [[(0, 2)], [(0, 2), (0, 2)]]
    """
    best, partner = np.zeros(len(hashes), np.float32), np.full(len(hashes), -1)
    repeated = None if things is None else np.bincount(things)[things] > 1
    groups = [np.flatnonzero(sides == side) for side in np.unique(sides)]
    for number, group in enumerate(groups):
        for other in groups[number + 1 :]:
            for rows in blocks(group):
                for columns in blocks(other):
                    table = hashes[rows] @ hashes[columns].T
                    np.abs(table, out=table)
                    if things is not None and repeated is not None:
                        _leave_out(table, rows, columns, things, repeated)
                    most = table.max(axis=1)
                    _improve(best, partner, rows, columns, table, most)
                    _improve(best, partner, columns, rows, table.T, table.max(axis=0))
                    if most.max() >= like:
                        a, b = np.nonzero(table >= like)
                        yield rows[a], columns[b]
    found = np.flatnonzero(partner >= 0)
    yield np.minimum(found, partner[found]), np.maximum(found, partner[found])


def blocks(rows: np.ndarray) -> list[np.ndarray]:
    """Cut rows into blocks whose products stay in the processor."""
    return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]


def _leave_out(
    table: np.ndarray, rows: np.ndarray, columns: np.ndarray, things: np.ndarray, repeated: np.ndarray
) -> None:
    """Set the likeness of one thing with itself to 0, looking only at things that occur more than once."""
    a, b = np.flatnonzero(repeated[rows]), np.flatnonzero(repeated[columns])
    same_a, same_b = np.nonzero(things[rows[a]][:, None] == things[columns[b]])
    table[a[same_a], b[same_b]] = 0


def _improve(
    best: np.ndarray, partner: np.ndarray, rows: np.ndarray, columns: np.ndarray, table: np.ndarray, most: np.ndarray
) -> None:
    """Note for each row its largest value, `most`, and where it stands, if it is larger than what was noted before."""
    better = np.flatnonzero(most > best[rows])
    if len(better):
        best[rows[better]] = most[better]
        partner[rows[better]] = columns[table[better].argmax(axis=1)]


def _squeezed(picture: np.ndarray, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("F")
    return np.asarray(image.resize((_EDGE, _EDGE), Image.Resampling.BILINEAR, box=box))


def _coefficients(squeezed: np.ndarray) -> np.ndarray:
    low = dctn(squeezed.astype(np.float64), axes=(1, 2), norm="ortho")[:, :_CORNER, :_CORNER]
    return unit(low.reshape(len(squeezed), -1)[:, 1:])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return rows at unit length; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-6)
