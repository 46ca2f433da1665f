"""CACR (Zheng et al. 2023): far positives attract more, near negatives repel more."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.term import Term, Terms
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._targets import Exclusion, Relation


class Cacr(Compared):
    r"""Contrastive attraction and contrastive repulsion of images and reports, the mean of both directions.

    With c(x, y) = |x - y|^2 = 2 - 2 cos(x, y), P and N the positives and negatives of a row x,

        attraction =   sum_P w+ c(x, y),  w+ = softmax_P(t+ c),
        repulsion  = - sum_N w- c(x, y),  w- = softmax_N(-t- c),

    so that within P the farthest and within N the nearest count most; gradients flow through the weights too. With one
    positive the attraction is 2 - 2 cos, with t = 0 each is the plain mean. The logit scale takes no part. In the form
    ``rbf``, meant for large data, the loss is 2 T CE(cos / T, w+), with constant weights: of one positive that is 2 T
    InfoNCE.

    Args:
        image, text, positives, exclude: as in `clip`.
        attraction: t+.
        repulsion: t-; the paper's is 0.9 or 2.
        prior: share of unknown positives among the negatives: what they add to the repulsion is taken off, (CR + prior
            mean_P c) / (1 - prior), as Chuang et al. 2020 derive; the paper's code, which tries 0.1, has the opposite
            sign and so repels positives.
        form: see above.
        temperature: T of the form ``rbf``.

    Raises:
        ConfigError: for an option of the other form.

    Returns:
        ``image_attraction``, ``image_repulsion`` and those of the texts, each at half weight, or ``image`` and ``text``
        of the form ``rbf``; a row without positive does not attract, one without negative does not repel.

    References:
        Zheng et al. 2023, section 3: contrastive attraction, contrastive repulsion and their sum. Of several positives
        in the form ``rbf`` their code leaves the others out of a positive's denominator; here all are in it.

    Note:
        Attraction is more than a plain one only with several positives a row: sentences or pictures of a study. The
        nearest negatives are often none in radiology (the same finding in other words): leave them out by `exclude`.

    Example:
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)}
        >>> terms = Cacr()(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> {name: term.value().item() for name, term in terms.items() if name.startswith("image")}
        {'image_attraction': 0.0, 'image_repulsion': -1.0}
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        attraction: Annotated[float, Field(ge=0)] = 1.0,
        repulsion: Annotated[float, Field(ge=0)] = 2.0,
        prior: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        form: Literal["euclidean", "rbf"] = "euclidean",
        temperature: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        idle = ("repulsion", "prior") if form == "rbf" else ("temperature",)
        given = {"repulsion": repulsion != 2, "prior": prior != 0, "temperature": temperature != 1}
        if any(given[name] for name in idle):
            raise ConfigError(f"Objective 'cacr' of the form {form!r} has no {' and no '.join(idle)}: leave it out.")
        super().__init__(objective="cacr", image=image, text=text, score="dot", positives=positives, exclude=exclude)
        self.attraction = attraction
        self.repulsion = repulsion
        self.prior = prior
        self.form = form
        self.temperature = temperature

    def forward(self, ctx: Context) -> Terms:
        """Return the terms of both directions."""
        directions = (("image", self.image, self.text), ("text", self.text, self.image))
        return {
            f"{name}{kind}": term.times(0.5)
            for name, rows, columns in directions
            for kind, term in self._direction(ctx, rows, columns).items()
        }

    def _direction(self, ctx: Context, rows: str, columns: str) -> dict[str, Term]:
        scores, found = self.between(ctx, rows, columns)
        cosines = scores.score(scores.rows, scores.columns)
        cost = 2 - 2 * cosines
        negative = ~found.target if found.exclude is None else ~found.target & ~found.exclude
        near = _softmax(self.attraction * cost, found.target)
        if self.form == "rbf":
            term = contrast(cosines / self.temperature, near.detach(), exclude=found.exclude)
            return {"": term.times(2 * self.temperature)}
        there, others = found.target.any(dim=1), negative.any(dim=1)
        repulsion = -(_softmax(-self.repulsion * cost, negative) * cost).sum(dim=1)
        if self.prior:
            mean = (_softmax(torch.zeros_like(cost), found.target) * cost).sum(dim=1)
            repulsion = (repulsion + self.prior * mean) / (1 - self.prior)
        return {
            "_attraction": Term.of((near * cost).sum(dim=1), there.to(cost.dtype)),
            "_repulsion": Term.of(repulsion, others.to(cost.dtype)),
        }


def _softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the columns of a mask, (R, C), 0 elsewhere and in a row without any."""
    fill = torch.where(mask.any(dim=1, keepdim=True), -torch.inf, 0.0).to(logits.dtype)
    return torch.where(mask, torch.where(mask, logits, fill).softmax(dim=1), 0.0)
