"""Muon (Jordan et al. 2024): the momentum of a matrix made orthogonal, so that all its directions are learnt alike."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.distributed.tensor import DTensor

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel


def muon(
    *,
    groups: Annotated[list[dict[str, Any]], FromModel("groups")],
    rate: Annotated[float, FromModel("rate")],
    betas: Annotated[tuple[float, float], FromModel("betas")],
    module: Annotated[nn.Module, FromModel("module")],
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95,
) -> torch.optim.Optimizer:
    """Return timm's Muon, whose steps are as long as AdamW's at the same rate (Liu et al. 2025, section 2.2).

    Matrices and kernels of convolutions, as matrices of one row an output, go by five steps of Newton and Schulz.
    What has no weight decay (vectors, learnt positions), tables of words, and matrices with fewer than four rows or
    columns go by AdamW.

    Args:
        groups, rate: as of `adamw`.
        betas: of AdamW.
        module: what the parameters are of.
        momentum: of matrices.

    Raises:
        ConfigError: where processes hold matrices in parts.

    Example:
        >>> module = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8, bias=False))
        >>> group = {"params": list(module.parameters()), "names": ["words", "layer"], "spared": False}
        >>> made = muon(groups=[group], rate=1e-3, betas=(0.9, 0.98), module=module)
        >>> [(group["names"], group["use_fallback"]) for group in made.param_groups]
        [(['layer'], False), (['words'], True)]
    """
    from timm.optim import Muon

    if any(isinstance(parameter, DTensor) for group in groups for parameter in group["params"]):
        raise ConfigError("Optimiser 'muon' needs whole matrices, and training.parallel is fsdp: set ddp, or adamw.")
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    made = []
    for group in groups:
        pairs = [*zip(group["params"], group["names"], strict=True)]
        for table in (False, True):
            own = [(parameter, name) for parameter, name in pairs if (id(parameter) in tables) == table]
            if own:
                params, names = zip(*own, strict=True)
                by_adam = table or group["spared"]
                made.append({**group, "params": [*params], "names": [*names], "use_fallback": by_adam})
    return Muon(made, lr=rate, betas=betas, momentum=momentum)
