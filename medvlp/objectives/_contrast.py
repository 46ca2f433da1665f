"""The primitive that most methods are made of: cross entropy over a masked score matrix, as (sum, count).

Everything goes through logsumexp in float32 (float64 stays). Masks are applied before the logsumexp, and a row without
any admissible column is evaluated on zeros instead, so that no -inf - -inf can turn into a NaN gradient.
"""

from __future__ import annotations

from functools import partial
from typing import get_args

from torch import Tensor

from medvlp.core.term import Term
from medvlp.objectives._readings import Reading, losses_of
from medvlp.objectives._rowwise import Rowwise, cleared, rowwise_by_tiles, whole
from medvlp.objectives._similarity import Similarity


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
        >>> import torch
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> term = contrast(scores, torch.tensor([0, -1]))
        >>> round(term.value().item(), 4), term.count.item()
        (0.1269, 1.0)
    """
    if positives not in get_args(Reading):
        raise ValueError(f"positives is {positives!r}: use {', '.join(map(repr, get_args(Reading)))}.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}: use a number in [0, 1).")
    if isinstance(scores, Similarity):
        loss = partial(
            contrast,
            positives=positives,
            positive_in_denominator=positive_in_denominator,
            label_smoothing=label_smoothing,
        )
        return rowwise_by_tiles(loss, scores, target, exclude, row_weight)
    target, exclude = whole(target), None if exclude is None else whole(exclude)
    z = cleared(scores, exclude, row_weight)
    if not z.shape[1]:
        return Term.of(z.sum(dim=1), z.new_zeros(len(z)))
    loss, valid = losses_of(z, target, exclude, positives, positive_in_denominator, label_smoothing)
    weight = valid.to(z.dtype)
    return Term.of(loss, weight if row_weight is None else weight * row_weight.to(z.dtype))
