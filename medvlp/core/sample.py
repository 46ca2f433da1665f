"""One sample and its batch.

A `Sample` is a flat record of named fields. A `Batch` keeps each field as a `Column`: values, and the sample that owns
each row, so that crops, sentences and negatives (several rows a sample) and missing views (no row) are the same thing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError, did_you_mean

REPLAY = "id.replay"
"""Batch field: which augmentation of its sample a row is, and made by what, where samples have few (`data.replays`)."""
Matrix = tuple[tuple[float, ...], ...]
"""The rows (d, d + 1) of an affine map of points in d dimensions, x first; it acts on (x, y, 1) or (x, y, z, 1)."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """How an image-like field was made from its source: where each of its pixels lies there, and the seed of its draws.

    Coordinates are continuous, pixel k reaches from k to k + 1. `medvlp.core.places` takes boxes and masks there and
    back.

    Attributes:
        seed: of the random suffix.
        box: (x0, y0, x1, y1) of the view in pixels of the source, of a stack in those of a slice; may reach outside it
            where the view is padded. Of a turned view, the box of its size around its middle.
        flip: whether left and right are swapped; no view of this project sets it without swapping the words too.
        spacing: (row, column) in mm of one view pixel, where known.
        warnings: what reading the source announced, for who scores a single file; the cache of a cohort drops it.
        modality: of a DICOM file, as it says; dropped likewise.
        matrix: points of the view -> points of the source, where `box` and `flip` do not say it all: a turned picture,
            or (x, y, number of a slice) -> (x, y, z) voxels of a volume.
        source: (H, W) of the file, (Z, Y, X) of a volume, where known.
        slices: number in the stack as it was read of each slice that is left, ascending; None: all.
        world: voxel (i, j, k) of the source -> RAS mm, of a volume.
        cuts: (matrix, (H, W)) of earlier views at whose edges the picture was cut.
    """

    seed: int
    box: tuple[float, float, float, float]
    flip: bool = False
    spacing: tuple[float, float] | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)
    modality: str = field(default="", compare=False)
    matrix: Matrix | None = None
    source: tuple[int, ...] | None = None
    slices: tuple[int, ...] | None = None
    world: Matrix | None = None
    cuts: tuple[tuple[Matrix, tuple[int, int]], ...] = ()


@dataclass(frozen=True)
class Stack:
    """Slices of a volume, frames of a cine or views of a study: a value of the kind ``stack``.

    Attributes:
        pixels: (S, C, H, W) float32.
        position: (S, 3) float32, the middle of each slice in mm: RAS of the patient for slices, (0, 0, number) where
            there is no place.

    Raises:
        DataError: if the two do not belong together.
    """

    pixels: Tensor
    position: Tensor

    def __post_init__(self) -> None:
        if self.pixels.dim() != 4 or self.position.shape != (len(self.pixels), 3):
            raise DataError(
                f"A stack of shape {tuple(self.pixels.shape)} with positions {tuple(self.position.shape)} is none: it "
                f"has (S, C, H, W) pixels and (S, 3) positions."
            )

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels."""
        return self.pixels.nbytes


@dataclass(frozen=True)
class Sample:
    """A record of named fields.

    Attributes:
        id: unique in its manifest.
        fields: field name -> value: a tensor, a stack, a string, a float, or a tuple of those where the sample has
            several rows.
        records: image-like field -> how it was made; a tuple where the field has several rows.
    """

    id: str
    fields: Mapping[str, object]
    records: Mapping[str, ImageRecord | tuple[ImageRecord, ...]] = field(default_factory=dict)

    def record(self, name: str) -> ImageRecord | None:
        """Return the record of how an image-like field was made; None if unknown or if it has several rows."""
        found = self.records.get(name)
        return found if isinstance(found, ImageRecord) else None


def _bringer(device: torch.device) -> Callable[[Tensor], Tensor]:
    ahead = device.type == "cuda"  # mps would read memory that may be another tensor's by then
    return lambda tensor: tensor.to(device, non_blocking=ahead)


@dataclass(frozen=True)
class Tokens:
    """Token ids of R texts by one tokenizer; none is longer than the longest text.

    Attributes:
        ids: (R, L) int64.
        mask: (R, L) bool, True on tokens, at least one a row; None where every place of every row holds a token.
        truncated: how many of the texts were longer than the tokenizer's limit and lost their end; not known, and 0, of
            a part of a batch.
    """

    ids: Tensor
    mask: Tensor | None = None
    truncated: int = 0

    @classmethod
    def trimmed(cls, ids: Tensor, mask: Tensor, *, truncated: int = 0) -> Tokens:
        """Cut off what is padding in every row.

        Example:
            >>> tokens = Tokens.trimmed(torch.tensor([[5, 6, 0], [7, 0, 0]]), torch.tensor([[1, 1, 0], [1, 0, 0]]) > 0)
            >>> tokens.ids.tolist(), tokens.take(torch.tensor([1])).ids.tolist(), tokens.take(torch.tensor([0])).mask
            ([[5, 6], [7, 0]], [[7]], None)
        """
        held = mask.numpy(force=True)
        length = int(held.any(axis=0).sum())
        return cls(ids[:, :length], None if held[:, :length].all() else mask[:, :length], truncated)

    def take(self, index: Tensor | slice) -> Tokens:
        """Return some rows, no longer than the longest of them."""
        if self.mask is None:
            return Tokens(self.ids[index])
        return Tokens.trimmed(self.ids[index], self.mask[index])

    def each(self, change: Callable[[Tensor], Tensor]) -> Tokens:
        """Return them with their tensors changed."""
        return Tokens(change(self.ids), None if self.mask is None else change(self.mask), self.truncated)

    def to(self, device: torch.device) -> Tokens:
        """Return them on a device."""
        return self.each(_bringer(device))


