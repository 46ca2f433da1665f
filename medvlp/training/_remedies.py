"""What is said when a step fails for want of memory, a deterministic kernel, or of something that torch compiled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from medvlp.training._batch_norm import tracking_norms
from medvlp.training.options import TrainingOptions
from medvlp.training.phases import PhasePlan
from medvlp.training.recompute import drawing


def remedy(error: RuntimeError, root: nn.Module, options: TrainingOptions, phases: Sequence[PhasePlan]) -> str | None:
    """Return what went wrong in a step and how to go on; None for what only its own message can tell."""
    # The processor's allocator has no exception of its own.
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return _of_memory(root, options, phases)
    if "does not have a deterministic implementation" in str(error):
        return (
            f"training.deterministic is on, and torch has no such kernel of {str(error).split()[0]} on this device, "
            "which a step of this recipe calls: leave it out."
        )
    if options.compile:
        from torch._dynamo.exc import TorchDynamoException

        if isinstance(error, TorchDynamoException):
            return (
                f"torch could not compile a block of a tower ({str(error).strip().splitlines()[0]}): empty its cache "
                "(the folder TORCHINDUCTOR_CACHE_DIR, by default torchinductor_USER among temporary files), which a "
                "killed compiler leaves damaged, and resume; or leave training.compile out."
            )
    return None


def _of_memory(root: nn.Module, options: TrainingOptions, phases: Sequence[PhasePlan]) -> str:
    gradients = (
        "its BatchNorm layers then see smaller chunks, which changes the gradients"
        if tracking_norms(root)
        else "the gradients stay the same"
    )
    refused = options.recompute or any(drawing(phase.patches, phase.surgery) for phase in phases)
    return (
        f"Out of memory with training.batch {options.batch} in {options.chunks} chunks: set training.chunks="
        f"{options.chunks * 2} ({gradients}){'' if refused else ', or training.recompute=true,'} and resume."
    )
