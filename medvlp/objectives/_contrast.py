"""The primitive that most methods are made of: cross entropy over a masked score matrix, as (sum, count).

Everything goes through logsumexp in float32 (float64 stays). Masks are applied before the logsumexp, and a row without
any admissible column is evaluated on zeros instead, so that no -inf - -inf can turn into a NaN gradient.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from medvlp.core.term import Term
from medvlp.objectives._similarity import Similarity

Reading = Literal["shared", "any", "each"]


def contrast(
    scores: Tensor | Similarity,
    target: Tensor,
    *,
    exclude: Tensor | None = None,
    positives: Reading = "shared",
    positive_in_denominator: bool = True,
    row_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Term:
    r"""Sum over rows of the cross entropy between a target and the softmax of the scores.

    With z the scores of a row, A its columns that are not excluded, P its positives within A, N = A \ P and
    lse_S the logsumexp over S, the reading of several positives is

    - ``shared``: sum_j q_j (lse_A - z_j), with q uniform over P or the given distribution (SupCon's L_out);
    - ``any``: lse_A - lse_P, minus the log of the positives' summed probability;
    - ``each``: mean over j in P of log(exp z_j + sum_N exp z) - z_j, each positive against the negatives only.

    Without the positive in the denominator (decoupled contrast) lse_A, and exp z_j in ``each``, give way to lse_N.
    Smoothing by e gives (1 - e) reading + e mean over A of (lse - z), lse over A or N as above. With one positive the
    readings are one, and with C = R and ``target = arange`` they are the ordinary cross entropy.

    Args:
        scores: (R, C), already scaled; or a `Similarity`.
        target: int (R,): the positive's column, negative for none; bool (R, C): positives; float (R, C): a distribution
            a row, rows sum to 1 or to 0 for none.
        exclude: bool (R, C): columns that leave the numerator and the denominator of a row; what is left of a
            distribution is scaled back to sum to 1.
        positives: the reading.
        positive_in_denominator: False is decoupled contrastive learning.
        row_weight: (R,), not negative.
        label_smoothing: e in [0, 1), spread over the columns that are not excluded.

    Returns:
        Term: a row without positive, without weight or, decoupled, without negative adds nothing to sum and count.

    Raises:
        ValueError: if shapes disagree, a distribution does not sum to 1 or is read otherwise than ``shared``.

    References:
        van den Oord et al. 2018 (InfoNCE); Khosla et al. 2020, eq. 2 (shared), eq. 3 less log |P| (any);
        Yeh et al. 2022 (decoupled contrastive learning).

    Example:
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> term = contrast(scores, torch.tensor([0, -1]))
        >>> round(term.value().item(), 4), term.count.item()
        (0.1269, 1.0)
    """
    _check_options(positives, label_smoothing)
    z = _cleared(_matrix(scores), exclude, row_weight)
    allowed = None if exclude is None else ~exclude
    if target.dtype == torch.bool:
        loss, valid = _positives(z, target, allowed, positives, positive_in_denominator, label_smoothing)
    elif target.dtype.is_floating_point:
        if positives != "shared" or not positive_in_denominator:
            raise ValueError(
                f"A distribution as target has no negatives, so positives={positives!r} with "
                f"positive_in_denominator={positive_in_denominator} is not defined: use 'shared' and True."
            )
        loss, valid = _distribution(z, target.to(z.dtype), allowed, label_smoothing)
    else:
        loss, valid = _index(z, target.long(), allowed, positive_in_denominator, label_smoothing)
    weight = valid.to(z.dtype)
    return Term.of(loss, weight if row_weight is None else weight * row_weight.to(z.dtype))


def sigmoid_contrast(
    scores: Tensor | Similarity, target: Tensor, *, exclude: Tensor | None = None, row_weight: Tensor | None = None
) -> Term:
    """Sum over rows and columns of -log sigmoid(y z), y = 1 for positives and -1 for the rest; count is rows.

    Args:
        scores: (R, C), already scaled and shifted; or a `Similarity`.
        target: bool (R, C), positives; a row without any is all negatives and counts.
        exclude: bool (R, C), pairs left out; a row with no pair left adds nothing to sum and count.
        row_weight: (R,), not negative.

    Raises:
        ValueError: if shapes disagree or the target is not boolean.

    References:
        Zhai et al. 2023 (SigLIP), section 3.2.

    Example:
        >>> sigmoid_contrast(torch.zeros(2, 2), torch.eye(2, dtype=torch.bool)).value().item()  # 2 log 2
        1.3862943649291992
    """
    z = _cleared(_matrix(scores), exclude, row_weight)
    _check_target(z, target)
    if target.dtype != torch.bool:
        raise ValueError(f"The target of sigmoid_contrast is bool (R, C), not {target.dtype}.")
    weight = z.new_full(z.shape[:1], 1.0 if z.shape[1] else 0.0)
    loss = -F.logsigmoid(torch.where(target, z, -z))
    if exclude is not None:
        loss = torch.where(exclude, 0.0, loss)
        weight = (~exclude).any(dim=1).to(z.dtype)
    return Term.of(loss.sum(dim=1), weight if row_weight is None else weight * row_weight.to(z.dtype))


# one function a kind of target: (R,) losses and which rows have one -------------------------------------------------


def _index(
    z: Tensor, target: Tensor, allowed: Tensor | None, positive_in_denominator: bool, smoothing: float
) -> tuple[Tensor, Tensor]:
    if target.shape != z.shape[:1]:
        raise ValueError(f"An index target is (R,) = {tuple(z.shape[:1])}, not {tuple(target.shape)}.")
    valid = target >= 0
    if not z.shape[1]:
        return z.sum(dim=1), torch.zeros_like(valid)
    column = target.clamp(min=0)[:, None]
    if allowed is not None:
        valid = valid & allowed.gather(1, column)[:, 0]
    if positive_in_denominator:
        denominator = z.logsumexp(dim=1) if allowed is None else _logsumexp(z, allowed)
    else:
        negative = torch.ones_like(z, dtype=torch.bool) if allowed is None else allowed
        negative = negative.scatter(1, column, False)
        valid = valid & negative.any(dim=1)
        denominator = _logsumexp(z, negative)
    loss = denominator - z.gather(1, column)[:, 0]
    return _smoothed(loss, z, allowed, denominator, smoothing), valid


def _positives(
    z: Tensor, target: Tensor, allowed: Tensor | None, reading: Reading, positive_in_denominator: bool, smoothing: float
) -> tuple[Tensor, Tensor]:
    _check_target(z, target)
    positive = target if allowed is None else target & allowed
    valid = positive.any(dim=1)
    if reading == "shared" and positive_in_denominator and not smoothing:
        return _CrossEntropy.apply(z, positive, allowed), valid
    negative = ~target if allowed is None else ~target & allowed
    if not positive_in_denominator:
        valid = valid & negative.any(dim=1)
        denominator = _logsumexp(z, negative)
    else:
        denominator = z.logsumexp(dim=1) if allowed is None else _logsumexp(z, allowed)
    if reading == "any":
        loss = denominator - _logsumexp(z, positive)
    elif reading == "each" and positive_in_denominator:
        # log(exp z + exp n) - z = -log sigmoid(z - n), exact for both signs; without negatives nothing is lost.
        against = -F.logsigmoid(z - _logsumexp(z, negative)[:, None])
        loss = torch.where(negative.any(dim=1), _mean(against, positive), 0.0)
    else:
        loss = denominator - _mean(z, positive)
    return _smoothed(loss, z, allowed, denominator, smoothing), valid


class _CrossEntropy(torch.autograd.Function):
    """lse_A(z_i) - mean over P_i of z_i, (R,); its gradient is softmax_A(z_i) - 1_P / |P_i|, made without a graph.

    Of (R, C) numbers only the scores are kept for the backward pass. A row without a positive is 0.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, positive: Tensor, allowed: Tensor | None) -> Tensor:  # noqa: ANN401
        target = positive.to(z.dtype)
        count = target.sum(dim=1)
        valid = count > 0
        whole = z.logsumexp(dim=1) if allowed is None else _logsumexp(z, allowed)
        share = 1 / count.clamp(min=1)
        ctx.save_for_backward(z, target, allowed, whole, share, valid)
        return torch.where(valid, whole - torch.where(positive, z, 0.0).sum(dim=1) * share, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401  # pyrefly: ignore
        z, target, allowed, whole, share, valid = ctx.saved_tensors
        found = (z - whole[:, None]).exp_()
        if allowed is not None:
            found.masked_fill_(~allowed, 0.0)
        found.addcmul_(target, share[:, None], value=-1)
        return found.mul_(torch.where(valid, grads[0], 0.0)[:, None]), None, None


def _distribution(z: Tensor, target: Tensor, allowed: Tensor | None, smoothing: float) -> tuple[Tensor, Tensor]:
    _check_target(z, target)
    mass = target.detach().sum(dim=1)
    if bool((((mass - 1).abs() > 1e-3) & (mass != 0)).any()) or bool((target.detach() < 0).any()):
        raise ValueError("A distribution as target has rows that sum to 1 (or to 0 for none) and no negative entry.")
    if allowed is not None:
        target = torch.where(allowed, target, 0.0)
    mass = target.sum(dim=1)
    valid = mass.detach() > 0
    target = target / torch.where(valid, mass, 1.0)[:, None]
    denominator = z.logsumexp(dim=1) if allowed is None else _logsumexp(z, allowed)
    # where() first: a column of probability 0 may hold a score of -inf.
    loss = denominator - (torch.where(target > 0, z, 0.0) * target).sum(dim=1)
    return _smoothed(loss, z, allowed, denominator, smoothing), valid


def _smoothed(loss: Tensor, z: Tensor, allowed: Tensor | None, denominator: Tensor, smoothing: float) -> Tensor:
    if smoothing == 0:
        return loss
    uniform = denominator - (z.mean(dim=1) if allowed is None else _mean(z, allowed))
    return (1 - smoothing) * loss + smoothing * uniform


def _mean(z: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, z, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _logsumexp(z: Tensor, mask: Tensor) -> Tensor:
    """Logsumexp over the columns of a mask, (R,); a row without any is evaluated on zeros, for the caller to drop."""
    fill = torch.where(mask.any(dim=1, keepdim=True), -torch.inf, 0.0).to(z.dtype)
    return torch.where(mask, z, fill).logsumexp(dim=1)


# what is refused ----------------------------------------------------------------------------------------------------


def _matrix(scores: Tensor | Similarity) -> Tensor:
    z = scores.dense() if isinstance(scores, Similarity) else scores
    if z.dim() != 2:
        raise ValueError(f"Scores are (R, C), not {tuple(z.shape)}.")
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def _check_options(positives: str, label_smoothing: float) -> None:
    if positives not in get_args(Reading):
        raise ValueError(f"positives is {positives!r}: use {', '.join(map(repr, get_args(Reading)))}.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}: use a number in [0, 1).")


def _cleared(z: Tensor, exclude: Tensor | None, row_weight: Tensor | None) -> Tensor:
    """Check the shapes and put zeros where nothing counts: zero times the gradient of an inf or NaN would be NaN."""
    if exclude is not None and (exclude.dtype != torch.bool or exclude.shape != z.shape):
        raise ValueError(f"exclude is bool (R, C) = {tuple(z.shape)}, not {exclude.dtype} {tuple(exclude.shape)}.")
    if row_weight is not None and row_weight.shape != z.shape[:1]:
        raise ValueError(f"row_weight is (R,) = {tuple(z.shape[:1])}, not {tuple(row_weight.shape)}.")
    if exclude is not None:
        z = torch.where(exclude, 0.0, z)
    return z if row_weight is None else torch.where((row_weight != 0)[:, None], z, 0.0)


def _check_target(z: Tensor, target: Tensor) -> None:
    if target.shape != z.shape:
        raise ValueError(f"A target over columns is (R, C) = {tuple(z.shape)}, not {tuple(target.shape)}.")
