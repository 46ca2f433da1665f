"""PLIP's identity contrast (Zuo et al. 2024): what is one identity's is nobody's negative."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._targets import Exclusion


class Plip(Compared):
    r"""Divergence of the softmax of similarities from equal shares over the rows of one identity.

    With p_ij = softmax over j of s f(v_i, t_j), q_ij = y_ij / sum_k y_ik and y_ij whether i and j are of one identity,

        L = 1/2 [ mean over image rows of sum_j p_ij log(p_ij / (q_ij + eps)) + the same of text rows ].

    This is the reverse of the cross entropy's divergence: all that p may have is where q is, and it need not be spread
    over it, so a patient's other report neither attracts as much as the own one nor repels. With every row its own
    identity the smallest value is 0, at the one-hot p of CLIP.

    Args:
        image, text, score: as in `clip`.
        identity: what rows of one identity have in common: a patient, a study, a report, findings; ``none``: a sample
            is its own.
        eps: added to q; the price of probability on another identity is -log eps.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight.

    References:
        Zuo et al. 2024 (PLIP), identity-based vision-language contrast; Zhang and Lu 2018 (CMPM), eq. 2 to 4. The fine
        tuning code divides y by its length and not by its sum, so that two of one identity have 1.41 of probability.
        Left out: the paper's other pretexts, masked attributes (near to `masked_words`) and a gray picture coloured by
        its text (near to the hidden patches of `sycoca`).

    Note:
        The paper's identities are persons in street photographs. A patient's studies of different years differ in what
        matters: `same_patient` forbids to push them apart, so change over time has to be taught by another term.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": 100 * torch.eye(2), "text/embedding": 100 * torch.eye(2)}
        >>> terms = Plip()(Context.of(rows, {"id.patient": ["p", "q"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)
        0.0
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        score: str = "dot",
        identity: Exclusion = "same_patient",
        eps: Annotated[float, Field(gt=0)] = 1e-8,
    ) -> None:
        super().__init__(objective="plip", image=image, text=text, score=score, positives="own", exclude=identity)
        self.eps = eps

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        scores, found = self.between(ctx, rows, columns)
        same = found.target if found.exclude is None else found.target | found.exclude
        return divergence(scores.dense(), same, eps=self.eps)


def divergence(scores: Tensor, same: Tensor, *, eps: float) -> Term:
    """Sum over rows of KL(softmax of the scores || equal shares of `same` + eps).

    Args:
        scores: (R, C), scaled.
        same: bool (R, C); a row without any adds nothing to sum and count.
        eps: added to the shares.

    Example:
        >>> import torch
        >>> divergence(torch.zeros(1, 2), torch.tensor([[True, True]]), eps=1e-8).value().item()
        0.0
    """
    log = scores.log_softmax(dim=1)
    count = same.sum(dim=1, keepdim=True)
    share = same.to(log) / count.clamp(min=1)
    return Term.of((log.exp() * (log - (share + eps).log())).sum(dim=1), (count[:, 0] > 0).to(log))
