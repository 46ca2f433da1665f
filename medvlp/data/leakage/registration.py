"""Are two pictures one film? Lay one over the other, then correlate what is fine in them.

Each picture is squeezed to a square, its coarse shading taken out and its contrast made even: what is left is ribs,
vessels, edges of devices, which two films do not have at the same places, not even of one patient. The second picture
is then moved and stretched along its axes (four numbers), from coarse to fine, so that the correlation coefficient over
the part both show becomes largest: Gauss-Newton steps on the enhanced correlation coefficient (Evangelidis and
Psarakis, IEEE TPAMI 2008). The coefficient of the finest level decides; a negative is recognised by its sign.

Not sought: turned, mirrored or sheared copies, and pictures set into a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from medvlp.data.parallel import chunked


@dataclass(frozen=True, slots=True)
class _Level:
    """One size at which pictures are compared.

    Attributes:
        blur: standard deviation of the smoothing in pixels, against the noise of compression.
        reach: standard deviation in pixels over which contrast is made even.
        hopeless: correlation below which a pair is given up; copies have 0.79 and more at the coarse levels.
    """

    edge: int
    blur: float
    reach: float
    rounds: int
    hopeless: float


_LEVELS = (_Level(24, 0.0, 2.5, 6, 0.7), _Level(48, 0.6, 3.0, 5, 0.65), _Level(128, 0.8, 2.0, 5, 0.0))
# Stretch and shift of an axis when nothing, or a twentieth of one picture or the other, is cut off its ends.
_CROPS = np.array([(1, 0), (1.05, 0.025), (1.05, -0.025), (1.11, 0), (0.95, 0.025), (0.95, -0.025), (0.9, 0)])
_BATCH = 16  # pairs at once: some 8 MB of slopes at the finest level
_STRETCH, _SHIFT = (0.85, 1.18), 0.08
_EVEN = 0.1  # share of the overall contrast that is added to the local one: noise in flat parts stays small


@dataclass(frozen=True, eq=False, slots=True)
class Registered:
    """Result of registering one image on another.

    Attributes:
        correlation: ``(P,)`` at the finest level; 0 where a pair was given up before.
        placement: ``(P, 4)`` stretch and shift along rows, then along columns, of the second picture: its point at
            ``stretch * x + shift`` lies on the first one's x; x runs from -1/2 to 1/2.
    """

    correlation: np.ndarray
    placement: np.ndarray


def register(
    images: Mapping[int, np.ndarray], pairs: np.ndarray, signs: np.ndarray, *, give_up: bool = True
) -> Registered:
    """Lay the second picture of each pair over its first.

    Args:
        pairs: ``(P, 2)`` numbers of pictures.
        signs: ``(P,)`` -1 where one is the negative of the other, else 1.
        give_up: whether pairs that are far from alike at a coarse level are not looked at in finer ones.
    """
    placement, correlation = np.zeros((len(pairs), 4)), np.zeros(len(pairs))
    alive = np.arange(len(pairs))
    for level in _LEVELS:
        if not len(alive):
            break
        numbers, where = np.unique(pairs[alive], return_inverse=True)
        fine = _even([images[number] for number in numbers.tolist()], level)
        for some in chunked(range(len(alive)), _BATCH):
            batch = alive[some]
            a, b = fine[where.reshape(-1, 2)[some].T]
            a *= signs[batch, None, None].astype(np.float32)
            start = _starts(a, b) if level is _LEVELS[0] else placement[batch]
            correlation[batch], placement[batch] = _fit(a, b, start, level.rounds)
        hopeless = (correlation[alive] < level.hopeless) & give_up
        correlation[alive[hopeless]] = 0.0
        alive = alive[~hopeless]
    return Registered(correlation, placement)


def _even(pictures: Sequence[np.ndarray], level: _Level) -> np.ndarray:
    """Return what is fine in pictures, at even contrast: float32 ``(N, edge, edge)``."""
    images = [Image.fromarray(np.ascontiguousarray(picture)).convert("F") for picture in pictures]
    small = np.array([image.resize((level.edge, level.edge), Image.Resampling.BOX) for image in images])
    # Along the pictures themselves nothing is smoothed.
    blur, reach = (0, level.blur, level.blur), (0, level.reach, level.reach)
    small = gaussian_filter(small, blur) if level.blur else small
    fine = small - gaussian_filter(small, reach)
    contrast = np.sqrt(np.maximum(gaussian_filter(fine * fine, reach), 0))
    return fine / (contrast + _EVEN * fine.std(axis=(1, 2), keepdims=True) + 1e-6)


def _starts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return for each pair the best of 49 placements ``(P, 4)``: nothing or 5 % cut off either end of either axis.

    Ribs repeat, so that steps from one start may slide by a rib.
    """
    edge = a.shape[1]
    matrices, inside = _axis(edge, _CROPS[:, 0], _CROPS[:, 1])
    moved = (matrices @ b[:, None])[:, :, None] @ matrices.transpose(0, 2, 1)
    part = (inside[:, None, :, None] * inside[None, :, None, :]).reshape(len(_CROPS) ** 2, -1)
    area, first, second = part.sum(axis=1), a.reshape(len(a), -1), moved.reshape(len(b), len(part), -1) * part
    mean_a, mean_b = first @ part.T / area, second.sum(axis=2) / area
    power_a = first**2 @ part.T - area * mean_a**2
    power_b = (second**2).sum(axis=2) - area * mean_b**2
    both = (second @ first[:, :, None])[..., 0] - area * mean_a * mean_b
    best = (both / np.sqrt(power_a * power_b + 1e-12)).argmax(axis=1)
    return np.concatenate([_CROPS[best // len(_CROPS)], _CROPS[best % len(_CROPS)]], axis=1)


def _fit(a: np.ndarray, b: np.ndarray, start: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best correlation ``(P,)`` on the way from a start, and its placement ``(P, 4)``."""
    best, place_of_best = np.full(len(a), -2.0), start.copy()
    place, step, scale = start.copy(), np.zeros_like(start), np.ones(len(a))
    for number in range(rounds + 1):
        over = _lay(a, b, place)
        better = over.correlation > best
        best, place_of_best = np.where(better, over.correlation, best), np.where(better[:, None], place, place_of_best)
        if number == rounds:
            break
        # A step that made it worse is halved and taken again from the best place.
        scale = np.where(better, 1.0, 0.5 * scale)
        step = np.where(better[:, None], _step(over), step)
        place = place_of_best + step * scale[:, None]
        place[:, 0::2] = np.clip(place[:, 0::2], *_STRETCH)
        place[:, 1::2] = np.clip(place[:, 1::2], -_SHIFT, _SHIFT)
    return best, place_of_best


@dataclass(frozen=True, eq=False, slots=True)
class _Over:
    """Two pictures over the part that both show, at zero mean and unit length there."""

    a: np.ndarray
    b: np.ndarray
    moved: np.ndarray
    length: np.ndarray
    part: np.ndarray
    area: np.ndarray
    correlation: np.ndarray


def _lay(a: np.ndarray, b: np.ndarray, place: np.ndarray) -> _Over:
    edge = a.shape[1]
    rows, rows_in = _axis(edge, place[:, 0], place[:, 1])
    columns, columns_in = _axis(edge, place[:, 2], place[:, 3])
    moved = rows @ b @ columns.transpose(0, 2, 1)
    part = rows_in[:, :, None] * columns_in[:, None, :]
    area = part.sum(axis=(1, 2), keepdims=True)
    first, _ = _normal(a, part, area)
    second, length = _normal(moved, part, area)
    return _Over(first, second, moved, length, part, area, (first * second).sum(axis=(1, 2)))


def _axis(edge: int, stretch: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return linear interpolation along one axis as matrices ``(P, edge, edge)``, and which points lie inside."""
    at, centre = np.arange(edge), (edge - 1) / 2
    source = centre + (at - centre)[None] * stretch[:, None] + edge * shift[:, None]
    inside = (source >= -0.5) & (source <= edge - 0.5)
    source = np.clip(source, 0, edge - 1)[:, :, None]
    below = np.minimum(source.astype(int), edge - 2)
    weights = np.zeros((len(source), edge, edge), np.float32)
    np.put_along_axis(weights, below, 1 - (source - below), axis=2)
    np.put_along_axis(weights, below + 1, source - below, axis=2)
    return weights, inside.astype(np.float32)


def _normal(values: np.ndarray, part: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = (values - (values * part).sum(axis=(1, 2), keepdims=True) / area) * part
    length = np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True)) + 1e-6
    return centred / length, length


def _step(over: _Over) -> np.ndarray:
    """Return the Gauss-Newton step ``(P, 4)``, by the parts of the slopes that change neither mean nor length."""
    count, edge = len(over.a), over.a.shape[1]
    at = ((np.arange(edge) - (edge - 1) / 2) / edge).astype(np.float32)
    down, along = (np.gradient(over.moved, axis=axis) * (edge * over.part) for axis in (1, 2))
    there = np.stack([down * at[:, None], down, along * at, along, over.a, over.b, over.part], axis=1)
    there = there.reshape(count, 7, -1)
    # Products of the slopes with each other, both pictures and the part itself: a and b have mean zero there.
    products = there @ there[:, :4].transpose(0, 2, 1)
    with_a, with_b, total = products[:, 4], products[:, 5], products[:, 6]
    normal = products[:, :4] - total[:, :, None] * total[:, None] / over.area - with_b[:, :, None] * with_b[:, None]
    normal /= over.length**2
    normal += 1e-3 / 4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(4) + 1e-9 * np.eye(4)
    slope = (with_a - with_b * over.correlation[:, None]) / over.length[:, 0]
    step = np.linalg.solve(normal, slope[:, :, None])[..., 0]
    return step * np.minimum(1, 0.05 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-9))
