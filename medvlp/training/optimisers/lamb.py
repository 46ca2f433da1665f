"""LAMB (You et al. 2020): Adam's step of each tensor as long as the tensor, for batches of thousands."""

from __future__ import annotations

from typing import Annotated, Any

import torch

from medvlp.core.registry import FromModel


def lamb(
    *,
    groups: Annotated[list[dict[str, Any]], FromModel("groups")],
    rate: Annotated[float, FromModel("rate")],
    betas: Annotated[tuple[float, float], FromModel("betas")],
    eps: Annotated[float, FromModel("eps")],
) -> torch.optim.Optimizer:
    """Return timm's LAMB, without its clipping: gradients are clipped for all optimisers alike.

    Args:
        groups, rate, betas, eps: as of `adamw`.

    Example:
        >>> module = torch.nn.Linear(2, 1)
        >>> lamb(groups=[{"params": [module.weight]}], rate=1e-3, betas=(0.9, 0.98), eps=1e-6).defaults["lr"]
        0.001
    """
    from timm.optim import Lamb

    return Lamb(groups, lr=rate, betas=betas, eps=eps, max_grad_norm=None)
