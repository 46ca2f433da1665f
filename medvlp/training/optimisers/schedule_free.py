"""Schedule-free AdamW (Defazio et al. 2024): an average of the weights takes the place of a rate that falls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.training.averaging import ITERATE


def schedule_free(
    *,
    groups: Annotated[list[dict[str, Any]], FromModel("groups")],
    rate: Annotated[float, FromModel("rate")],
    betas: Annotated[tuple[float, float], FromModel("betas")],
    eps: Annotated[float, FromModel("eps")],
    schedule: Annotated[str, FromModel("schedule")],
) -> torch.optim.Optimizer:
    """Return an optimiser whose run may end at any step: nothing in it depends on how long it is.

    Gradients are taken at y, between the weights z that Adam's steps move and their average x; x is validated, released
    and what a phase with another optimiser starts from. It takes the memory of AdamW; rates from one to ten times as
    high are its authors'. Running statistics of batch normalisation are those of y.

    Args:
        groups, rate, eps: as of `adamw`.
        betas: share of x in y, above 0 (0.9, or 0.98 for long runs), and decay rate of the second moment.
        schedule: of the configuration.

    Raises:
        ConfigError: with a schedule other than constant, or a first beta of 0.

    Example:
        >>> layer = torch.nn.Linear(2, 1)
        >>> group = {"params": [layer.weight]}
        >>> schedule_free(groups=[group], rate=0.01, betas=(0.9, 0.98), eps=1e-8, schedule="constant").defaults["lr"]
        0.01
    """
    if schedule != "constant":
        raise ConfigError(f"Optimiser 'schedule_free' takes the place of schedule {schedule!r}: set it to constant.")
    if not betas[0]:
        raise ConfigError("betas of optimiser 'schedule_free' begin with 0, the average's share: use 0.9, or 0.98.")
    return _ScheduleFree(groups, {"lr": rate, "betas": betas, "eps": eps, "weight_decay": 0.0})


class _ScheduleFree(torch.optim.Optimizer):
    """Algorithm 1 with Adam's scaling: z -= rate (g / root of v + decay y); x moves to z by rate^2 / sum of rate^2."""

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        super().__init__(groups, {**defaults, "step": 0, "weight": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            rate, (beta, decay) = group["lr"], group["betas"]
            group["step"] = steps = int(group["step"]) + 1
            group["weight"] = weight = float(group["weight"]) + rate**2
            share = rate**2 / weight if weight else 0.0
            trained = [p for p in group["params"] if p.grad is not None]
            if not trained:
                continue
            for parameter in trained:
                if ITERATE not in self.state[parameter]:
                    square = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                    self.state[parameter] = {ITERATE: parameter.detach().clone(), "exp_avg_sq": square}
            gradients = [p.grad for p in trained]
            iterates = [self.state[p][ITERATE] for p in trained]
            squares = [self.state[p]["exp_avg_sq"] for p in trained]
            torch._foreach_mul_(squares, decay)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - decay)
            roots = torch._foreach_sqrt(squares)
            torch._foreach_div_(roots, (1 - decay**steps) ** 0.5)
            torch._foreach_add_(roots, group["eps"])
            moves = torch._foreach_div(gradients, roots)
            torch._foreach_add_(moves, trained, alpha=group["weight_decay"])
            # y = (1 - beta) z + beta x stays so where z moves by -rate m and x by a share of its way to the new z.
            torch._foreach_lerp_(trained, iterates, share)
            torch._foreach_add_(trained, moves, alpha=rate * (beta * (1 - share) - 1))
            torch._foreach_add_(iterates, moves, alpha=-rate)
        return loss
