"""What steps cost in seconds and memory, as a function of the number of samples, measured on a few small batches."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Cost:
    """``fixed + each n + pair n N``: of a step, of n own samples among N of all processes.

    Encoders cost the second, losses that compare everybody with everybody the third.

    Example:
        >>> cost = Cost.fitted([2, 4, 8], [12.0, 26.0, 78.0])
        >>> round(cost.of(16, 16), 3), round(cost.of(8, 16), 3)
        (278.0, 142.0)
    """

    fixed: float
    each: float
    pair: float

    @classmethod
    def fitted(cls, sizes: Sequence[int], values: Sequence[float]) -> Cost:
        """Return the cost, no part negative, that is nearest to what batches of some sizes cost on one process."""
        terms = np.array([[1.0, n, n * n] for n in sizes])
        scale = terms.max(axis=0)  # so that no part is lost by rounding
        found, _ = nnls(terms / scale, np.asarray(values, dtype=float))
        return cls(*(found / scale).tolist())

    def of(self, own: float, everybody: float) -> float:
        """Return the cost of a step."""
        return self.fixed + self.each * own + self.pair * own * everybody


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step, and bytes that it takes at its peak above what lies in memory between two steps."""

    seconds: Cost
    peak: Cost


def measure(step: Callable[[int], None], sizes: Sequence[int], *, device: torch.device, repeats: int = 3) -> StepCost:
    """Take steps of each size, one to warm up and some to measure.

    Args:
        step: (number of samples) -> takes a step.
        sizes: at least two, ascending.
        device: of the model.
        repeats: whose median seconds count.
    """
    step(sizes[-1])  # moments of the optimiser, libraries that choose an algorithm
    seconds, peaks = [], []
    for size in sizes:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            step(size)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
        seconds.append(median(times))
        peaks.append(peak_bytes(lambda size=size: step(size), device))
    return StepCost(Cost.fitted(sizes, seconds), Cost.fitted(sizes, peaks))


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return how much more memory tensors held at most during some work than before it.

    CUDA's allocator knows; elsewhere what each operator returns is counted until nobody holds it, without the room that
    an operator needs inside.

    Example:
        >>> peak_bytes(lambda: print(torch.zeros(256).add(1).sum().item()), torch.device("cpu"))
        256.0
        2048
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with _Allocated() as held:
        work()
    return held.peak


class _Allocated(TorchDispatchMode):
    """Counts the bytes of storages that operators made, until they are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        given = {each.untyped_storage().data_ptr() for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        found = func(*args, **(kwargs or {}))
        for each in tree_leaves(found):
            storage = each.untyped_storage() if isinstance(each, Tensor) else None
            if storage is not None and storage.data_ptr() not in given and storage not in self._known:
                self._known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return found

    def _gone(self, size: int) -> None:
        self.now -= size


def standing_bytes(root: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Return the bytes that lie in memory between two steps: weights, buffers and what the optimiser remembers.

    Example:
        >>> layer = nn.Linear(4, 4, bias=False)
        >>> standing_bytes(layer, torch.optim.AdamW(layer.parameters()))  # no step was taken yet
        64
    """
    remembered = [each for state in optimiser.state.values() for each in state.values() if isinstance(each, Tensor)]
    return sum(each.nbytes for each in (*root.parameters(), *root.buffers(), *remembered))
