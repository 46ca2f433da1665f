"""Equal shares: scores become assignments in which every column gets the same part of all rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medvlp.core.encoded import promoted


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Return the assignment nearest to exp(scores / epsilon) whose columns share the rows alike (Sinkhorn and Knopp).

    Each iteration scales the columns to R / K and then the rows to 1, so rows always sum to 1 and columns come near
    R / K. Carried out on two vectors of factors, and on logarithms where exp(scores / epsilon) would be beyond float32.

    Args:
        scores: (R, K), of all rows of all processes.
        epsilon: smoothness; towards 0 each row goes to one column.
        iterations: how often; 3 in the papers.

    Returns:
        (R, K) float32 (float64 of float64), without gradient.

    References:
        Caron et al. 2020 (SwAV), algorithm 1; Cuturi 2013.

    Example:
        >>> sinkhorn(torch.tensor([[1.0, 0.9], [1.0, 0.0]]), iterations=50).round(decimals=1).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    rows, columns = scores.shape
    wide = promoted(scores)
    if rows == 0 or columns == 0 or not iterations:
        return (wide / epsilon).softmax(dim=1)
    least, most = wide.aminmax(dim=0)
    if ((most - least) / epsilon).amax() < _FAR:
        # A factor of a column changes nothing, as columns are scaled first.
        shares = torch.add(-most / epsilon, wide, alpha=1 / epsilon).exp_()
        of_row, of_column = wide.new_ones(rows), wide.new_ones(columns)
        for _ in range(iterations):
            of_column = (rows / columns) / (of_row @ shares)
            of_row = 1 / (shares @ of_column)
        return shares.mul_(of_row[:, None]).mul_(of_column)
    log, share = wide / epsilon, math.log(rows / columns)
    for _ in range(iterations):
        log = log - log.logsumexp(dim=0, keepdim=True) + share
        log = log - log.logsumexp(dim=1, keepdim=True)
    return log.exp()


_FAR = 60.0  # factors of rows and columns whose entries lie nearer than this stay far within float32
