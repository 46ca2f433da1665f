"""Focal and asymmetric loss: what is already right weighs little, so that rare findings and small regions are heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._dense import check_labels, decoder_of, drawn, pixel_mean
from medvlp.objectives._labels import labels_of

__all__ = ["Focal"]

_TRACE = 1e-8


class Focal(Objective):
    r"""Focal loss (Lin et al. 2017, eq. 5) of pixels or of findings, each class a yes-or-no question.

    With p the sigmoid of a logit, y its truth and p_m = max(p - margin, 0)::

        focal = - y alpha (1 - p)^gamma_positive log p - (1 - y) (1 - alpha) p_m^gamma log(1 - p_m)

    With `gamma_positive` below `gamma`, a margin and no `alpha` it is the asymmetric loss (Ridnik et al. 2021, eq. 4-7;
    0, 4 and 0.05 there): positives weigh in full, and negatives below the margin, which are easy, nothing.

    Over ``masks`` it is the mean over a view's pixels, then over pairs of view and class (not over positives, as for
    the anchors of the paper); over ``labels`` the mean over pairs. Pairs that are unknown take no part, as in `dice_ce`
    and `classify`.

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

    scope: Literal["batch", "sample"] = "sample"

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
        super().__init__()
        self.labels = check_labels(labels, objective="focal")
        self.truth = truth
        self.view, self.part = view, part or ("segmentation" if truth == "masks" else "findings")
        chosen = head or {"name": "unet" if truth == "masks" else "linear"}
        self.head = decoder_of(chosen, classes=len(self.labels), objective="focal")
        self.weights = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
        self.gamma, self.margin = gamma, margin
        self.gamma_positive = gamma if gamma_positive is None else gamma_positive

    def needs(self) -> frozenset[Key]:
        """The logits and their truth."""
        field = "mask" if self.truth == "masks" else "label"
        return keys(f"{self.view}/{self.part}", *(f"{field}.{label}" for label in self.labels))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The head, which the bundle keeps."""
        return {self.part: self.head}

    def answers(self) -> Sequence[AnswerSpec]:
        """Masks or scores of the labels."""
        options: dict[str, object] = {"part": self.part, "labels": list(self.labels)}
        return (AnswerSpec("segmentation" if self.truth == "masks" else "findings", options),)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        if self.truth == "masks":
            found = drawn(ctx, self.view, self.part, self.labels, classes=len(self.labels))
            losses, known = pixel_mean(self._losses(found.logits, found.masks), found.real), found.known
        else:
            key = f"{self.view}/{self.part}"
            labels, known = labels_of(ctx, key, self.labels)
            if ctx[key].shape != labels.shape:
                raise ConfigError(
                    f"The head {self.part!r} gives {tuple(ctx[key].shape[1:])} a row: let it give one a label."
                )
            losses = self._losses(ctx[key], labels.to(ctx[key].dtype))
        return {"focal": Term.of(losses.flatten(), known.flatten().to(losses.dtype))}

    def _losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        # A power of nothing has no gradient: what is as right as can be keeps a trace.
        wrong = (-logits).sigmoid().clamp(min=_TRACE)
        said = (logits.sigmoid() - self.margin).clamp(min=_TRACE)
        absent = (-said).log1p() if self.margin else F.logsigmoid(-logits)
        present = self.weights[0] * truth * wrong**self.gamma_positive * F.logsigmoid(logits)
        return -present - self.weights[1] * (1 - truth) * said**self.gamma * absent

    def extra_repr(self) -> str:
        """Name what is classified."""
        return f"{self.view}/{self.part}: {', '.join(self.labels)}, gamma={self.gamma}"
