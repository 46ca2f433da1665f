"""The picture of a prepared sample, as it is shown."""

from __future__ import annotations

from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.sample import Sample, Stack
from medvlp.data.stacks import LazyStack, middle_of, stack_of


def shown_pixels(sample: Sample, shown: int | None = None) -> Tensor:
    """Return (H, W) in [0, 1] of a prepared sample: its image, or one slice of its stack (the middle one by default).

    Raises:
        ConfigError: if the sample has no pixels.
    """
    image, stack = sample.fields.get("image"), sample.fields.get("stack")
    if isinstance(image, Tensor):
        return image[0]
    if isinstance(stack, LazyStack | Stack):
        one = stack_of(stack, [middle_of(len(stack.position)) if shown is None else shown])
        if one is not None and min(one.pixels.shape[-2:]) > 1:
            return one.pixels[0, 0]
    raise ConfigError("The preprocessing makes no pixels: a gallery needs a model of images or volumes.")
