"""Masks of findings and organs, in the pixels of the file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.answers._pixels import OverPixels, asked_labels, record_of, single
from medvlp.core.answers import Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.places import to_source
from medvlp.core.predictions import Mask, Predictions
from medvlp.core.protocols import Level, Model
from medvlp.core.sample import Batch, Column, ImageRecord

_Side = Annotated[int, Field(ge=1)]

_FINEST = 8  # times that logits are enlarged at most, for memory
_LEAST_SIDE = 32  # of a window, in voxels


class Segmentation(OverPixels):
    """Masks by a head that draws logits (R, C, H, W) or (R, C, S, H, W), one channel a label.

    A picture passes the model whole. So does a volume that fits in memory or in `window`; a larger one passes window by
    window, which are blended by a Gaussian (MONAI's `SlidingWindowInferer`): farther from a window's edges than the
    network sees, that is what one pass gives, if its norms do not run over the whole volume. Towers of slices are given
    windows of slices, with whole pictures.

    Args:
        labels: in the order of the channels.
        part: of the logits.
        exclusive: whether a pixel is of one class: softmax, the first channel the background.
        threshold: from which probability a pixel is inside; of exclusive classes the likeliest is taken.
        window: voxels (z, y, x) at a time; None: as much as half of the free memory holds.
        overlap: share of a window that the next one covers again.

    Raises:
        ConfigError: for a label that it does not know, or a head of other channels.
        DataError: for a picture of which nobody knows how it was made of its file.

    Example:
        >>> Segmentation(labels=["lung"]).released()["threshold"]
        0.5
    """

    gives: ClassVar[frozenset[str]] = frozenset({"masks"})
    title = "Masks"

    def __init__(
        self,
        *,
        labels: list[str],
        part: str = "segmentation",
        exclusive: bool = False,
        threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        window: tuple[_Side, _Side, _Side] | None = None,
        overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25,
    ) -> None:
        self.labels = tuple(labels)
        self.part = part
        self.exclusive = exclusive
        self.threshold = threshold
        self.window = window
        self.overlap = overlap

    def answer(self, rows: Rows, ask: Ask, begun: Model) -> Predictions:
        """Draw the masks of each sample; one without a picture has none."""
        model, view = begun, begun.vision_kind
        wanted = asked_labels(self.labels, ask)
        masks: list[Mapping[str, Mask]] = []
        with torch.no_grad(), evaluating(model):
            for sample in rows.samples:
                batch = single(sample, view, what="masks are drawn")
                if batch is None:
                    masks.append({})
                    continue
                record, logits = record_of(sample, view), self.logits(model, batch)
                inside = self._inside(_finer(logits, record) if view == "image" else logits)
                found = {name: inside[self.labels.index(name)] for name in wanted}
                whole = {name: to_source(mask, record, tuple(mask.shape)).numpy() for name, mask in found.items()}
                made = {name: Mask.of(mask, world=record.world) for name, mask in whole.items()}
                if view == "image" and record.slices is not None:
                    here = to_source(torch.ones_like(inside[0]), record, tuple(inside.shape[1:])).numpy()
                    made = {name: replace(mask, shown=Mask.of(here).runs) for name, mask in made.items()}
                masks.append(made)
        return Predictions(tuple(sample.id for sample in rows.samples), masks=tuple(masks))

    def logits(self, model: Model, batch: Batch) -> Tensor:
        """Return the logits of one picture or volume, (C, H, W) or (C, S, H, W), on the CPU.

        Args:
            model: in evaluation mode.
            batch: of one sample with one picture.

        Raises:
            ConfigError: if the head has another number of channels than there are labels.
        """
        view, plan = model.vision_kind, self._plan(model)
        column = batch[view]
        values = column.values
        assert isinstance(values, Tensor)
        device = next(model.parameters()).device
        if view == "image":
            found = model(batch.to(device), plan)[view].part(self.part)
        else:
            stack = view == "stack"
            solid = values.transpose(1, 2) if stack else values

            def run(windows: Tensor) -> Tensor:
                pixels = windows.transpose(1, 2) if stack else windows
                owner = torch.arange(len(pixels), device=device)
                real = torch.ones(pixels.shape[:2], dtype=torch.bool, device=device) if stack else None
                ids = tuple(map(str, range(len(pixels))))
                part = Batch(ids, owner, {view: Column(pixels, owner, real)})
                return model(part, plan)[view].part(self.part).float()

            found = self._windows(solid, run, _levels(model), device)
        channels = len(self.labels) + self.exclusive
        if found.shape[1] != channels:
            raise ConfigError(
                f"The head {self.part!r} draws {found.shape[1]} channels and {channels} are named: mend labels."
            )
        return found[0].float().cpu()

    def _windows(
        self, solid: Tensor, run: Callable[[Tensor], Tensor], levels: Sequence[Level], device: torch.device
    ) -> Tensor:
        size = tuple(solid.shape[2:])
        window = self.window or window_that_fits(size, levels, channels=len(self.labels), free=_free_memory(device))
        # Of a volume thinner than the network's coarsest cell the inferer pads with black, and cuts that off again.
        cells = [max(level.stride[axis] for level in levels) for axis in range(3)]
        window = tuple(max(min(w, n), cell) for w, n, cell in zip(window, size, cells, strict=True))
        if window == size:
            return run(solid.to(device))
        from monai.inferers.inferer import SlidingWindowInferer

        inferer = SlidingWindowInferer(
            window, sw_batch_size=1, overlap=self.overlap, mode="gaussian", sw_device=device, device="cpu"
        )
        blended = inferer(solid, run)
        assert isinstance(blended, Tensor)
        return blended

    def _inside(self, logits: Tensor) -> Tensor:
        """(C, ...) -> bool (K, ...)."""
        if self.exclusive:
            best = logits.argmax(0)
            return torch.stack([best == k + 1 for k in range(len(self.labels))])
        return logits.sigmoid() > self.threshold

    def _plan(self, model: Model) -> Plan:
        return Plan.of(keys(f"{model.vision_kind}/{self.part}"))


def _finer(logits: Tensor, record: ImageRecord) -> Tensor:
    """Enlarge (C, H, W) linearly to about the file's pixels: masks cut at the view's would have stairs there."""
    x0, y0, x1, y1 = record.box
    factor = min(math.ceil(max((x1 - x0) / logits.shape[-1], (y1 - y0) / logits.shape[-2])), _FINEST)
    if factor <= 1 or record.matrix is not None:  # a matrix speaks of the pixels of the view as it is
        return logits
    return F.interpolate(logits[None], scale_factor=factor, mode="bilinear", align_corners=False)[0]


def window_that_fits(size: Sequence[int], levels: Sequence[Level], *, channels: int, free: int) -> tuple[int, int, int]:
    """Return the largest window whose pass takes half of the free memory at most.

    A pass is counted as eight copies of its largest level and three of the logits, in float32. The longest side is
    halved until it fits; sides stay multiples of the coarsest stride, so that windows see the cells that a whole pass
    would. Of towers that keep all slices only the number of slices is divided: their pictures have one size.

    Args:
        size: (z, y, x) of the volume.
        levels: of the encoder.
        channels: of the logits.
        free: bytes.

    Example:
        >>> levels = (Level(32, (1, 1, 1)), Level(64, (2, 2, 2)))
        >>> window_that_fits((100, 512, 512), levels, channels=2, free=4 * 2**30)
        (100, 128, 128)
    """
    per_voxel = 4 * (8 * max(level.channels / math.prod(level.stride) for level in levels) + 3 * channels)
    coarsest = [max(level.stride[axis] for level in levels) for axis in range(3)]
    slices_only = coarsest[0] == 1
    window = list(size)
    while math.prod(window) * per_voxel > free / 2:
        axis = 0 if slices_only else window.index(max(window))
        half = max(-(-window[axis] // (2 * coarsest[axis])) * coarsest[axis], 1 if slices_only else _LEAST_SIDE)
        if half >= window[axis]:
            break
        window[axis] = half
    return window[0], window[1], window[2]


def _levels(model: Model) -> Sequence[Level]:
    towers = model.get_submodule("towers")
    return towers.get_submodule(model.vision_kind).levels  # pyrefly: ignore


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"  # macOS names all alone
    return os.sysconf(free) * os.sysconf("SC_PAGE_SIZE")
