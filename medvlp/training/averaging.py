"""Weights that an optimiser averages as it trains: the average is validated, released and handed to other phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from medvlp.training._parts import held_as

# The slot of an optimiser that averages: z, where y = (1 - beta) z + beta x is trained and x is the average of all z.
ITERATE = "iterate"


@torch.no_grad()
def take_averages(root: nn.Module, moments: Mapping[str, Tensor], beta: float, *, trained_too: bool = True) -> None:
    """Let parameters hold their averages, x = y + (1 - 1 / beta) (z - y); those that have none stay as they are.

    Args:
        root: whose parameters.
        moments: as `optimiser_state` gives them.
        beta: the average's share in the weights that are trained.
        trained_too: whether also those do that still require a gradient.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 1.0)
        >>> take_averages(layer, {"weight|iterate": torch.zeros(1, 1)}, beta=0.5)
        >>> layer.weight.item()
        2.0
    """
    for name, parameter in root.named_parameters():
        iterate = moments.get(f"{name}|{ITERATE}")
        if iterate is not None and (trained_too or not parameter.requires_grad):
            parameter.lerp_(held_as(iterate, parameter), 1 - 1 / beta)


@contextmanager
def averaged(optimiser: torch.optim.Optimizer) -> Iterator[None]:
    """Context manager: parameters hold the averages that an optimiser has of them, and then their own values again."""
    pairs = [
        (parameter, 1 - 1 / group["betas"][0], optimiser.state[parameter][ITERATE])
        for group in optimiser.param_groups
        for parameter in group["params"]
        if ITERATE in optimiser.state.get(parameter, {})
    ]
    before = [parameter.detach().clone() for parameter, _, _ in pairs]
    with torch.no_grad():
        for parameter, beyond, iterate in pairs:
            parameter.lerp_(iterate, beyond)
    try:
        yield
    finally:
        with torch.no_grad():
            for (parameter, _, _), own in zip(pairs, before, strict=True):
                parameter.copy_(own)
