"""ConVIRT (Zhang et al. 2022): image to text weighs three times text to image."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.term import Terms
from medvlp.objectives._targets import Exclusion, Relation
from medvlp.objectives.clip import Clip


class Convirt(Clip):
    r"""CLIP's loss of two directions, before CLIP, with a weight between them.

    L = 1/N sum_i [ w l_i(v -> u) + (1 - w) l_i(u -> v) ], l_i the cross entropy of a row over the columns of all
    processes, at the model's logit scale, v the projected image and u the projected text. With w = 1/2 it is `clip`.

    What else belongs to the method stands in the configuration, because a released model must have it too: projections
    with a hidden layer, W2 max(W1 x, 0) (``model.projection: {hidden: 512, bias: true}``), a temperature that is
    fixed at 0.1 (``model.scale: {init: 10, min: 10, max: 10}``), and one sentence of the report drawn anew at each step
    (``sentences`` with ``most: 1``). The paper mirrors images; nothing here does.

    Args:
        image, text, exclude: as in `clip`.
        image_weight: w, the paper's lambda.
        positives: which texts belong to an image, see `clip`; the paper's is ``own``.

    Returns:
        ``image_to_text`` and ``text_to_image``, each times its weight.

    References:
        Zhang et al. 2022, eq. 2 to 4 and section 4.1.

    Note:
        A single sentence drawn from a report is often true of many other patients ("No pneumothorax."), and as their
        negative it is false: keep positives by report, or exclude what is ``true_of`` an image.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)}
        >>> terms = Convirt()(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> {name: round(term.value().item(), 4) for name, term in terms.items()}  # 3/4 and 1/4 of 0.3133
        {'image_to_text': 0.2349, 'text_to_image': 0.0783}
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        image_weight: Annotated[float, Field(ge=0, le=1)] = 0.75,
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
    ) -> None:
        super().__init__(image=image, text=text, positives=positives, exclude=exclude)
        self.image_weight = image_weight

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions."""
        return {
            "image_to_text": self._one_way(ctx, self.image, self.text).times(self.image_weight),
            "text_to_image": self._one_way(ctx, self.text, self.image).times(1 - self.image_weight),
        }
