"""Blocks of towers compiled by torch: fewer and larger kernels, for GPUs; a processor gains nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medvlp.core.errors import ConfigError
from medvlp.training.recompute import run_as, unpatched_blocks

_FORMS = 64  # compiled forms of one forward function: its blocks, with and without gradients, a last batch


def compilable(
    model: nn.Module, *, recompute: bool = False, backend: str | Callable[..., Any] = "inductor"
) -> Mapping[nn.Module, Callable[..., Any]]:
    """Return the blocks of all towers with their compiled ``forward``, which is made when it is first called.

    Each block is compiled by itself (regional compilation): equal ones share what was made, hooks and names of
    parameters stay, activation checkpointing goes around it and FSDP2 around that. Draws are those of plain blocks, and
    results agree with theirs to rounding.

    Args:
        model: as it is to train.
        recompute: whether the blocks are computed again for the backward pass.
        backend: of `torch.compile`.

    Raises:
        ConfigError: for a model with patches, without the compiler that the backend calls, or for BatchNorm that is
            computed again: its statistics move in the first pass only, so the second one would be compiled otherwise.

    Example:
        >>> model = nn.Linear(2, 2)  # no tower, so no block
        >>> dict(compilable(model, backend="aot_eager"))
        {}
    """
    blocks = unpatched_blocks(model, "compile")
    if recompute and any(isinstance(each, _BatchNorm) for block in blocks for each in block.modules()):
        raise ConfigError(
            "training.compile does not go with training.recompute where a tower has BatchNorm: leave one of them out, "
            "or let the tower have norm: group."
        )
    if backend == "inductor" and blocks:
        _refuse_without_compiler(next(blocks[0].parameters()).device)
    options: dict[str, Any] = {"options": {"fallback_random": True}} if backend == "inductor" else {}
    return {block: torch.compile(block.forward, backend=backend, **options) for block in blocks}


@contextmanager
def compiled(blocks: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Context manager: inside it `compilable` blocks run what was compiled."""
    if not blocks:
        yield
        return
    import torch._dynamo.config as limits

    # Blocks of one class have one function; of more forms than this of it the rest would run plain, with a warning.
    with limits.patch(cache_size_limit=_FORMS), run_as(list(blocks), list(blocks.values())):
        yield


def _refuse_without_compiler(device: torch.device) -> None:
    if device.type == "cpu" and not any(shutil.which(each) for each in (os.environ.get("CXX", ""), "g++", "clang++")):
        raise ConfigError("training.compile needs a C++ compiler on a processor: install g++ (or name one in CXX).")
    if device.type == "cuda" and find_spec("triton") is None:
        raise ConfigError("training.compile needs triton on a GPU, which torch brings on Linux: pip install triton.")
