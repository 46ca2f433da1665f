"""The primitive that most methods are made of: cross entropy over a masked score matrix, as (sum, count).

Everything goes through logsumexp in float32 (float64 stays). Masks are applied before the logsumexp, and a row without
any admissible column is evaluated on zeros instead, so that no -inf - -inf can turn into a NaN gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from medvlp.core.term import Term
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._tiles import by_tiles

Reading = Literal["shared", "any", "each"]
Rowwise = Tensor | Callable[[slice], Tensor]  # of R rows, or what makes it of some of them


def contrast(
    scores: Tensor | Similarity,
    target: Rowwise,
    *,
    exclude: Rowwise | None = None,
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
        scores: (R, C), already scaled; or a `Similarity`, of which a tile of rows is there at a time.
        target: int (R,): the positive's column, negative for none; bool (R, C): positives; float (R, C): a distribution
            a row, rows sum to 1 or to 0 for none. A function gives that of the rows of a slice, as of a tile; what it
            makes is constant. So may be `exclude`.
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
    if isinstance(scores, Similarity):
        loss = partial(
            contrast,
            positives=positives,
            positive_in_denominator=positive_in_denominator,
            label_smoothing=label_smoothing,
        )
        return _by_tiles(loss, scores, target, exclude, row_weight)
    target, exclude = _whole(target), None if exclude is None else _whole(exclude)
    z = _cleared(scores, exclude, row_weight)
    if not z.shape[1]:
        return Term.of(z.sum(dim=1), z.new_zeros(len(z)))
    loss, valid = _contrast(z, target, exclude, positives, positive_in_denominator, label_smoothing)
    weight = valid.to(z.dtype)
    return Term.of(loss, weight if row_weight is None else weight * row_weight.to(z.dtype))


def sigmoid_contrast(
    scores: Tensor | Similarity, target: Rowwise, *, exclude: Rowwise | None = None, row_weight: Tensor | None = None
) -> Term:
    """Sum over rows and columns of -log sigmoid(y z), y = 1 for positives and -1 for the rest; count is rows.

    Args:
        scores: (R, C), already scaled and shifted; or a `Similarity`.
        target: bool (R, C), positives, or int (R,), the only positive's column, negative for none, or what gives those
            of a slice; a row without any is all negatives and counts.
        exclude: the same of pairs left out; a row with no pair left adds nothing to sum and count.
        row_weight: (R,), not negative.

    Raises:
        ValueError: if shapes disagree or the target is a distribution.

    References:
        Zhai et al. 2023 (SigLIP), section 3.2.

    Example:
        >>> sigmoid_contrast(torch.zeros(2, 2), torch.eye(2, dtype=torch.bool)).value().item()  # 2 log 2
        1.3862943649291992
    """
    if isinstance(scores, Similarity):
        return _by_tiles(sigmoid_contrast, scores, target, exclude, row_weight)
    target, exclude = _whole(target), None if exclude is None else _whole(exclude)
    z = _cleared(scores, exclude, row_weight)
    if target.dtype.is_floating_point:
        raise ValueError(f"The target of sigmoid_contrast is bool (R, C) or int (R,), not {target.dtype}.")
    if target.dtype == torch.bool:
        _check_target(z, target)
    elif target.shape != z.shape[:1]:
        raise ValueError(f"An index target is (R,) = {tuple(z.shape[:1])}, not {tuple(target.shape)}.")
    weight = z.new_full(z.shape[:1], 1.0 if z.shape[1] else 0.0)
    if exclude is not None:
        weight = _any(~exclude).to(z.dtype) if z.shape[1] else weight
    loss = _Sigmoid.apply(z, target, exclude)
    return Term.of(loss, weight if row_weight is None else weight * row_weight.to(z.dtype))


# what a target is, and the losses of rows -----------------------------------------------------------------------------


def _contrast(
    z: Tensor, target: Tensor, exclude: Tensor | None, reading: Reading, positive_in_denominator: bool, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return the (R,) losses, and which rows have one."""
    allowed = None if exclude is None else ~exclude
    if not (target.dtype == torch.bool or target.dtype.is_floating_point):
        positive, share, several = *_index(z, target.long(), allowed), False
    elif target.dtype == torch.bool:
        _check_target(z, target)
        positive = target if allowed is None else target & allowed
        share, several = positive.sum(dim=1), reading != "shared"
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
        return _CrossEntropy.apply(z, positive, share, allowed, allowed, smoothing), valid
    negative = torch.ones_like(z, dtype=torch.bool) if allowed is None else allowed
    negative = negative & ~target if target.dim() > 1 else negative.scatter(1, positive, False)
    if not positive_in_denominator:
        valid = valid & _any(negative)
    within = allowed if positive_in_denominator else negative
    if not several or (reading == "each" and not positive_in_denominator):
        return _CrossEntropy.apply(z, positive, share, within, allowed, smoothing), valid
    z = z if exclude is None else torch.where(exclude, 0.0, z)  # an inf or NaN there, whose gradient would be NaN
    denominator = _logsumexp(z, within)
    if reading == "any":
        loss = denominator - _logsumexp(z, positive)
    else:
        # log(exp z + exp n) - z = -log sigmoid(z - n), exact for both signs; without negatives nothing is lost.
        against = -F.logsigmoid(z - _logsumexp(z, negative)[:, None])
        loss = torch.where(_any(negative), torch.where(positive, against, 0.0).sum(dim=1) * share, 0.0)
    return loss if not smoothing else (1 - smoothing) * loss + smoothing * (denominator - _mean(z, allowed)), valid


