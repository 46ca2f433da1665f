"""Evaluation mode for a while: every module's own mode is put back, frozen ones included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch import nn

_LOCK = Lock()
_HELD: dict[nn.Module, list[bool]] = {}  # the mode that each who holds a module found it in


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode; of several that hold it, in any threads, the last to end puts its mode back.

    Example:
        >>> net = nn.Sequential(nn.Dropout())
        >>> with evaluating(net):
        ...     print(net[0].training)
        False
        >>> net[0].training
        True
    """
    modules = list(model.modules())
    with _LOCK:
        for module in modules:
            _HELD.setdefault(module, []).append(module.training)
        model.eval()
    try:
        yield
    finally:
        with _LOCK:
            for module in modules:
                mode = _HELD[module].pop()  # the first is the last to go
                if not _HELD[module]:
                    del _HELD[module]
                    module.training = mode
