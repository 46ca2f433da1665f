"""BatchNorm over the rows of all processes, with exact gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp.core import collectives


class RowBatchNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * weight + bias, with statistics over all rows of all processes while training.

    Rows are gathered by the engine's own collective: statistics and gradients are those of one process with the whole
    batch. Rows without a sample (a bank, a stand-in) take the running statistics and give none.

    Args:
        width: W.
        momentum: weight of the newest statistics in the running ones.
        eps: added to the variance.

    Example:
        >>> norm = RowBatchNorm(1)
        >>> norm(torch.tensor([[1.0], [3.0]]), torch.arange(2)).round(decimals=3).flatten().tolist()
        [-1.0, 1.0]
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, values: Tensor, owner: Tensor) -> Tensor:
        """Normalise (R, W) or (R, N, W); `owner` (R,) is the sample of each row, -1 for rows without one."""
        if not self.training or (collectives.world_size() == 1 and bool((owner < 0).all())):
            return self._normalise(values, self.running_mean, self.running_var)
        own = values if bool((owner >= 0).all()) else values[owner >= 0]
        rows = collectives.gather_rows(own.reshape(-1, values.shape[-1]))
        if rows.shape[0] < 2:
            return self._normalise(values, self.running_mean, self.running_var)
        mean, var = rows.mean(dim=0), rows.var(dim=0, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(var.detach() * rows.shape[0] / (rows.shape[0] - 1), self.momentum)
        normed = self._normalise(values, mean, var)
        if bool((owner >= 0).all()):
            return normed
        keep = (owner >= 0).view(-1, *[1] * (values.dim() - 1))
        return torch.where(keep, normed, self._normalise(values, self.running_mean, self.running_var))

    def _normalise(self, values: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return (values - mean) * (var + self.eps).rsqrt() * self.weight + self.bias