def _index(z: Tensor, target: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the columns of positives, (R, 1), and 1 for each row that has one."""
    if target.shape != z.shape[:1]:
        raise ValueError(f"An index target is (R,) = {tuple(z.shape[:1])}, not {tuple(target.shape)}.")
    column = target.clamp(min=0)[:, None]
    valid = target >= 0
    return column, (valid if allowed is None else valid & allowed.gather(1, column)[:, 0]).to(z.dtype)


def _distribution(z: Tensor, target: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what of a distribution is allowed, (R, C), and what scales its rows to sum to 1; 0 of none."""
    _check_target(z, target)
    mass = target.sum(dim=1)
    if bool(((((mass - 1).abs() > 1e-3) & (mass != 0)) | (target.amin(dim=1) < 0)).any()):
        raise ValueError("A distribution as target has rows that sum to 1 (or to 0 for none) and no negative entry.")
    if allowed is not None:
        target = torch.where(allowed, target, 0.0)
        mass = target.sum(dim=1)
    return target, torch.where(mass > 0, 1 / torch.where(mass > 0, mass, 1.0), 0.0)


class _CrossEntropy(torch.autograd.Function):
    """lse_D(z) - (1 - e) w t z - e mean_A z of each row, (R,); the gradient, softmax_D - (1 - e) w t - e 1_A / |A|.

    The target t is bool or float (R, C), or the column (R, 1) of its only 1; w (R,) scales its rows, e smooths, D and A
    are bool (R, C), None of all columns. Of (R, C) numbers the softmax and what is given are there for the backward
    pass.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        z: Tensor,
        target: Tensor,
        share: Tensor,
        within: Tensor | None,
        allowed: Tensor | None,
        smoothing: float,
    ) -> Tensor:
        whole, softmax = _softmax(z, within)
        if target.dtype == torch.int64:
            own = z.gather(1, target)[:, 0]
        elif target.dtype == torch.bool:
            own = torch.where(target, z, 0.0).sum(dim=1)
        else:
            own = torch.einsum("rc,rc->r", z, target)
            if own.isnan().any():  # a column of probability 0 may hold a score of -inf
                own = torch.where(target > 0, z, 0.0).mul_(target).sum(dim=1)
        taught = z if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(softmax, target, share, allowed, own, taught)
        ctx.smoothing = smoothing
        loss = whole - (1 - smoothing) * share * own
        return loss if not smoothing else loss - smoothing * _mean(z, allowed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # pyrefly: ignore
        softmax, target, share, allowed, own, z = ctx.saved_tensors
        factor = grads[0][:, None]
        of_own = (ctx.smoothing - 1) * share[:, None] * factor
        found = softmax * factor
        if target.dtype == torch.int64:
            found.scatter_add_(1, target, of_own)
        elif target.dtype == torch.bool:
            found += torch.where(target, of_own, 0.0)
        else:
            found.addcmul_(target, of_own)
        if ctx.smoothing:
            every = torch.ones_like(found, dtype=torch.bool) if allowed is None else allowed
            found -= torch.where(every, ctx.smoothing * factor / every.sum(dim=1, keepdim=True).clamp(min=1), 0.0)
        of_target = of_own * torch.where(target > 0, z, 0.0) if z is not None else None
        of_share = (ctx.smoothing - 1) * grads[0] * own if ctx.needs_input_grad[2] else None
        return found, of_target, of_share, None, None, None


class _Sigmoid(torch.autograd.Function):
    """Sum over columns of -log sigmoid(y z), (R,), y = 1 of positives and -1 of the rest, without what is left out.

    Beside the scores only masks are there for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, positive: Tensor, exclude: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(z, positive, exclude)
        # From 40 on the logarithm is the score itself, in double precision too.
        if positive.dtype == torch.bool:
            loss = F.softplus(torch.where(positive, -z, z), threshold=40)
        else:
            loss = F.softplus(z, threshold=40)
            if z.shape[1]:
                column = positive.clamp(min=0)[:, None]
                own = z.gather(1, column)
                own = torch.where((positive >= 0)[:, None], -own, own)
                loss.scatter_(1, column, F.softplus(own, threshold=40))
        return (loss if exclude is None else loss.masked_fill_(exclude, 0.0)).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401  # pyrefly: ignore
        z, positive, exclude = ctx.saved_tensors
        factor = grads[0][:, None]
        found = z.sigmoid().mul_(factor)
        if positive.dtype == torch.bool:
            found -= torch.where(positive, factor, 0.0)
        elif z.shape[1]:
            found.scatter_add_(1, positive.clamp(min=0)[:, None], -factor * (positive >= 0)[:, None])
        return found if exclude is None else torch.where(exclude, 0.0, found), None, None


def _mean(z: Tensor, mask: Tensor | None) -> Tensor:
    return z.mean(dim=1) if mask is None else torch.where(mask, z, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _logsumexp(z: Tensor, mask: Tensor | None) -> Tensor:
    """Logsumexp over the columns of a mask, (R,); a row without any is evaluated on zeros, for the caller to drop."""
    if mask is None:
        return z.logsumexp(dim=1)
    fill = torch.where(_any(mask)[:, None], -torch.inf, 0.0).to(z.dtype)
    return torch.where(mask, z, fill).logsumexp(dim=1)


def _softmax(z: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return logsumexp (R,) and softmax (R, C) over the columns of a mask; the caller drops rows without any.

    One pass makes both: the largest entry of a softmax is 1 over the sum that the logarithm is of.
    """
    z = z if mask is None else torch.where(mask, z, torch.finfo(z.dtype).min)
    # A transposed matrix is reduced over the axis that it has: the kernel of the other would copy it first.
    softmax = z.softmax(dim=1) if z.is_contiguous() else z.T.softmax(dim=0).T
    return z.amax(dim=1) - softmax.amax(dim=1).log(), softmax


def _any(mask: Tensor) -> Tensor:
    return mask.view(torch.uint8).amax(dim=1) > 0  # many times as fast as any() on a CPU


def _by_tiles(
    loss: Callable[..., Term], scores: Similarity, target: Rowwise, exclude: Rowwise | None, row_weight: Tensor | None
) -> Term:
    """Return a loss of scores that are not computed yet; functions are asked for what they give of a tile's rows."""
    given = {"target": target, "exclude": exclude, "row_weight": row_weight}
    asked = {name: each for name, each in given.items() if each is not None and not isinstance(each, Tensor)}
    there = {name: each for name, each in given.items() if isinstance(each, Tensor)}
    for name, each in there.items():
        if len(each) != scores.shape[0]:
            raise ValueError(f"{name} has {len(each)} rows, and the scores have {scores.shape[0]}.")

    def term(z: Tensor, part: slice, *beside: Tensor) -> Term:
        options = {name: make(part) for name, make in asked.items()} | dict(zip(there, beside, strict=True))
        return loss(z, **options)

    return by_tiles(scores, term, beside=list(there.values()))


# what is refused ----------------------------------------------------------------------------------------------------


def _check_options(positives: str, label_smoothing: float) -> None:
    if positives not in get_args(Reading):
        raise ValueError(f"positives is {positives!r}: use {', '.join(map(repr, get_args(Reading)))}.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}: use a number in [0, 1).")


def _whole(rowwise: Rowwise) -> Tensor:
    return rowwise if isinstance(rowwise, Tensor) else rowwise(slice(None))


def _cleared(z: Tensor, exclude: Tensor | None, row_weight: Tensor | None) -> Tensor:
    """Check shapes and put zeros where a row does not count: zero times the gradient of an inf or NaN would be NaN."""
    if z.dim() != 2:
        raise ValueError(f"Scores are (R, C), not {tuple(z.shape)}.")
    z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
    if exclude is not None and (exclude.dtype != torch.bool or exclude.shape != z.shape):
        raise ValueError(f"exclude is bool (R, C) = {tuple(z.shape)}, not {exclude.dtype} {tuple(exclude.shape)}.")
    if row_weight is not None and row_weight.shape != z.shape[:1]:
        raise ValueError(f"row_weight is (R,) = {tuple(z.shape[:1])}, not {tuple(row_weight.shape)}.")
    return z if row_weight is None else torch.where((row_weight != 0)[:, None], z, 0.0)


def _check_target(z: Tensor, target: Tensor) -> None:
    if target.shape != z.shape:
        raise ValueError(f"A target over columns is (R, C) = {tuple(z.shape)}, not {tuple(target.shape)}.")
