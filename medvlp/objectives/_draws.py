"""From numbers drawn for a row to some of its columns, or to normal ones."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import collectives


def drawn(mask: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Turn draws in [0, 1) into columns of a mask, each as likely as the others, with replacement.

    Args:
        mask: bool (R, C).
        draws: (R, n).

    Returns:
        (R, n) indices, and (R,) whether the row has a column at all.
    """
    up_to = mask.cumsum(dim=1)
    count = mask.sum(dim=1, keepdim=True)
    wanted = torch.minimum((draws * count).long(), (count - 1).clamp(min=0)) + 1
    index = torch.searchsorted(up_to, wanted).clamp(max=max(mask.shape[1] - 1, 0))
    return index, count[:, 0] > 0


def normal(draws: Tensor) -> Tensor:
    """Turn draws in [0, 1) into standard normal ones, float64 where the device has it.

    Draws are multiples of 2^-24 from 0 on; half a step further none has an infinite normal quantile.

    Example:
        >>> normal(torch.tensor([0.0, 0.5, 0.975])).round(decimals=2).tolist()
        [-5.42, 0.0, 1.96]
    """
    if collectives.widest(draws.device) != torch.float64:
        return normal(draws.cpu()).float().to(draws.device)
    return torch.special.ndtri(draws.double() + 2.0**-25)
