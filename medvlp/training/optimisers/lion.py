"""Lion (Chen et al. 2023): steps by the sign of a momentum, at a rate three to ten times lower than AdamW's."""

from __future__ import annotations

from typing import Annotated, Any

import torch

from medvlp.core.registry import FromModel


def lion(
    *,
    groups: Annotated[list[dict[str, Any]], FromModel("groups")],
    rate: Annotated[float, FromModel("rate")],
    betas: Annotated[tuple[float, float], FromModel("betas")],
) -> torch.optim.Optimizer:
    """Return timm's Lion; with the lower rate goes as much more weight decay.

    Args:
        groups, rate, betas: as of `adamw`.

    Example:
        >>> module = torch.nn.Linear(2, 1)
        >>> lion(groups=[{"params": [module.weight]}], rate=1e-4, betas=(0.9, 0.99)).defaults["lr"]
        0.0001
    """
    from timm.optim import Lion

    return Lion(groups, lr=rate, betas=betas)
