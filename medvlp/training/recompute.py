"""Activation checkpointing: what the blocks of towers hold for the backward pass is computed again instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.models.patches._patch import Patch
from medvlp.models.surgery.learn_masks import Gates
from medvlp.training._batch_norm import repeated


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of all towers, as their sites name them; of a convolutional net its stages.

    The activation of a stem, which some nets count among them, is left out: it works in place.
    """
    towers = [each for each in model.modules() if isinstance(each, Encoder)]
    found = [site.module for tower in towers for name, site in tower.sites().items() if name.startswith("block.after[")]
    found = [block for block in found if next(block.parameters(), None) is not None]
    return list({id(block): block for block in found}.values())  # a shared trunk has each of its blocks once


def recomputable(model: nn.Module) -> list[nn.Module]:
    """Return `blocks_of` a model.

    Raises:
        ConfigError: if the model has patches, some of which know what batch they act on only while it is encoded, or
            gates that train, which are drawn for its rows.
    """
    return unpatched_blocks(model, "recompute")


def drawing(patches: Sequence[Mapping[str, object]], surgery: Sequence[Mapping[str, object]]) -> str:
    """Return what of a phase draws inside towers, whose blocks must then run plainly, with its verb; else nothing."""
    gates = any(each.get("name") == "learn_masks" for each in surgery)
    return "patches do" if patches else "surgery learn_masks does" if gates else ""


def unpatched_blocks(model: nn.Module, option: str) -> list[nn.Module]:
    """Return `blocks_of` a model; with patches or gates that train the option is refused."""
    if any(isinstance(each, Patch) for each in model.modules()):
        raise ConfigError(f"training.{option} does not go with patches: leave one of them out.")
    if any(isinstance(each, Gates) and each.log_alpha.requires_grad for each in model.modules()):
        raise ConfigError(f"training.{option} does not go with the gates of learn_masks: leave it out, or freeze them.")
    return blocks_of(model)


@contextmanager
def recomputed(blocks: list[nn.Module]) -> Iterator[None]:
    """Context manager: the forward passes of blocks inside it keep their inputs only (Chen et al. 2016).

    In the backward pass each block runs once more, with the same draws and without moving statistics of BatchNorm: the
    gradients are the same bit for bit. A step takes about a third longer, and holds the inputs of blocks instead of all
    that is inside them.

    Example:
        >>> block, x = nn.Sequential(nn.Linear(2, 8), nn.GELU()), torch.ones(1, 2)
        >>> with recomputed([block]):
        ...     y = block(x)
        >>> y.sum().backward()
        >>> block[0].weight.grad is not None
        True
    """
    with run_as(blocks, [_again(block, block.forward) for block in blocks]):
        yield


@contextmanager
def run_as(blocks: Sequence[nn.Module], forwards: Sequence[Callable[..., Any]]) -> Iterator[None]:
    """Context manager: inside it blocks run other functions as their ``forward``; hooks and names stay."""
    before = [block.__dict__.get("forward") for block in blocks]
    for block, forward in zip(blocks, forwards, strict=True):
        block.forward = forward
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            del block.forward
            if own is not None:
                block.forward = own


def _again(block: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
    def passes() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), repeated(block)

    def forward(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if not torch.is_grad_enabled():
            return plain(*args, **options)
        around = copy_context()  # the neighbours of slices, say: the backward pass is outside it, on a GPU in a thread
        return checkpoint(around.run, plain, *args, use_reentrant=False, context_fn=passes, **options)

    return forward
