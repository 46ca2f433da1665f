"""Segmentation by Dice and cross entropy, with classes that nobody drew left out."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import DataError
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term, Terms
from medvlp.objectives._dense import Drawn, drawn, pixel_mean
from medvlp.objectives._labelled import Labelled

_Side = Annotated[int, Field(ge=1)]


class DiceCe(Labelled):
    r"""Soft Dice (Milletari et al. 2016) plus cross entropy over the pixels of each view, class by class.

    With p the probabilities and g the mask of one class in one view, sums over its pixels::

        dice = 1 - (2 sum p g + smooth) / (sum p + sum g + smooth)
        cross_entropy = - mean of g log p + (1 - g) log(1 - p)

    Classes may overlap: p is a sigmoid (MONAI's `DiceLoss` and torch's binary cross entropy). With `exclusive` p is a
    softmax over K + 1 channels, the first of them the background, which Dice leaves out (MONAI's `DiceCELoss`). Dice is
    taken view by view and averaged over the pairs of view and class.

    A class is the field ``mask.LABEL``. A sample that lacks the field is unknown for that class, and the pair takes no
    part; a mask without a pixel is known to be empty. With `exclusive` the channels of unknown classes are added to the
    background's before anything is compared (marginal loss, Shi et al. 2021, eq. 3-5): pixels outside all known masks
    may hold either; a view with no known class takes no part.

    Args:
        labels: K classes.
        view: whose pixels are drawn over.
        part: name of the head that gives the logits.
        decoder: component of `models/heads` that draws maps: ``unet``, ``fpn``, ``segmenter``.
        exclusive: whether a pixel is of one class at most.
        smooth: above; MONAI's default.
        scores: weight of the same cross entropy of what the decoder gives as ``PART_scores``: the auxiliary loss of
            DenseCLIP (Rao et al. 2022), whose decoder is ``dense_clip``; 0: none.
        window: pixels (z, y, x) of a volume that prediction takes at a time, best those of training; None: as much as
            memory holds.

    Returns:
        ``dice`` and ``cross_entropy``, and ``scores`` where they have a weight.

    Raises:
        ConfigError: for labels or a decoder that cannot be.

    Example:
        >>> objective = DiceCe(labels=["lung", "heart"])
        >>> sorted(map(str, objective.needs()))
        ['image/segmentation', 'mask.heart', 'mask.lung']
        >>> objective.heads()["segmentation"].options, objective.answers()[0].options["labels"]
        ({'classes': 2}, ['lung', 'heart'])
    """

    field, answer = "mask", "segmentation"

    def __init__(
        self,
        *,
        labels: list[str],
        view: str = "image",
        part: str = "segmentation",
        decoder: dict[str, Any] = {"name": "unet"},  # noqa: B006  (read only; the default is part of the schema)
        exclusive: bool = False,
        smooth: Annotated[float, Field(gt=0)] = 1e-5,
        scores: Annotated[float, Field(ge=0)] = 0.0,
        window: tuple[_Side, _Side, _Side] | None = None,
    ) -> None:
        super().__init__(objective="dice_ce", labels=labels, view=view, part=part, head=decoder, more=int(exclusive))
        self.exclusive = exclusive
        self.smooth = smooth
        self.scores = scores
        self.asked = {"exclusive": exclusive, **({"window": list(window)} if window else {})}

    def needs(self) -> frozenset[Key]:
        """The logits and the masks."""
        return super().needs() | (keys(f"{self.key}_scores") if self.scores else frozenset())

    def forward(self, ctx: Context) -> Terms:
        """Return the terms."""
        terms = self._terms(ctx, self.part)
        if self.scores:
            terms["scores"] = self._terms(ctx, f"{self.part}_scores")["cross_entropy"].times(self.scores)
        return terms

    def _terms(self, ctx: Context, part: str) -> dict[str, Term]:
        found = drawn(ctx, self.view, part, self.labels, classes=len(self.labels) + self.exclusive)
        if self.exclusive:
            return self._softmax(found)
        losses = F.binary_cross_entropy_with_logits(found.logits, found.masks, reduction="none")
        return {
            "dice": _term(self._dice(found.logits.sigmoid(), found), found.known),
            "cross_entropy": _term(pixel_mean(losses, found.real), found.known),
        }

    def _softmax(self, found: Drawn) -> dict[str, Term]:
        apart = found.masks.sum(1, keepdim=True)
        if bool((apart > 1).any()):
            raise DataError(
                "Masks of classes that exclude each other overlap: mend the masks, or set exclusive: false."
            )
        logs = found.logits.log_softmax(1)
        hidden = torch.cat([torch.ones_like(found.known[:, :1]), ~found.known], dim=1)
        hidden = hidden.view(*hidden.shape, *[1] * (logs.dim() - 2))
        rest = logs.masked_fill(~hidden, -torch.inf).logsumexp(1, keepdim=True)
        losses = -((logs[:, 1:] * found.masks).sum(1, keepdim=True) + rest * (1 - apart))
        return {
            "dice": _term(self._dice(logs[:, 1:].exp(), found), found.known),
            "cross_entropy": _term(pixel_mean(losses, found.real)[:, 0], found.known.any(1)),
        }

    def _dice(self, probabilities: Tensor, found: Drawn) -> Tensor:
        """1 - Dice of each view and class, (R, K)."""
        if found.real is not None:
            probabilities = probabilities * found.real
        both = (probabilities * found.masks).flatten(2).sum(2)
        each = probabilities.flatten(2).sum(2) + found.masks.flatten(2).sum(2)
        return 1 - (2 * both + self.smooth) / (each + self.smooth)


def _term(losses: Tensor, known: Tensor) -> Term:
    return Term.of(losses.flatten(), known.flatten().to(losses.dtype))
