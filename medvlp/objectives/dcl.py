"""DCL (Yeh et al. 2022): the positive leaves the denominator, and hard positives weigh more."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._masked_softmax import any_of, masked_mean
from medvlp.objectives._targets import Exclusion, Relation
from medvlp.objectives._tiles import by_tiles, of_rows


class Dcl(Compared):
    r"""Decoupled contrast of images and reports with weighted positives, the mean of both directions.

    InfoNCE's gradient carries a factor, one minus the positive's own probability, that vanishes for easy pairs and in
    small batches. Without the positive in the denominator it is gone. With z scores at the model's logit scale, P and N
    the positives and negatives of a row i and p_i the mean of its positives' unscaled scores,

        L_i = log sum_N exp z - w_i mean_P z,    w_i = 2 - exp(p_i / sigma) / mean_j exp(p_j / sigma),

    the mean over the rows j of all processes, so that the weights' mean is 1 and pairs that lie far apart weigh more.
    Weights are constants: through their gradient a pair that is near already would be pushed apart. Without them this
    is `clip` with ``positive_in_denominator: false``.

    Args:
        image, text, score, positives, exclude: as in `clip`.
        sigma: spread of the von Mises-Fisher weights; None: all weights are 1.
        within: whether rows of a row's own view that are no positives are negatives too, as between SimCLR's two crops.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight; a row without positive or negative adds nothing,
        as in a batch of one.

    References:
        Yeh et al. 2022, section 3: the factor of InfoNCE's gradient, the decoupled loss L_DC and the weighted L_DCW.

    Note:
        Volumes, whose batches are small, gain most. The weights pull hardest on pairs that lie far apart, and where a
        report is about another picture those are the wrong ones: leave them out (``sigma: null``) where reports err.

    Example:
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)}
        >>> sum(term.value() for term in Dcl()(Context.of(rows, {"text": ["clear", "effusion"]})).values()).item()
        -1.0
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        sigma: Annotated[float, Field(gt=0)] | None = 0.5,
        within: bool = False,
    ) -> None:
        super().__init__(objective="dcl", image=image, text=text, score=score, positives=positives, exclude=exclude)
        self.sigma = sigma
        self.within = within

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        scores = self._similarity(ctx, rows, columns)
        plain = scores.at(None)
        if self.within:
            scores = scores.beside(self._similarity(ctx, rows, rows))

        def masks(part: slice) -> tuple[Tensor, Tensor | None]:
            found = self._pairs(ctx, rows, columns, part)
            if not self.within:
                return found.target, found.exclude
            same = self._pairs(ctx, rows, rows, part)
            related = same.target if same.exclude is None else same.target | same.exclude
            exclude = torch.zeros_like(found.target) if found.exclude is None else found.exclude
            target = torch.cat([found.target, torch.zeros_like(related)], dim=1)
            return target, torch.cat([exclude, related], dim=1)

        def term(z: Tensor, part: slice, *extra: Tensor) -> Term:
            target, exclude = masks(part)
            decoupled = contrast(z, target, exclude=exclude, positive_in_denominator=False)
            if not extra:
                return decoupled
            return Term(decoupled.sum + (extra[0] * masked_mean(z, target)).sum(), decoupled.count)

        if self.sigma is None:
            return by_tiles(scores, term)

        def near(cosines: Tensor, part: slice) -> Tensor:
            target, exclude = masks(part)
            others = ~target if exclude is None else ~target & ~exclude
            mean = masked_mean(cosines, target[:, : cosines.shape[1]])
            return torch.where(any_of(target) & any_of(others), mean, torch.nan)

        own = of_rows(plain, near)
        valid = ~own.isnan()
        owner = ctx.owner(f"{rows}/{self.score.reads[0]}")
        everybody = ctx.gather(own[valid], owner[valid]).values / self.sigma
        weight = 2 - len(everybody) * (own[valid] / self.sigma - everybody.logsumexp(dim=0)).exp()
        extra = torch.zeros_like(own)
        extra[valid] = 1 - weight
        return by_tiles(scores, term, beside=[extra])
