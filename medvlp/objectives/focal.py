"""Focal loss: what is already right weighs little, so that rare findings and small regions are heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

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


class Focal(Objective):
    r"""Focal loss (Lin et al. 2017, eq. 5) of pixels or of findings, each class a yes-or-no question.

    With p the sigmoid of a logit, y its truth, p_t = p and a_t = alpha where y is 1, else 1 - p and 1 - alpha::

        focal = - a_t (1 - p_t)^gamma log p_t

    by torchvision's `sigmoid_focal_loss`. Over ``masks`` it is the mean over a view's pixels, then over pairs of view
    and class (not over positives, as for the anchors of the paper); over ``labels`` the mean over pairs. Pairs that are
    unknown take no part, as in `dice_ce` and `classify`.

    Args:
        labels: K classes: fields ``mask.LABEL`` or ``label.LABEL``.
        truth: which of the two.
        view: whose pixels or rows are classified.
        part: name of the head; None: ``segmentation`` or ``findings``.
        head: component of `models/heads`; None: ``unet`` over masks, ``linear`` over labels.
        alpha: weight of positives over that of all; None: both weigh 1.
        gamma: 0 is binary cross entropy.

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
    ) -> None:
        super().__init__()
        self.labels = check_labels(labels, objective="focal")
        self.truth = truth
        self.view, self.part = view, part or ("segmentation" if truth == "masks" else "findings")
        chosen = head or {"name": "unet" if truth == "masks" else "linear"}
        self.head = decoder_of(chosen, classes=len(self.labels), objective="focal")
        self.alpha = -1.0 if alpha is None else alpha
        self.gamma = gamma

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
        from torchvision.ops import sigmoid_focal_loss

        return sigmoid_focal_loss(logits, truth, alpha=self.alpha, gamma=self.gamma, reduction="none")

    def extra_repr(self) -> str:
        """Name what is classified."""
        return f"{self.view}/{self.part}: {', '.join(self.labels)}, gamma={self.gamma}"
