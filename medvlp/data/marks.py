"""Boxes and masks of a sample: which picture they lie on, and how they follow it.

What a manifest holds stays in the pixels of its file, unread (`Drawn`), however many views move the picture: they move
the picture's record, and `seen` looks the mark up through it once, at the end, where a batch or a view asks for it. So
a mask is sampled once and never worn by a chain of views, and one that nobody asks for costs nothing. What a view made
(a tensor) lies in the pixels of the picture as it stands, and is moved with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.places import moved_record, relative_record, to_view
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.data.mask_files import mask_of
from medvlp.data.stacks import LazyStack

Array = NDArray[np.float64]
_IMAGE_KINDS = ("image", "stack", "volume")
_STILL: Array = np.eye(3)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Boxes or a mask as a manifest holds them, in the pixels of the file.

    Attributes:
        value: corners, run lengths, or the path of a mask's file, of Python or Arrow; None: it was looked for and is
            not there.
        root: folder that paths are relative to.
    """

    kind: str
    value: object = None
    root: Path = Path()

    def on(self, record: ImageRecord, size: Sequence[int]) -> Tensor:
        """Return the boxes or mask in the pixels of a view; see `seen`."""
        value = self.plain
        if value is None:
            return torch.zeros(0, 2 * len(size)) if self.kind == "boxes" else torch.zeros(*size, dtype=torch.bool)
        if self.kind == "boxes":
            corners = np.array(value, np.float32)
            return to_view(torch.from_numpy(corners.reshape(len(corners), -1)), record, size)
        mask = mask_of(value, self.root)
        return to_view(torch.from_numpy(mask.pixels), record, size, grid=mask.grid(record))

    @property
    def plain(self) -> object:
        """The value as Python's."""
        return self.value.as_py() if isinstance(self.value, pa.Scalar) else self.value


def lies_on(name: str, fields: Mapping[str, object]) -> str | None:
    """Return the picture that boxes or a mask lie on; None where the sample has none, or it is another kind of field.

    A role that begins with that of a picture names it (``mask.local.effusion`` lies on ``image.local``); all others lie
    on the picture without a role.

    Example:
        >>> fields = {"image": 0, "image.local": 0}
        >>> lies_on("boxes.local.effusion", fields), lies_on("mask.effusion", fields), lies_on("text", fields)
        ('image.local', 'image', None)
    """
    kind, _, role = name.partition(".")
    if kind not in ("boxes", "mask"):
        return None
    own = role.partition(".")[0]
    names = [*(f"{picture}.{own}" for picture in _IMAGE_KINDS if own), *_IMAGE_KINDS]
    return next((picture for picture in names if picture in fields), None)


def copied_marks(names: Iterable[str], added: Iterable[str]) -> tuple[str, ...]:
    """Return the boxes and masks that samples have on pictures that views add, beside those of the manifest."""
    roles = [name.partition(".")[2] for name in added if name.partition(".")[0] in _IMAGE_KINDS]
    marks = [name.partition(".") for name in names if name.partition(".")[0] in ("boxes", "mask")]
    return tuple(f"{kind}.{own}.{role}" for own in roles if own for kind, _, role in marks)


def size_of(pixels: object) -> tuple[int, ...] | None:
    """Return (H, W) of an image, (S, H, W) of a stack or volume; None where it is no picture yet."""
    if isinstance(pixels, LazyStack):
        return (len(pixels), *pixels.shape[1:])
    if isinstance(pixels, Stack):
        return (len(pixels.pixels), *pixels.pixels.shape[2:])
    if not isinstance(pixels, Tensor):
        return None
    return tuple(pixels.shape[1:])


def seen(sample: Sample, name: str) -> Tensor | tuple[Tensor, ...] | None:
    """Return boxes or a mask in the pixels of the picture as it stands; None where they are not known.

    Returns:
        float32 boxes (n, 4), (n, 6) in a stack; bool mask (H, W), (S, H, W) of a stack; a tuple of those where the
        picture has several rows.

    Example:
        >>> image = {"image": torch.zeros(1, 4, 4), "boxes.nodule": Drawn("boxes", [[0, 0, 4, 8]])}
        >>> seen(Sample("a", image, {"image": ImageRecord(seed=0, box=(0, 0, 8, 8))}), "boxes.nodule").tolist()
        [[0.0, 0.0, 2.0, 4.0]]
    """
    value, picture = sample.fields.get(name), lies_on(name, sample.fields)
    if not isinstance(value, Drawn):
        rows = value if isinstance(value, tuple) else (value,)
        tensors = tuple(row for row in rows if isinstance(row, Tensor))
        return (tensors if isinstance(value, tuple) else tensors[0]) if tensors else None
    pixels = None if picture is None else sample.fields[picture]
    rows = pixels if isinstance(pixels, tuple) else (pixels,)
    found = []
    for place, row in enumerate(rows):
        size, record = size_of(row), None if picture is None else _record(sample, picture, place)
        if size is None or record is None:
            raise DataError(
                f"{name!r} of {sample.id!r} lies on a picture that does not say how it was made of its file: let "
                "`read`, `read_stack` or `read_volume` make it, or do not ask for boxes and masks."
            )
        try:
            found.append(value.on(record, size))
        except DataError as error:
            raise DataError(f"{name!r} of {sample.id!r}: {error}") from None
    return tuple(found) if isinstance(pixels, tuple) else found[0]


