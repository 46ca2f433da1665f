"""What changes a sample, or a batch, before it is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from medvlp.core.sample import Batch, Sample


@runtime_checkable
class View(Protocol):
    """``(Sample, generator) -> Sample``; a view with ``random = False`` belongs to the cached prefix.

    One that makes a field which no manifest holds names it in an option ``to``, several in a property ``adds``.
    """

    random: bool

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample: ...  # noqa: D102


@runtime_checkable
class ReadsBeside(Protocol):
    """A view that reads files which no field of the manifest names: what it makes depends on them too."""

    def beside(self, sample: Sample) -> Mapping[str, Path]: ...  # noqa: D102  (what is read of a file -> the file)


@runtime_checkable
class ShapedByFile(Protocol):
    """A view whose files, and no option, say the shape of what it makes: those of another shape are kept apart."""

    def shape_of(self, sample: Sample) -> tuple[int, ...] | None: ...  # noqa: D102  (None: nothing there can be read)


@runtime_checkable
class FittedView(Protocol):
    """A random view that counts something in the training samples, as the prefix leaves them, before a run begins."""

    def fitted(self, samples: Iterable[Sample]) -> View: ...  # noqa: D102


@runtime_checkable
class BatchView(Protocol):
    """``(Batch, seed) -> Batch``: mosaic, mixup; a component of `data/batch_views`.

    It is given a process's own samples of a step, all chunks together, on the model's device, before they are encoded.
    Every draw is a function of (seed, position, name). What it does to a sample may depend on samples of the same batch
    only in a way that is the same however many processes share it, such as on its neighbour. One that makes fields
    names them in a property `adds`; one that leaves labels unknown which were known has `loses_labels` true.
    """

    def __call__(self, batch: Batch, *, seed: int) -> Batch: ...  # noqa: D102
