"""CLIP (Radford et al. 2021): images and reports pick each other out of everybody's batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective, Score
from medvlp.core.registry import build
from medvlp.core.term import Term, Terms
from medvlp.objectives._contrast import Reading, contrast
from medvlp.objectives._targets import Exclusion, Relation, compared, needed_fields, needed_views, pairs, similarity

__all__ = ["Clip"]


class Clip(Objective):
    r"""Mean of the two directions' cross entropy over scaled similarities.

    L = 1/2 [ mean over image rows of contrast(s f(v, t)) + mean over text rows of contrast(s f(t, v)) ]: own rows
    against the rows of all processes, with s the model's logit scale and f a score. Radiology reports repeat ("No acute
    findings."), so the default takes every image of an equal report as a positive, not as a negative; with distinct
    reports it is the loss of the paper. A sample may have several rows of a view (sentences, crops): they are one
    another's positives, and a row without a partner in the batch adds nothing.

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

    Raises:
        ConfigError: if the label smoothing is not in [0, 1).

    Example:
        >>> import torch
        >>> from medvlp.core.parts import Part
        >>> from medvlp.core.keys import parse_key
        >>> from medvlp.core.sample import Batch
        >>> parts = {parse_key(f"{v}/embedding"): Part(torch.eye(2), torch.arange(2)) for v in ("image", "text")}
        >>> terms = Clip()(Context(parts=parts, batch=Batch.of({"text": ["clear", "effusion"]})))
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
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing of objective 'clip' is {label_smoothing}: use a number in [0, 1).")
        self.image = image
        self.text = text
        self.score_spec = {"name": score} if isinstance(score, str) else score
        self.score: Score = build("models/scores", self.score_spec, where="score of objective 'clip'")
        self.positives: Relation = positives
        self.exclude: Exclusion = exclude
        self.reading: Reading = reading
        self.positive_in_denominator = positive_in_denominator
        self.label_smoothing = label_smoothing

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
        """Return the two directions."""
        return {
            "image_to_text": _half(self._direction(ctx, self.image, self.text)),
            "text_to_image": _half(self._direction(ctx, self.text, self.image)),
        }

    def _direction(self, ctx: Context, rows: str, columns: str) -> Term:
        part = self.score.reads[0]
        found = pairs(
            ctx, self.positives, self.exclude, rows=f"{rows}/{part}", columns=f"{columns}/{part}", text=self.text
        )
        return contrast(
            similarity(ctx, self.score, rows, columns),
            found.target,
            exclude=found.exclude,
            positives=self.reading,
            positive_in_denominator=self.positive_in_denominator,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """Name what was chosen."""
        return f"{self.image} <-> {self.text}, positives={self.positives}, exclude={self.exclude}, {self.reading}"


def _half(term: Term) -> Term:
    return Term(term.sum / 2, term.count)
