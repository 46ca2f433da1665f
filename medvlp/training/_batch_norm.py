"""BatchNorm in towers: what a training step leaves in the running statistics, whatever its chunks and processes.

BatchNorm makes a row's output depend on the rows beside it, so with several chunks or processes the gradient is that of
chunks that were normalised each for itself. What can be exact is here: running statistics move once a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medvlp.core import collectives


def tracking_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers whose running statistics a forward pass would move.

    Example:
        >>> len(tracking_norms(nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval())))
        1
    """
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.running_mean is not None]


@contextmanager
def untracked(module: nn.Module) -> Iterator[None]:
    """Let forward passes normalise as in training and move no running statistics: passes that only look ahead.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with untracked(norm):
        ...     norm(torch.tensor([[1.0], [3.0]])).flatten().round().tolist(), norm.running_mean.item()
        ([-1.0, 1.0], 0.0)
    """
    norms = [norm for norm in tracking_norms(module) if norm.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def repeated(module: nn.Module) -> Iterator[None]:
    """Let forward passes do what they did before, tensor for tensor, and move no running statistics again.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with repeated(norm):
        ...     _ = norm(torch.tensor([[1.0], [3.0]]))
        >>> norm.running_mean.item(), norm.num_batches_tracked.item(), norm.momentum
        (0.0, 0, 0.1)
    """
    norms = [norm for norm in tracking_norms(module) if norm.track_running_stats]
    before = [(norm.momentum, _buffer(norm, "num_batches_tracked").clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, moves) in zip(norms, before, strict=True):
            norm.momentum = momentum
            _buffer(norm, "num_batches_tracked").copy_(moves)


@contextmanager
def moved_once(module: nn.Module) -> Iterator[None]:
    r"""Move running statistics once by all tracked forward passes inside, over all processes.

    With n_c values a channel in pass c, their mean m_c and variance v_c (over n_c - 1), and N = sum n_c, a layer's
    running mean and variance follow, with its momentum,

        m = sum n_c m_c / N,    v = (sum (n_c - 1) v_c + n_c (m_c - m)^2) / (N - 1)

    the mean and variance of all its inputs together: for a tower's first layer exactly what one pass over all rows
    does; later layers have inputs that were normalised pass by pass. A layer without any input stays as it was. The
    statistics are the same on every process. All processes must enter it.
    """
    layers = [_Layer(norm) for norm in tracking_norms(module) if norm.track_running_stats]
    done = False
    try:
        yield
        done = True
    finally:
        for layer in layers:
            layer.close()
        if done and layers:
            sums = collectives.total(torch.cat([layer.sums for layer in layers], dim=1))  # one message for all
            for layer, own in zip(layers, sums.split([len(layer.mean) for layer in layers], dim=1), strict=True):
                layer.move(own)


class _Layer:
    """One BatchNorm during a step: with momentum 1 it leaves the statistics of each pass, which are summed up here."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm
        self.momentum = norm.momentum
        self.mean, self.var, self.moves = (_buffer(norm, name).clone() for name in _BUFFERS)
        # Number of values a channel, their sum and sum of squares about the running mean that all processes share.
        self.sums = torch.zeros(3, len(self.mean), dtype=collectives.widest(self.mean.device), device=self.mean.device)
        norm.momentum = 1.0
        self._hook = norm.register_forward_hook(self._add)

    def _add(self, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not (norm.training and self.norm.track_running_stats and self.norm.momentum):
            return  # a pass that looks ahead, or is repeated
        count = inputs[0].numel() // inputs[0].shape[1]
        mean, var = (_buffer(self.norm, name).to(self.sums.dtype) for name in _BUFFERS[:2])
        off = mean - self.mean
        self.sums += torch.stack([torch.full_like(off, count), count * off, (count - 1) * var + count * off**2])

    def close(self) -> None:
        self._hook.remove()
        self.norm.momentum = self.momentum
        for name, before in zip(_BUFFERS, (self.mean, self.var, self.moves), strict=True):
            _buffer(self.norm, name).copy_(before)

    def move(self, sums: Tensor) -> None:
        count, first, second = sums
        moved = count > 1
        count = count.clamp(min=2)
        self.norm.num_batches_tracked += moved[0].long()  # pyrefly: ignore
        share = 1 / self.norm.num_batches_tracked.clamp(min=1) if self.momentum is None else self.momentum  # pyrefly: ignore
        new = (self.mean + first / count, (second - first**2 / count) / (count - 1))
        for name, before, now in zip(_BUFFERS, (self.mean, self.var), new, strict=False):
            _buffer(self.norm, name).copy_(torch.where(moved, (1 - share) * before + share * now, before))


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Return what a forward pass changes: the running statistics of BatchNorm, wherever they are."""
    return [tensor for name, tensor in module.named_buffers() if name.rpartition(".")[2] in _BUFFERS]


_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def _buffer(norm: nn.Module, name: str) -> Tensor:
    return norm.get_buffer(name)
