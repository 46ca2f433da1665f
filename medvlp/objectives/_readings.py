"""The readings of several positives in one row of a score matrix: its loss, and whether it has one."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.objectives._masked_softmax import CrossEntropy, any_of, count_of, masked_logsumexp, masked_mean
from medvlp.objectives._rowwise import check_target

Reading = Literal["shared", "any", "each"]


def losses_of(
    z: Tensor, target: Tensor, exclude: Tensor | None, reading: Reading, positive_in_denominator: bool, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the (R,) losses, and which rows have one."""
    allowed = None if exclude is None else ~exclude
    if not (target.dtype == torch.bool or target.dtype.is_floating_point):
        positive, share, several = *_index(z, target.long(), allowed), False
    elif target.dtype == torch.bool:
        check_target(z, target)
        positive = target if allowed is None else target & allowed
        share, several = count_of(positive), reading != "shared"
        share = (share > 0) / share.clamp(min=1).to(z.dtype)
    else:
        if reading != "shared" or not positive_in_denominator:
            raise ValueError(
                f"A distribution as target has no negatives, so positives={reading!r} with "
                f"positive_in_denominator={positive_in_denominator} is not defined: use 'shared' and True."
            )
        positive, share, several = *_distribution(z, target.to(z.dtype), allowed), False
    valid = share.detach() > 0
    if positive_in_denominator and not several:
        return CrossEntropy.apply(z, positive, share, allowed, allowed, smoothing), valid
    negative = torch.ones_like(z, dtype=torch.bool) if allowed is None else allowed
    negative = negative & ~target if target.dim() > 1 else negative.scatter(1, positive, False)
    if not positive_in_denominator:
        valid = valid & any_of(negative)
    within = allowed if positive_in_denominator else negative
    if not several or (reading == "each" and not positive_in_denominator):
        return CrossEntropy.apply(z, positive, share, within, allowed, smoothing), valid
    z = z if exclude is None else torch.where(exclude, 0.0, z)  # an inf or NaN there, whose gradient would be NaN
    denominator = masked_logsumexp(z, within)
    if reading == "any":
        loss = denominator - masked_logsumexp(z, positive)
    else:
        # log(exp z + exp n) - z = -log sigmoid(z - n), exact for both signs; without negatives nothing is lost.
        against = -F.logsigmoid(z - masked_logsumexp(z, negative)[:, None])
        loss = torch.where(any_of(negative), torch.where(positive, against, 0.0).sum(dim=1) * share, 0.0)
    if smoothing:
        loss = (1 - smoothing) * loss + smoothing * (denominator - masked_mean(z, allowed))
    return loss, valid


def _index(z: Tensor, target: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the columns of positives, (R, 1), and 1 for each row that has one."""
    if target.shape != z.shape[:1]:
        raise ValueError(f"An index target is (R,) = {tuple(z.shape[:1])}, not {tuple(target.shape)}.")
    column = target.clamp(min=0)[:, None]
    valid = target >= 0
    return column, (valid if allowed is None else valid & allowed.gather(1, column)[:, 0]).to(z.dtype)


def _distribution(z: Tensor, target: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what of a distribution is allowed, (R, C), and what scales its rows to sum to 1; 0 of none."""
    check_target(z, target)
    mass = target.sum(dim=1)
    if bool(((((mass - 1).abs() > 1e-3) & (mass != 0)) | (target.amin(dim=1) < 0)).any()):
        raise ValueError("A distribution as target has rows that sum to 1 (or to 0 for none) and no negative entry.")
    if allowed is not None:
        target = torch.where(allowed, target, 0.0)
        mass = target.sum(dim=1)
    return target, torch.where(mass > 0, 1 / torch.where(mass > 0, mass, 1.0), 0.0)