def placed(sample: Sample, field: str, pixels: object, record: ImageRecord, *, to: str | None = None) -> Sample:
    """Return the sample with a file replaced by the picture read of it, and what is marked on the file moved.

    Args:
        to: the picture's field, where that is another one; the file is gone then.
    """
    target = to or field
    rest = {name: value for name, value in sample.fields.items() if name != field}
    fields = {**rest, **_carried(sample, field, target, (pixels,), lambda row: record), target: pixels}
    return Sample(sample.id, fields, {**sample.records, target: record})


def moved(
    sample: Sample,
    field: str,
    pixels: object,
    step: Array | Sequence[Array] = _STILL,
    *,
    slices: Sequence[int] | None = None,
    to: str | None = None,
    seed: int | None = None,
) -> Sample:
    """Return the sample with a picture that was made of another one, its record and all that is marked on it moved.

    Args:
        field: the picture it was made of, which it replaces.
        pixels: the new one, or a tuple of them.
        step: (3, 3), points (x, y, 1) of the new picture -> points of the old one; of a tuple, one each.
        slices: numbers of the slices that are left, ascending; None: all.
        to: write it, and its marks, beside the old one under this name.

    Example:
        >>> flip = np.array([[-1.0, 0, 4], [0, 1, 0], [0, 0, 1]])
        >>> sample = Sample("a", {"image": torch.zeros(1, 4, 4), "boxes": torch.tensor([[0.0, 0, 1, 2]])})
        >>> moved(sample, "image", torch.zeros(1, 4, 4), flip).fields["boxes"].tolist()
        [[3.0, 0.0, 4.0, 2.0]]
    """
    new = pixels if isinstance(pixels, tuple) else (pixels,)
    steps = [step] if isinstance(step, np.ndarray) else list(step)
    old = sample.fields[field]
    before = [size_of(row) for row in (old if isinstance(old, tuple) else (old,) * len(new))]
    after = [size_of(row) for row in new]
    sizes = [(first, last) for first, last in zip(before, after, strict=True) if first is not None and last is not None]
    assert len(sizes) == len(steps), "views move pictures that were read"
    records = [
        moved_record(record, one, first, last, slices=slices, seed=seed)
        for row, (one, (first, last)) in enumerate(zip(steps, sizes, strict=True))
        if (record := _record(sample, field, row)) is not None
    ]
    target = to or field
    relative = lambda row: relative_record(steps[row], sizes[row][0], slices)  # noqa: E731
    fields = {**sample.fields, **_carried(sample, field, target, new, relative), target: pixels}
    made = {**sample.records}
    if len(records) == len(new):
        made[target] = tuple(records) if isinstance(pixels, tuple) else records[0]
    return Sample(sample.id, fields, made)


def _carried(
    sample: Sample, field: str, to: str, pixels: Sequence[object], record: Callable[[int], ImageRecord]
) -> dict[str, object]:
    """What is marked on a picture, on rows made of it; what is unread stays so, and is found by its new name."""
    own, other = (name.partition(".")[2] for name in (field, to))
    made: dict[str, object] = {}
    for name, value in sample.fields.items():
        kind, _, role = name.partition(".")
        if kind not in ("boxes", "mask") or (isinstance(value, Drawn) and field == to):
            continue
        if lies_on(name, sample.fields) != field:
            continue
        new = ".".join(part for part in (kind, other, role.removeprefix(own).removeprefix(".")) if part)
        if isinstance(value, Drawn):
            made[new] = value
            continue
        rows = value if isinstance(value, tuple) else (value,) * len(pixels)
        moved_rows = tuple(
            to_view(mark, record(row), size)
            for row, (mark, picture) in enumerate(zip(rows, pixels, strict=True))
            if isinstance(mark, Tensor) and (size := size_of(picture)) is not None
        )
        if len(moved_rows) == len(pixels):
            made[new] = moved_rows if len(moved_rows) > 1 or isinstance(value, tuple) else moved_rows[0]
    return made


def _record(sample: Sample, field: str, row: int) -> ImageRecord | None:
    found = sample.records.get(field)
    return found[row] if isinstance(found, tuple) else found