@dataclass(frozen=True)
class Column:
    """One field of a batch.

    Attributes:
        values: (R, ...) tensor, or R strings.
        owner: (R,) int64, the sample of each row, ascending.
        mask: (R, S) for padded kinds, True where real.
        position: (R, S, 3) in mm, of a stack's slices; zeros where padded.
        tokens: of strings: what tokenizers made of them, by the tokenizer's identity; whoever needs another's makes it.
        known: (B,) bool, of boxes: the samples of which it is known where they are; one without rows has none.
        place: (R,) int64, of boxes: on which row of the sample's picture each lies.
    """

    values: Tensor | tuple[str, ...]
    owner: Tensor
    mask: Tensor | None = None
    position: Tensor | None = None
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    known: Tensor | None = None
    place: Tensor | None = None

    def take(self, start: int, stop: int) -> Column:
        """Return the rows of samples start..stop-1, owners counted from 0; tensors share the column's memory."""
        first, last = torch.searchsorted(self.owner, self.owner.new_tensor([start, stop])).tolist()
        rows = slice(first, last)
        some = {name: t[rows] for name in ("mask", "position", "place") if (t := getattr(self, name)) is not None}
        known = None if self.known is None else self.known[start:stop]
        tokens = {who: tokens.take(rows) for who, tokens in self.tokens.items()}
        owner = self.owner[rows] - start
        return replace(self, values=self.values[rows], owner=owner, tokens=tokens, known=known, **some)

    def each(self, change: Callable[[Tensor], Tensor]) -> Column:
        """Return the column with its tensors changed."""
        names = ("owner", "mask", "position", "known", "place")
        made = {name: change(t) for name in names if (t := getattr(self, name)) is not None}
        values = change(self.values) if isinstance(self.values, Tensor) else self.values
        return replace(self, values=values, tokens={who: t.each(change) for who, t in self.tokens.items()}, **made)


@dataclass(frozen=True)
class Batch:
    """A batch of B samples.

    Attributes:
        ids: B sample ids.
        positions: (B,) int64, each sample's place in the run's sample stream: what every random draw is a function of.
            They stay on the host, where draws are made.
        columns: field name -> column; a field that no sample has is absent.
        records: image-like field -> how each of its rows was made; a field of which that is not known is absent.
    """

    ids: tuple[str, ...]
    positions: Tensor
    columns: Mapping[str, Column]
    records: Mapping[str, tuple[ImageRecord, ...]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        """Where its columns are."""
        return next((column.owner.device for column in self.columns.values()), self.positions.device)

    @property
    def truncated(self) -> int:
        """How many texts were longer than a tokenizer's limit and lost their end; of whole batches only."""
        return sum(max((t.truncated for t in column.tokens.values()), default=0) for column in self.columns.values())

    def __getitem__(self, name: str) -> Column:
        if name not in self.columns:
            raise ConfigError(f"The batch has no field {name!r}: {did_you_mean(name, self.columns)}.")
        return self.columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def strings(self, name: str) -> list[str]:
        """Return one string a sample, empty where it has none; several rows are joined in their order.

        Example:
            >>> batch = Batch(("a", "b"), torch.arange(2), {"text": Column(("x", "y"), torch.tensor([0, 0]))})
            >>> batch.strings("text")
            ['x y', '']
        """
        out: list[list[str]] = [[] for _ in self.ids]
        if name in self.columns:
            column = self.columns[name]
            for owner, value in zip(column.owner.tolist(), column.values, strict=True):
                out[owner].append(str(value))
        return [" ".join(parts) for parts in out]

    def chunks(self, count: int) -> Iterator[tuple[int, Batch]]:
        """Yield (first sample, chunk) for `count` nearly equal runs of samples; one run is the batch, not a copy."""
        if count == 1:
            yield 0, self
            return
        bounds = [round(i * self.size / count) for i in range(count + 1)]
        for start, stop in itertools.pairwise(bounds):
            if stop > start:
                yield start, self.take(start, stop)

    def take(self, start: int, stop: int) -> Batch:
        """Return samples start..stop-1."""
        columns = {name: column.take(start, stop) for name, column in self.columns.items()}
        records: dict[str, tuple[ImageRecord, ...]] = {}
        for name, rows in self.records.items():
            owners = self.columns[name].owner.tolist()
            records[name] = tuple(row for row, owner in zip(rows, owners, strict=True) if start <= owner < stop)
        return Batch(self.ids[start:stop], self.positions[start:stop], columns, records)

    def with_columns(self, columns: Mapping[str, Column]) -> Batch:
        """Return the batch with more or other columns; a replaced one with other rows loses their records."""
        whole = {**self.columns, **columns}
        records = {name: rows for name, rows in self.records.items() if len(rows) == len(whole[name].owner)}
        return Batch(self.ids, self.positions, whole, records)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return self._each(_bringer(device))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which a GPU copies while the processor goes on."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(self, columns={name: column.each(change) for name, column in self.columns.items()})

    @classmethod
    def of(cls, columns: Mapping[str, Tensor | Sequence[str]], *, first: int = 0) -> Batch:
        """Make a batch with one row a sample, for tests and embedding.

        Example:
            >>> Batch.of({"image": torch.zeros(2, 1, 4, 4), "text": ["a", "b"]}).size
            2
        """
        size = len(next(iter(columns.values())))
        owner = torch.arange(size)
        made = {n: Column(v if isinstance(v, Tensor) else tuple(v), owner) for n, v in columns.items()}
        return cls(tuple(str(first + i) for i in range(size)), owner + first, made)
