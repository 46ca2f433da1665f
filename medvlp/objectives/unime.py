"""UniME's second stage (Gu et al. 2025): each row against its own and the k hardest that are no false negatives."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._targets import Exclusion, Relation


class Unime(Compared):
    r"""Hard-negative enhanced contrast of images and texts.

    Of the columns of all processes a row keeps its positives and k negatives: those that score highest among the ones
    that score no higher than its best positive plus a margin,

        L = mean of -log( e^{s f(i,p)} / (e^{s f(i,p)} + sum_{n in H_i} e^{s f(i,n)}) ),
        H_i = top k of { n : f(i,n) <= max_p f(i,p) + margin },

    averaged over the positives p of a row, half from each direction. What scores clearly above the own text is taken
    for another true text and left out. Which columns are kept is decided without gradient. With all other columns as
    negatives (k at least their number, an infinite margin) and one positive a row it is `clip`.

    The authors' code has the direction from queries to candidates alone, and where fewer than k columns are left it
    fills up with some that were left out, or with the own one; here fewer are used. The temperature is the model's:
    with ``model.scale: {init: 50, min: 50, max: 50}`` the paper's 0.02.

    Args:
        image, text, score, positives, exclude: as in `clip`.
        negatives: k.
        margin: the paper's beta, of a score; `.inf` filters nothing.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight.

    References:
        Gu et al. 2025, hard negative enhanced instruction tuning: k = 8, beta = 0.1.

    Note:
        The filter does not find copies: a text equal to the own one scores the same, passes with any margin of 0 or
        more, and is then the hardest negative. Among reports copies are common: leave `positives` at ``same_report``,
        and exclude what is ``true_of`` an image.

    Example:
        >>> rows = {"image/embedding": torch.eye(3), "text/embedding": torch.eye(3)}
        >>> terms = Unime(negatives=1)(Context.of(rows, {"text": ["a", "b", "c"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # log(1 + 1/e): one of the two others
        0.3133
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        negatives: Annotated[int, Field(ge=1)] = 8,
        margin: float = 0.1,
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
    ) -> None:
        super().__init__(objective="unime", image=image, text=text, score=score, positives=positives, exclude=exclude)
        self.negatives = negatives
        self.margin = margin

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        similarity, found = self.between(ctx, rows, columns)
        scores = similarity.score(similarity.rows, similarity.columns)
        others = ~found.target if found.exclude is None else ~found.target & ~found.exclude
        hard = hardest(scores.detach(), found.target, others, negatives=self.negatives, margin=self.margin)
        return contrast(ctx.scale(scores), found.target, exclude=~(found.target | hard), positives="each")


def hardest(scores: Tensor, positive: Tensor, others: Tensor, *, negatives: int, margin: float) -> Tensor:
    """Return which columns are hard negatives of which rows, bool (R, C).

    Args:
        scores: (R, C), unscaled.
        positive: bool (R, C); a row without any has no bar, and no loss.
        others: bool (R, C), columns that may be negatives.
        negatives: most of them.
        margin: a column above the row's best positive plus this is left out.

    Example:
        >>> scores = torch.tensor([[0.5, 0.9, 0.4, 0.3]])
        >>> own = torch.tensor([[True, False, False, False]])
        >>> hardest(scores, own, ~own, negatives=1, margin=0.1).int().tolist()
        [[0, 0, 1, 0]]
    """
    if not scores.shape[1]:
        return torch.zeros_like(others)
    bar = scores.masked_fill(~positive, -torch.inf).amax(dim=1, keepdim=True) + margin
    allowed = others & (scores <= bar)
    top = scores.masked_fill(~allowed, -torch.inf).topk(min(negatives, scores.shape[1]), dim=1).indices
    return torch.zeros_like(allowed).scatter(1, top, True) & allowed
