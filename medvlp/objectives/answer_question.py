"""Visual question answering over a closed list: which answer, given the picture and the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import promoted
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._rows import first_of, memory_keys


class _Classifier(Protocol):
    def forward_logits(
        self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor, **kind: Tensor
    ) -> Tensor: ...

    def closed_logit(self, words: Tensor, word_mask: Tensor) -> Tensor: ...


class AnswerQuestion(Objective):
    r"""Cross entropy of the true answer, L = - mean over questions of log p(a | image, question).

    An answer counts where it is on the list, case and surrounding space aside; other questions are left out, of sum
    and count. A sample asks one question of its first image.

    Args:
        answers: the list, in order; the head has a logit for each.
        image: view of the images; of a stack, its slices.
        question: view of the questions.
        answer: field of the true answers.
        part: of the image: its ``tokens``, ``pooled``, or what a pooler or another head of the model gives.
        width: of the head; None: as that head has it.
        layers: blocks of a `question_classifier`.
        heads: of its attention.
        classifier: the head and its options: `question_classifier`, `bilinear_question` or `conditional_question`.
        closed: for `conditional_question`, how many of the list, its first, answer closed questions: the head learns
            which questions are closed and is told in training.
        loss: ``cross_entropy``, or ``binary``: of each answer by itself, summed over answers, as MEVF and PubMedCLIP
            have it.
        head: name under which the head is mounted.

    Returns:
        ``answer``; with `closed` also ``kind``, the binary cross entropy of open and closed.

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
        width: int | None = None,
        layers: int | None = None,
        heads: int | None = None,
        classifier: dict[str, Any] = {"name": "question_classifier"},  # noqa: B006  (read only; part of the schema)
        closed: Annotated[int, Field(ge=0)] = 0,
        loss: Literal["cross_entropy", "binary"] = "cross_entropy",
        head: str = "question",
    ) -> None:
        super().__init__()
        self.places = {_plain(text): i for i, text in enumerate(answers)}
        if len(answers) < 2 or len(self.places) < len(answers):
            raise ConfigError(f"answers of objective 'answer_question' are {answers}: list two or more, each once.")
        self.texts = list(answers)
        self.head = head
        sizes = {"width": width, "layers": layers, "heads": heads, "closed": closed or None}
        sizes = {name: size for name, size in sizes.items() if size is not None}
        spec = {"answers": len(answers), "reads": part, **sizes, **classifier}
        self.spec = HeadSpec(str(spec.pop("name", "")), spec, keep=True)
        self.closed, self.loss = closed, loss
        self._memory, self._memory_mask = memory_keys(image, part)
        self._view, self._answer = question, answer
        self._words, self._word_mask = f"{question}/tokens", f"{question}/mask"

    def needs(self) -> frozenset[Key]:
        """The image's vectors, the question's tokens, and the answers."""
        asked = (self._memory, self._memory_mask, self._words, self._word_mask, self._answer)
        return keys(*(key for key in asked if key))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The classifier."""
        return {self.head: self.spec}

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
        memory = memory[:, None] if memory.dim() == 2 else memory  # one vector
        mask = None if self._memory_mask is None else ctx[self._memory_mask][image[asked]]
        words, word_mask, truth = ctx[self._words][asked], ctx[self._word_mask][asked], truth[asked]
        head = cast("_Classifier", ctx.heads[self.head])
        kind = {"closed": truth < self.closed} if self.closed else {}
        logits = promoted(head.forward_logits(memory, mask, words, word_mask, **kind))
        if self.loss == "binary":
            wanted = F.one_hot(truth, logits.shape[1]).to(logits.dtype)
            losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=1)
        else:
            losses = F.cross_entropy(logits, truth, reduction="none")
        terms = {"answer": Term.of(losses)}
        if kind:
            routed = promoted(head.closed_logit(words, word_mask))
            terms["kind"] = Term.of(
                F.binary_cross_entropy_with_logits(routed, kind["closed"].to(routed.dtype), reduction="none")
            )
        return terms


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
