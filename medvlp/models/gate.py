"""The gate: is this a picture of the kind that the model was trained on, or should it say nothing?

A picture is described in three ways: ``layout``, its 8 x 8 thumbnail, where the large shades lie; ``shape``, the same
freed of brightness and contrast; ``tones``, quantiles of its grey values and the strength of its edges at 64 x 64
pixels. In each the distance from the training pictures is Mahalanobis' (Lee et al., NeurIPS 2018), over a limit that
validation pictures set; above a largest score of 1 the model abstains. Pixels are asked, not embeddings: a lateral view
or a photograph lies in the midst of the embeddings of a contrastive encoder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from medvlp.core.errors import DataError

SCHEMA = "medvlp.gate/1"
NO_GATE = "This model has no gate: pictures unlike those that it was trained on are scored too."
_SIDE = 8
_TONES_SIDE = 64
_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_PADDING = 0.5 / 255  # bars beside a picture are black
_RADIOGRAPHS = ("CR", "DX", "RG")
_FLAT = 0.05  # of the display range: between its 5th and 95th percentile a picture has more than that
#: what a verdict may name, and what it means
REASONS = {
    "modality": "the file says that it is of another modality than the training pictures",
    "blank": "the picture is blank",
    "inverted": "black and white seem to be swapped",
    "layout": "light and dark lie elsewhere than in the training pictures",
    "shape": "its shapes are not those of the training pictures",
    "tones": "its grey values or edges are not those of the training pictures",
}


@dataclass(frozen=True, eq=False)
class Space:
    """The training pictures in one description.

    Attributes:
        mean: (D,) float64.
        whiten: (D, D) float64: the length of ``whiten @ (x - mean)`` is the distance of x.
        limit: distance at which the score is 1.
    """

    mean: Tensor
    whiten: Tensor
    limit: float

    def score(self, described: Tensor) -> float:
        """Return the distance of a description (D,) over the limit."""
        return float(torch.linalg.vector_norm(self.whiten @ (described - self.mean))) / self.limit


@dataclass(frozen=True)
class Verdict:
    """Result of the gate for one image: `score` (above 1: refused) and the `reasons` for a refusal."""

    score: float
    reasons: tuple[str, ...]

    @property
    def flagged(self) -> bool:
        """Whether the model should abstain."""
        return bool(self.reasons)


@dataclass(frozen=True, eq=False)
class Gate:
    """Statistics of the training images, by which an image unlike them is refused.

    Attributes:
        spaces: description -> training pictures.
        rate: share of pictures of the model's own kind that are flagged by design.
        counts: of the training and validation pictures that it was made of.

    Example:
        >>> still = Space(torch.zeros(64, dtype=torch.float64), torch.eye(64, dtype=torch.float64), limit=1.0)
        >>> Gate({"layout": still}, rate=0.02, counts=(100, 50)).verdict(torch.ones(1, 32, 32))
        Verdict(score=8.0, reasons=('blank', 'layout'))
    """

    spaces: Mapping[str, Space]
    rate: float
    counts: tuple[int, int]

    def verdict(self, pixels: Tensor) -> Verdict:
        """Judge pixels (C, H, W) in [0, 1], as the model's preprocessing makes them.

        Blank ones are always flagged; flagged ones that would not be with black and white swapped are called inverted.
        """
        scores = self.scores(pixels)
        reasons = [name for name, score in scores.items() if not score <= 1]  # nor is what is no number
        grey = pixels.detach().cpu().float().mean(0)
        low, high = _quantiles(grey[_inside(grey)], (0.05, 0.95))
        if bool(high - low < _FLAT):
            reasons.insert(0, "blank")
        elif reasons and max(self.scores(swapped(pixels)).values()) <= 1:
            reasons.insert(0, "inverted")
        return Verdict(max(scores.values()), tuple(reasons))

    def scores(self, pixels: Tensor) -> dict[str, float]:
        """Return the score in each description."""
        described = describe(pixels)
        return {name: space.score(described[name]) for name, space in self.spaces.items()}

    def to_plain(self) -> dict[str, object]:
        """Return what is written as words: all but the arrays."""
        limits = {name: space.limit for name, space in self.spaces.items()}
        return {"schema": SCHEMA, "rate": self.rate, "pictures": list(self.counts), "limits": limits}

    def to_arrays(self) -> dict[str, Tensor]:
        """Return the arrays, ``NAME.mean`` and ``NAME.whiten``."""
        means = {f"{name}.mean": space.mean.contiguous() for name, space in self.spaces.items()}
        return means | {f"{name}.whiten": space.whiten.contiguous() for name, space in self.spaces.items()}

    @classmethod
    def of(cls, plain: Mapping[str, object], arrays: Mapping[str, Tensor]) -> Gate:
        """Put together what `to_plain` and `to_arrays` gave, of this schema and fitting each other (else DataError)."""
        limits, counts = plain.get("limits"), plain.get("pictures")
        if plain.get("schema") != SCHEMA or not isinstance(limits, Mapping) or not isinstance(counts, list):
            raise DataError(f"The gate has the schema {plain.get('schema')!r}, this version reads {SCHEMA!r}.")
        sizes = {name: len(values) for name, values in describe(torch.zeros(1, _SIDE, _SIDE)).items()}
        spaces = {}
        for name, limit in limits.items():
            mean, whiten = arrays.get(f"{name}.mean"), arrays.get(f"{name}.whiten")
            size = sizes.get(name, -1)
            if mean is None or whiten is None or mean.shape != (size,) or whiten.shape != (size, size):
                raise DataError(f"The gate's arrays of {name!r} are missing or of another shape.")
            spaces[str(name)] = Space(mean, whiten, float(limit))
        return cls(spaces, float(str(plain["rate"])), (int(counts[0]), int(counts[1])))


def other_modality(modality: str, trained: Collection[str]) -> bool:
    """Whether a file is of none of the modalities of training, where they are known; CR, DX and RG are one.

    Example:
        >>> other_modality("CT", ["DX"]), other_modality("CR", ["DX", "CT"]), other_modality("", ["DX"])
        (True, False, False)
    """
    known, own = ({"DX" if each in _RADIOGRAPHS else each for each in some} for some in (trained, (modality,)))
    return bool(modality and trained) and not own <= known


def describe(pixels: Tensor) -> dict[str, Tensor]:
    """Return the descriptions of pixels (C, H, W) in [0, 1]: name -> (D,) float64."""
    grey = pixels.detach().cpu().float().mean(0)
    layout = adaptive_avg_pool2d(grey[None], _SIDE).flatten().double()
    shape = (layout - layout.mean()) / (layout.std() + 0.05)  # a flat picture has no shape: keep its noise small
    return {"layout": layout, "shape": shape, "tones": _tones(grey)}


def swapped(pixels: Tensor) -> Tensor:
    """Return pixels (C, H, W) with black and white swapped; black bars around the picture stay black."""
    down, across = _inside(pixels.mean(0))
    out = pixels.clone()
    out[:, down, across] = 1 - pixels[:, down, across]
    return out


def _tones(grey: Tensor) -> Tensor:
    if min(grey.shape) > _TONES_SIDE:  # smaller, so that grain alone, which another detector has, is not odd
        grey = adaptive_avg_pool2d(grey[None], _TONES_SIDE)[0]
    across, down = (grey[:, 1:] - grey[:, :-1]).abs().mean(), (grey[1:] - grey[:-1]).abs().mean()
    inner = grey[1:-1, 1:-1]
    curve = (4 * inner - grey[2:, 1:-1] - grey[:-2, 1:-1] - grey[1:-1, 2:] - grey[1:-1, :-2]).abs().mean()
    edges = (torch.stack([across, down, curve]) + 1e-3).log()
    return torch.cat([_quantiles(grey, _QUANTILES), grey.std()[None], edges]).double()


def _quantiles(values: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Order statistics nearest to the shares; `torch.quantile` refuses more than 2^24 values."""
    places = [round(share * (values.numel() - 1)) for share in shares]
    return torch.from_numpy(np.partition(values.flatten().numpy(), places)[places])


def _inside(grey: Tensor) -> tuple[slice, slice]:
    """Return the picture without black bars around it."""
    rows, columns = (torch.nonzero((grey > _PADDING).any(axis)).flatten() for axis in (1, 0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
