"""Stacks whose slices are read when they are asked for: a step of training reads those that it looks at, no others."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.sample import Stack
from medvlp.data.quantise import Bits, decode, encode, stored_dtype

_PART = 16  # slices that are made and written at a time


class LazyStack(ABC):
    """A value of the kind ``stack`` before it is known which slices are wanted; `take` makes it a `Stack`.

    Attributes:
        position: (S, 3) float32, the middle of each slice in mm.
        shape: (C, H, W) of one slice.
    """

    position: Tensor
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.position)

    @abstractmethod
    def pixels(self, index: Sequence[int]) -> Tensor:
        """Read slices, (n, C, H, W) float32."""

    def take(self, index: Sequence[int] | None = None) -> Stack:
        """Return some slices with their places; None for all."""
        chosen = list(range(len(self))) if index is None else list(index)
        return Stack(self.pixels(chosen), self.position[chosen])


def middle_of(count: int) -> int:
    """Return the slice that is shown for a stack: the middle one; of two, as a film and its prior, the first."""
    return 0 if count == 2 else count // 2


def stack_of(value: object, index: Sequence[int] | None = None) -> Stack | None:
    """Return a stack, or some of its slices, read where they were not; None where the value is no stack."""
    if isinstance(value, LazyStack):
        return value.take(index)
    if not isinstance(value, Stack):
        return None
    return value if index is None else Stack(value.pixels[list(index)], value.position[list(index)])


class MadeStack(LazyStack):
    """Slices that a function makes.

    Args:
        make: number of a slice -> (C, H, W) float32.
        position: (S, 3) float32 in mm.
        shape: (C, H, W) of one slice.
    """

    def __init__(self, make: Callable[[int], Tensor], position: Tensor, shape: tuple[int, int, int]) -> None:
        self._make = make
        self.position = position
        self.shape = shape

    def pixels(self, index: Sequence[int]) -> Tensor:
        """See `LazyStack`."""
        out = torch.empty(len(index), *self.shape)
        for place, number in enumerate(index):
            out[place] = self._make(number)
        return out


class StoredStack(LazyStack):
    """Slices in a file of the cache: their places, then slice by slice, each in one piece.

    Args:
        shape: (C, H, W) of one.
    """

    def __init__(self, path: Path, depth: int, shape: tuple[int, int, int], bits: Bits) -> None:
        self._path, self._bits, self._depth = path, bits, depth
        self.shape = shape
        with _opened(self._path) as descriptor:
            places = self._read(descriptor, 0, np.empty((depth, 3), np.float32))
        self.position = torch.from_numpy(places)

    def pixels(self, index: Sequence[int]) -> Tensor:
        """See `LazyStack`."""
        out = np.empty((len(index), *self.shape), stored_dtype(self._bits))
        size = math.prod(self.shape) * out.itemsize
        with _opened(self._path) as descriptor:
            for first, last in _runs(index):  # neighbours in one call
                self._read(descriptor, 12 * self._depth + size * index[first], out[first:last])
        return decode(out, self._bits)

    def _read(self, descriptor: int, offset: int, into: np.ndarray) -> np.ndarray:
        rest = into.data.cast("B")
        while len(rest):  # Linux gives at most 2 GiB a call, macOS refuses to be asked for more
            got = os.preadv(descriptor, [rest[: 1 << 30]], offset)
            if not got:
                raise _damaged(self._path)
            rest, offset = rest[got:], offset + got
        return into


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise _damaged(path) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _damaged(path: Path) -> DataError:
    return DataError(
        f"The cache pool {path.parent.parent} lost slices while it was in use: start again, they will be made again."
    )


def _runs(index: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) places of runs of neighbouring numbers."""
    first = 0
    for place in range(1, len(index) + 1):
        if place == len(index) or index[place] != index[place - 1] + 1:
            yield first, place
            first = place


def stored_size(depth: int, shape: Sequence[int], bits: Bits) -> int:
    """Return the bytes of a stack's file."""
    return depth * (12 + math.prod(shape) * stored_dtype(bits).itemsize)


def write_stack(path: Path, stack: LazyStack | Stack, bits: Bits) -> bool:
    """Write and sync a stack's file, a few slices at a time; return whether every value comes back as it was.

    Args:
        path: the file; made with mode 0600, an older one is replaced.
        bits: that its values are rounded to.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(np.ascontiguousarray(stack.position.numpy(), np.float32).tobytes())
        for start in range(0, len(stack.position), _PART):
            chosen = range(start, min(start + _PART, len(stack.position)))
            part = stack.pixels(chosen) if isinstance(stack, LazyStack) else stack.pixels[start : chosen.stop]
            stored = encode(part.contiguous(), bits)
            if not torch.equal(decode(stored, bits), part):
                return False
            file.write(np.ascontiguousarray(stored).tobytes())
        file.flush()
        os.fsync(file.fileno())
    return True
