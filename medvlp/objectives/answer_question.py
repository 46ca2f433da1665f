"""Visual question answering over a closed list: which answer, given the picture and the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._rows import first_of, wide

__all__ = ["AnswerQuestion"]


class _Classifier(Protocol):
    def forward_logits(self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor: ...


class AnswerQuestion(Objective):
    r"""Cross entropy of the true answer, L = - mean over questions of log p(a | picture, question).

    An answer counts where it is on the list, case and surrounding space aside; other questions are left out, of sum
    and count. A sample asks one question of its first picture.

    Args:
        answers: the list, in order; the head has a logit for each.
        image: view of the pictures; of a stack, its slices.
        question: view of the questions.
        answer: field of the true answers.
        part: of the picture: its ``tokens``, or the vectors of a pooler that the model has.
        width: of the head.
        layers: its blocks.
        heads: of its attention.
        head: name under which it is mounted.

    Returns:
        ``answer``.

    Raises:
        ConfigError: for fewer than two answers, or one that comes twice.

    Example:
        >>> sorted(map(str, AnswerQuestion(answers=["yes", "no"]).needs()))
        ['image/tokens', 'text.answer', 'text.question/mask', 'text.question/tokens']
    """

    scope: Literal["batch", "sample"] = "sample"

    def __init__(
        self,
        *,
        answers: list[str],
        image: str = "image",
        question: str = "text.question",
        answer: str = "text.answer",
        part: str = "tokens",
        width: int = 192,
        layers: int = 2,
        heads: int = 4,
        head: str = "question",
    ) -> None:
        super().__init__()
        self.places = {_plain(text): i for i, text in enumerate(answers)}
        if len(answers) < 2 or len(self.places) < len(answers):
            raise ConfigError(f"answers of objective 'answer_question' are {answers}: list two or more, each once.")
        self.texts = list(answers)
        self.head = head
        self.options = {"answers": len(answers), "reads": part, "width": width, "layers": layers, "heads": heads}
        self._memory = f"{image}/{part}"
        padded = part == "tokens" and parse_field(image).kind == "stack"
        self._memory_mask = f"{image}/mask" if padded else None
        self._view, self._answer = question, answer
        self._words, self._word_mask = f"{question}/tokens", f"{question}/mask"

    def needs(self) -> frozenset[Key]:
        """The picture's vectors, the question's tokens, and the answers."""
        asked = (self._memory, self._memory_mask, self._words, self._word_mask, self._answer)
        return keys(*(key for key in asked if key))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The classifier."""
        return {self.head: HeadSpec("question_classifier", self.options, keep=True)}

    def answers(self) -> Sequence[AnswerSpec]:
        """Answers to questions."""
        options = {"head": self.head, "reads": self._memory, "view": self._view, "answers": self.texts}
        return (AnswerSpec("question", options),)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        owner = ctx.owner(self._words)
        truths = [self.places.get(_plain(text), -1) for text in ctx.batch.strings(self._answer)]
        truth = torch.tensor(truths, device=owner.device)[owner]
        image = first_of(ctx.owner(self._memory), owner)
        asked = (image >= 0) & (truth >= 0)
        memory = ctx[self._memory][image[asked]]
        mask = None if self._memory_mask is None else ctx[self._memory_mask][image[asked]]
        head = cast("_Classifier", ctx.heads[self.head])
        logits = head.forward_logits(memory, mask, ctx[self._words][asked], ctx[self._word_mask][asked])
        return {"answer": Term.of(F.cross_entropy(wide(logits), truth[asked], reduction="none"))}


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
