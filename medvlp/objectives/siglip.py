"""SigLIP (Zhai et al. 2023): each image-report pair is a yes-or-no question of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Model, Objective, Score
from medvlp.core.registry import FromModel, build
from medvlp.core.term import Terms
from medvlp.models.scale import LogitScale
from medvlp.objectives._contrast import sigmoid_contrast
from medvlp.objectives._targets import Exclusion, Relation, compared, needed_fields, needed_views, pairs, similarity

__all__ = ["Siglip"]


class Siglip(Objective):
    """Sum over all pairs of -log sigmoid(y (s f(v, t) + b)), divided by the number of image rows.

    Own image rows meet everybody's texts, so each pair is asked once over all processes. The model needs a logit scale
    with a bias that starts low (the paper: scale 10, bias -10), or the first steps are spent learning that most pairs
    do not match.

    Args:
        image: view of the images.
        text: view of the texts.
        score: component of `models/scores`, with options or by its name alone, evaluated from image to text.
        positives: which texts belong to an image, see `clip`.
        exclude: which of the others are not asked about, because they are probably no negatives.
        model: given by the builder; its logit scale must have a bias.

    Returns:
        ``pairs``.

    Raises:
        ConfigError: if the model's logit scale has no bias.

    Example:
        >>> import torch
        >>> from medvlp.core.parts import Part
        >>> from medvlp.core.keys import parse_key
        >>> from medvlp.core.sample import Batch
        >>> parts = {parse_key(f"{v}/embedding"): Part(torch.eye(2), torch.arange(2)) for v in ("image", "text")}
        >>> terms = Siglip()(Context(parts=parts, batch=Batch.of({"text": ["clear", "effusion"]})))
        >>> round(terms["pairs"].value().item(), 4)  # log(1 + 1/e) + log 2
        1.0064
    """

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
        super().__init__()
        if model is not None and isinstance(model.scale, LogitScale) and model.scale.bias is None:
            raise ConfigError(
                "Objective 'siglip' needs a logit scale with a bias, which starts low because nearly all pairs do not "
                "match: write model.scale: {init: 10.0, bias: -10.0}."
            )
        self.image = image
        self.text = text
        self.score_spec = {"name": score} if isinstance(score, str) else score
        self.score: Score = build("models/scores", self.score_spec, where="score of objective 'siglip'")
        self.positives: Relation = positives
        self.exclude: Exclusion = exclude

    def needs(self) -> frozenset[Key]:
        """What the score reads of both views, and the fields that tell who is the same."""
        read = keys(*(f"{view}/{part}" for view in (self.image, self.text) for part in self.score.reads))
        return read | needed_fields(self.positives, self.exclude, text=self.text)

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """What reads the facts of texts, where they are compared."""
        return needed_views(self.positives, self.exclude, text=self.text)

    def heads(self) -> Mapping[str, HeadSpec]:
        """Heads that the score reads."""
        return self.score.heads()

    def answers(self) -> Sequence[AnswerSpec]:
        """What pictures and texts near each other can be asked."""
        return compared(self.image, self.text, self.score_spec, self.score)

    def forward(self, ctx: Context) -> Terms:
        """Return the term of all pairs."""
        part = self.score.reads[0]
        rows, columns = f"{self.image}/{part}", f"{self.text}/{part}"
        found = pairs(ctx, self.positives, self.exclude, rows=rows, columns=columns, text=self.text)
        scores = similarity(ctx, self.score, self.image, self.text)
        return {"pairs": sigmoid_contrast(scores, found.target, exclude=found.exclude)}

    def extra_repr(self) -> str:
        """Name what was chosen."""
        return f"{self.image} <-> {self.text}, positives={self.positives}, exclude={self.exclude}"
