"""How worker processes send tensors: small ones as they are, large ones in shared memory that is written again.

Fresh shared memory is zeroed and mapped page by page, which takes several times as long as to write a batch into it.
"""

from __future__ import annotations

import ctypes
import math
import os
import weakref
from itertools import count
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, UntypedStorage
from torch.multiprocessing.reductions import reduce_tensor

from medvlp.core.processes import leave_signals_to_parent

_SENT_BYTES = 64 << 10  # of a tensor that is sent as it is
_BLOCKS = 256  # of a worker; while all are in use, a tensor takes shared memory of its own

_Bytes: TypeAlias = "ctypes.Array[ctypes.c_ubyte]"

_receivers: weakref.WeakValueDictionary[int, SharedBlocks] = weakref.WeakValueDictionary()
_numbers = count()


class SharedBlocks:
    """The shared memory in which the workers of a loader send; each block belongs to one worker.

    Made by the process that receives, which keeps it while it does. A block is written again when no tensor that was
    received in it is left, views included.

    Args:
        workers: how many there will be.
    """

    def __init__(self, workers: int) -> None:
        self._number, self._process = next(_numbers), os.getpid()
        self._left = torch.zeros(workers, _BLOCKS, dtype=torch.int64).share_memory_()  # last use that nobody needs
        self._mapped: dict[tuple[int, int], UntypedStorage] = {}
        _receivers[self._number] = self

    def begin(self, worker: int) -> None:
        """In a worker: send tensors so from now on, compute on one thread, and leave signals to the parent."""
        torch.set_num_threads(1)
        leave_signals_to_parent()
        left, uses = self._left[worker].numpy(), np.zeros(_BLOCKS, np.int64)
        blocks: list[UntypedStorage] = []

        def send(tensor: Tensor) -> tuple[Any, ...]:
            size = tensor.nbytes
            if size <= _SENT_BYTES or tensor.requires_grad or not tensor.is_contiguous():
                return _sent(tensor)
            free = np.flatnonzero(left[: len(blocks)] == uses[: len(blocks)]).tolist()
            if not free and len(blocks) == _BLOCKS:
                return _sent(tensor)
            fitting = [at for at in free if size <= blocks[at].nbytes() <= 2 * size]
            at, fresh = next(iter(fitting or free), len(blocks)), None
            if not fitting:
                fresh = UntypedStorage._new_shared(size)
                blocks[at : at + 1] = [fresh]
            _tensor(_bytes(blocks[at], size), tensor.dtype, tensor.shape).copy_(tensor)
            uses[at] += 1
            return _received, (self._number, worker, at, int(uses[at]), fresh, tensor.dtype, tensor.shape)

        ForkingPickler.register(Tensor, send)

    def receive(self, worker: int, at: int, use: int, fresh: UntypedStorage | None, size: int) -> _Bytes:
        """Return what a worker has written in a block, which it may write again when these bytes are deleted."""
        storage = self._mapped[worker, at] = self._mapped[worker, at] if fresh is None else fresh
        found, left, process = _bytes(storage, size), self._left.numpy(), self._process

        def leave(_: UntypedStorage) -> None:
            if os.getpid() == process:  # one that was forked meanwhile has tensors of its own on this block
                left[worker, at] = use

        weakref.finalize(found, leave, storage).atexit = False  # which also keeps it mapped
        return found


def send_small_tensors() -> None:
    """In a worker of few large tensors: send small ones as they are, and larger ones in shared memory of their own."""
    ForkingPickler.register(Tensor, _sent)


def _sent(tensor: Tensor) -> tuple[Any, ...]:
    # Shared memory takes a file and a connection each, more than a small tensor is worth.
    small = tensor.nbytes <= _SENT_BYTES and tensor.dtype != torch.bfloat16
    return (torch.from_numpy, (tensor.numpy(),)) if small else reduce_tensor(tensor)


def _received(
    number: int, worker: int, at: int, use: int, fresh: UntypedStorage | None, dtype: torch.dtype, shape: torch.Size
) -> Tensor:
    size = math.prod(shape) * dtype.itemsize
    return _tensor(_receivers[number].receive(worker, at, use, fresh, size), dtype, shape)


def _bytes(storage: UntypedStorage, size: int) -> _Bytes:
    return (ctypes.c_ubyte * size).from_address(storage.data_ptr())


def _tensor(memory: _Bytes, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    return torch.frombuffer(memory, dtype=dtype).view(shape)
