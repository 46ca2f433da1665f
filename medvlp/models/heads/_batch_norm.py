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
    """

    running_mean: Tensor
    running_var: Tensor
    momentum, eps = 0.1, 1e-5  # as torch's: the weight of the newest statistics, and what is added to the variance

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, values: Tensor, owner: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise (R, W), or (R, N, W) real where `mask` (R, N) is; `owner` (R,) is a row's sample, or -1."""
        if not self.training:
            return self._normalise(values, self.running_mean, self.running_var)
        real = owner >= 0 if mask is None else (owner >= 0)[:, None] & mask
        every = bool(real.all())
        own = values if every else values[real]
        rows = collectives.gather_rows(own.reshape(-1, values.shape[-1]))
        if rows.shape[0] < 2:
            return self._normalise(values, self.running_mean, self.running_var)
        mean, var = rows.mean(dim=0), rows.var(dim=0, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(var.detach() * rows.shape[0] / (rows.shape[0] - 1), self.momentum)
        normed = self._normalise(values, mean, var)
        if every:
            return normed
        keep = real.view(*real.shape, *[1] * (values.dim() - real.dim()))
        return torch.where(keep, normed, self._normalise(values, self.running_mean, self.running_var))

    def _normalise(self, values: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return (values - mean) * (var + self.eps).rsqrt() * self.weight + self.bias
