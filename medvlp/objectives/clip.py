"""CLIP (Radford et al. 2021): images and reports pick each other out of everybody's batch."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._readings import Reading
from medvlp.objectives._targets import Exclusion, Relation


class Clip(Compared):
    r"""Mean of the two directions' cross entropy over scaled similarities.

    L = 1/2 [ mean over image rows of contrast(s f(v, t)) + mean over text rows of contrast(s f(t, v)) ]: own rows
    against the rows of all processes, with s the model's logit scale and f a score. By default every image of an equal
    report is a positive; with distinct reports it is the loss of the paper. Several rows of a sample (sentences, crops)
    are one another's positives, and a row without a partner in the batch adds nothing.

    Args:
        image: view of the images.
        text: view of the texts.
        score: component of `models/scores`, with options or by its name alone; ``late_interaction`` makes this FILIP.
        positives: which texts belong to an image: of its sample, of its study, an equal report, a finding in common,
            or (``true_of``) an equal report and any text that states facts which all are confirmed by the report or
            the labels of the image's sample, as `medvlp.text.read_report` finds them.
        exclude: which of the others are left out because they are probably no negatives, ``true_of`` among them.
        reading: of several positives, see `contrast`.
        positive_in_denominator: False is decoupled contrastive learning (Yeh et al. 2022).
        label_smoothing: as in `contrast`.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight, so that their values add up to L.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)}
        >>> terms = Clip()(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)
        0.3133
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        reading: Reading = "shared",
        positive_in_denominator: bool = True,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(objective="clip", image=image, text=text, score=score, positives=positives, exclude=exclude)
        self.reading: Reading = reading
        self.positive_in_denominator = positive_in_denominator
        self.label_smoothing = label_smoothing

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        loss = partial(
            contrast,
            positives=self.reading,
            positive_in_denominator=self.positive_in_denominator,
            label_smoothing=self.label_smoothing,
        )
        return self.summed(ctx, rows, columns, loss)
