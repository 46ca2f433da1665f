"""Focal and asymmetric loss: what is already right weighs little, so that rare findings and small regions are heard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.term import Term, Terms
from medvlp.objectives._dense import drawn, pixel_mean
from medvlp.objectives._labelled import Labelled
from medvlp.objectives._labels import labels_of

_TRACE = 1e-8


class Focal(Labelled):
    r"""Focal loss (Lin et al. 2017, eq. 5) of pixels or of findings, each class a yes-or-no question.

    With p the sigmoid of a logit, y its truth and p_m = max(p - margin, 0)::

        focal = - y alpha (1 - p)^gamma_positive log p - (1 - y) (1 - alpha) p_m^gamma log(1 - p_m)

    With `gamma_positive` below `gamma`, a margin and no `alpha` it is the asymmetric loss (Ridnik et al. 2021, eq. 4-7;
    0, 4 and 0.05 there): positives weigh in full, and negatives below the margin, which are easy, nothing.

    Over ``masks`` it is the mean over a view's pixels, then over pairs of view and class (the paper's is over
    positives); over ``labels`` the mean over pairs. Pairs that are unknown take no part.

    Args:
        labels: K classes: fields ``mask.LABEL`` or ``label.LABEL``.
        truth: which of the two.
        view: whose pixels or rows are classified.
        part: name of the head; None: ``segmentation`` or ``findings``.
        head: component of `models/heads`; None: ``unet`` over masks, ``linear`` over labels.
        alpha: weight of positives over that of all; None: both weigh 1.
        gamma: 0 is binary cross entropy.
        gamma_positive: that of positives; None: `gamma`.
        margin: above.

    Returns:
        ``focal``.

    Raises:
        ConfigError: for labels or a head that cannot be.

    Example:
        >>> objective = Focal(labels=["nodule"], truth="labels")
        >>> sorted(map(str, objective.needs())), objective.answers()[0].name
        (['image/findings', 'label.nodule'], 'findings')
    """

    def __init__(
        self,
        *,
        labels: list[str],
        truth: Literal["masks", "labels"] = "masks",
        view: str = "image",
        part: str | None = None,
        head: dict[str, Any] | None = None,
        alpha: Annotated[float, Field(gt=0, lt=1)] | None = 0.25,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
        gamma_positive: Annotated[float, Field(ge=0)] | None = None,
        margin: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        masks = truth == "masks"
        chosen = head or {"name": "unet" if masks else "linear"}
        part = part or ("segmentation" if masks else "findings")
        super().__init__(objective="focal", labels=labels, view=view, part=part, head=chosen)
        self.truth = truth
        self.field, self.answer = ("mask", "segmentation") if masks else ("label", "findings")
        self.weights = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
        self.gamma, self.margin = gamma, margin
        self.gamma_positive = gamma if gamma_positive is None else gamma_positive

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        if self.truth == "masks":
            found = drawn(ctx, self.view, self.part, self.labels, classes=len(self.labels))
            losses, known = pixel_mean(self._losses(found.logits, found.masks), found.real), found.known
        else:
            labels, known = labels_of(ctx, self.key, self.labels)
            if ctx[self.key].shape != labels.shape:
                raise ConfigError(
                    f"The head {self.part!r} gives {tuple(ctx[self.key].shape[1:])} a row: let it give one a label."
                )
            losses = self._losses(ctx[self.key], labels.to(ctx[self.key].dtype))
        return {"focal": Term.of(losses.flatten(), known.flatten().to(losses.dtype))}

    def _losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        # A power of nothing has no gradient: what is as right as can be keeps a trace.
        wrong = (-logits).sigmoid().clamp(min=_TRACE)
        shown = (logits.sigmoid() - self.margin).clamp(min=_TRACE)
        absent = (-shown).log1p() if self.margin else F.logsigmoid(-logits)
        present = self.weights[0] * truth * wrong**self.gamma_positive * F.logsigmoid(logits)
        return -present - self.weights[1] * (1 - truth) * shown**self.gamma * absent
