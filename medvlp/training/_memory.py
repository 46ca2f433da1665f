"""What is said when memory ran out."""

from __future__ import annotations

import torch
from torch import nn

from medvlp.training._batch_norm import tracking_norms
from medvlp.training.options import TrainingOptions


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out; the CPU's allocator has no exception of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def needs_chunks(root: nn.Module, options: TrainingOptions) -> str:
    """Say how to go on with less memory, and whether that changes the gradients."""
    gradients = (
        "its BatchNorm layers then see smaller chunks, which changes the gradients"
        if tracking_norms(root)
        else "the gradients stay the same"
    )
    return (
        f"Out of memory with training.batch {options.batch} in {options.chunks} chunks: set "
        f"training.chunks={options.chunks * 2} ({gradients}), or training.recompute=true, and resume."
    )
