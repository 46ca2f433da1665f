"""``augment3d``: MONAI's random transforms on a stack: one movement for all slices, and other intensities. No flip.

Slices move within their planes, all of them alike, so that their places in mm stay true. Left and right are words of
the report: nothing is mirrored, and no rotation comes near a quarter turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample, Stack
from medvlp.data.marks import moved
from medvlp.data.stacks import LazyStack, stack_of
from medvlp.data.views._options import require

_MOST_DEGREES = 15.0


@dataclass(frozen=True, kw_only=True)
class Augment3d:
    """Rotate, zoom and shift the slices, then change contrast, brightness and gamma, and add noise.

    Each by MONAI's array transform of that kind (Affine, RandAdjustContrast, RandScaleIntensity, RandShiftIntensity,
    RandGaussianNoise), whose random state is set from the sample's own draw. Outside the picture is black,
    interpolation is bilinear, pixels stay in [0, 1]. All slices of a stack are taken: put `sample_slices` before it.

    Attributes:
        degrees: largest rotation, at most 15.
        zoom: largest enlargement or reduction, 0.1 = 10 %.
        shift: largest shift in each direction, as a fraction of the side.
        contrast: x becomes x (1 + c), c in +-contrast.
        brightness: x becomes x + b, b in +-brightness.
        gamma: largest change of the exponent, 0.25 = 25 %.
        noise: largest standard deviation of normal noise.
        probability: that a sample is changed at all.
        field: the stack field.

    Raises:
        ConfigError: if a range is not allowed.
        DataError: for a stack of features, which are no pictures.

    Example:
        >>> same = Augment3d(degrees=0, zoom=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0)
        >>> stack = Stack(torch.rand(2, 1, 8, 8), torch.zeros(2, 3))
        >>> changed = same(Sample("a", {"stack": stack}), torch.Generator().manual_seed(0)).fields["stack"]
        >>> bool(torch.allclose(changed.pixels, stack.pixels, atol=1e-5))
        True
    """

    random: ClassVar[bool] = True

    degrees: float = 8.0
    zoom: float = 0.1
    shift: float = 0.05
    contrast: float = 0.1
    brightness: float = 0.05
    gamma: float = 0.2
    noise: float = 0.02
    probability: float = 1.0
    field: str = "stack"

    def __post_init__(self) -> None:
        shares = (self.zoom, self.shift, self.contrast, self.brightness, self.gamma, self.noise)
        fits = all(0 <= share < 0.5 for share in shares) and 0 <= self.degrees <= _MOST_DEGREES
        fits = fits and 0 <= self.probability <= 1 and parse_field(self.field).kind == "stack"
        takes = f"0 <= degrees <= {_MOST_DEGREES:g}, a probability, and all else from 0 to below 0.5"
        require(self, fits, f"takes a stack field, {takes}")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Change the slices."""
        value = sample.fields.get(self.field)
        if not isinstance(value, LazyStack | Stack):
            return sample
        chance, seed = float(torch.rand((), generator=generator)), int(torch.randint(2**31, (), generator=generator))
        if chance >= self.probability:
            return sample
        stack = stack_of(value)
        assert stack is not None
        slices, channels, height, width = stack.pixels.shape
        if height * width == 1:
            raise DataError(
                f"augment3d changes pictures, and {self.field!r} of {sample.id!r} holds features: leave it out."
            )
        # All slices and windows are channels of one picture: so they move together.
        pixels = stack.pixels.reshape(slices * channels, height, width)
        draws = np.random.RandomState(seed)
        step = np.eye(3)
        if self.degrees or self.zoom or self.shift:
            movement = _movement(self, draws, height, width)
            pixels = _plain(movement(pixels))
            step = _step(movement, height, width)
        for transform in _transforms(self):
            transform.set_random_state(seed=int(draws.randint(2**31)))
            pixels = _plain(transform(pixels))
        changed = Stack(pixels.clamp(0, 1).reshape(stack.pixels.shape), stack.position)
        return moved(sample, self.field, changed, step, seed=generator.initial_seed())


def _plain(pixels: Any) -> Tensor:  # noqa: ANN401 (MONAI gives its own kind of tensor)
    made = torch.as_tensor(pixels)
    return made.as_subclass(Tensor) if type(made) is not Tensor else made


def _movement(view: Augment3d, draws: np.random.RandomState, height: int, width: int) -> Any:  # noqa: ANN401
    """Draw one movement; the same zoom in both directions, which MONAI's RandAffine has not."""
    from monai.transforms.spatial.array import Affine

    turn, zoom, down, right = draws.uniform(-1, 1, 4)
    return Affine(
        rotate_params=float(np.deg2rad(view.degrees * turn)),
        translate_params=(view.shift * height * down, view.shift * width * right),
        scale_params=(float(np.exp(np.log1p(view.zoom) * zoom)),) * 2,
        mode="bilinear",
        padding_mode="zeros",
        image_only=True,
    )


def _step(movement: Any, height: int, width: int) -> np.ndarray:  # noqa: ANN401
    """Return MONAI's own matrix, (row, column) from the middles of both pictures, as (x, y) from their corners."""
    matrix = np.asarray(movement.affine_grid(spatial_size=(height, width))[1], np.float64)
    swapped = matrix[np.ix_((1, 0, 2), (1, 0, 2))]
    middle = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    return middle @ swapped @ np.linalg.inv(middle)


@lru_cache(maxsize=16)
def _transforms(view: Augment3d) -> tuple[Any, ...]:
    from monai.transforms.intensity import array as intensity

    made: list[Any] = []
    if view.gamma:
        made.append(intensity.RandAdjustContrast(prob=1.0, gamma=(1 / (1 + view.gamma), 1 + view.gamma)))
    if view.contrast:
        made.append(intensity.RandScaleIntensity(prob=1.0, factors=view.contrast))
    if view.brightness:
        made.append(intensity.RandShiftIntensity(prob=1.0, offsets=view.brightness))
    if view.noise:
        made.append(intensity.RandGaussianNoise(prob=1.0, std=view.noise))
    return tuple(made)
