"""SigLIP (Zhai et al. 2023): each image-report pair is a yes-or-no question of its own."""

from __future__ import annotations

from typing import Annotated, Any

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.core.registry import FromModel
from medvlp.core.term import Terms
from medvlp.models.scale import LogitScale
from medvlp.objectives._compared import Compared
from medvlp.objectives._sigmoid_contrast import sigmoid_contrast
from medvlp.objectives._targets import Exclusion, Relation


class Siglip(Compared):
    """Sum over all pairs of -log sigmoid(y (s f(v, t) + b)), divided by the number of image rows.

    Own image rows meet everybody's texts, so each pair is asked once over all processes. The model needs a logit scale
    with a bias that starts low (the paper: scale 10, bias -10), or the first steps are spent learning that most pairs
    do not match.

    Args:
        image, text, positives: as in `clip`.
        score: component of `models/scores`, with options or by its name alone, evaluated from image to text.
        exclude: which of the others are not asked about, because they are probably no negatives.
        model: given by the builder; its logit scale must have a bias.

    Returns:
        ``pairs``.

    Raises:
        ConfigError: if the model's logit scale has no bias.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)}
        >>> terms = Siglip()(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> round(terms["pairs"].value().item(), 4)  # log(1 + 1/e) + log 2
        1.0064
    """

    two_way = False

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        model: Annotated[Model | None, FromModel("model")] = None,
    ) -> None:
        super().__init__(objective="siglip", image=image, text=text, score=score, positives=positives, exclude=exclude)
        if model is not None and isinstance(model.scale, LogitScale) and model.scale.bias is None:
            raise ConfigError(
                "Objective 'siglip' needs a logit scale with a bias, which starts low because nearly all pairs do not "
                "match: write model.scale: {init: 10.0, bias: -10.0}."
            )

    def forward(self, ctx: Context) -> Terms:
        """Return the term of all pairs."""
        return {"pairs": self.summed(ctx, self.image, self.text, sigmoid_contrast)}
