"""AdamW (Loshchilov and Hutter 2019): Adam with its weight decay beside the gradient."""

from __future__ import annotations

from typing import Annotated, Any

import torch

from medvlp.core.registry import FromModel


def adamw(
    *,
    groups: Annotated[list[dict[str, Any]], FromModel("groups")],
    rate: Annotated[float, FromModel("rate")],
    betas: Annotated[tuple[float, float], FromModel("betas")],
    eps: Annotated[float, FromModel("eps")],
) -> torch.optim.Optimizer:
    """Return torch's AdamW, which updates all tensors of a group in one kernel.

    Args:
        groups: parameters, each group with its weight decay.
        rate: peak learning rate.
        betas: decay rates of the moments.
        eps: added to the root of the second moment.

    Example:
        >>> module = torch.nn.Linear(2, 1)
        >>> adamw(groups=[{"params": [module.weight]}], rate=1e-3, betas=(0.9, 0.98), eps=1e-8).defaults["lr"]
        0.001
    """
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=eps, fused=True)
