"""Answers to questions about a picture: of a closed list, or written word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from medvlp.answers._writer import Writer, memories, refuse_ragged, towers_of
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.heads._question_head import QuestionHead


class Question(Answer):
    """What a model answers to one question about every picture, or to one of each picture's own.

    With a list, each answer of it has a probability and the most probable is the text. Without one a generator goes on
    after the question. A picture that is not there, or of which nothing is asked, is answered by the empty text
    and scores that are not a number.

    Args:
        head: name of the `question_classifier`, `bilinear_question`, `conditional_question` or `generator`.
        reads: key of what it reads of a picture.
        view: as which questions are encoded, for a list.
        answers: the list, in the head's order; empty: answers are written.

    Example:
        >>> sorted(Question(answers=["yes", "no"]).gives), sorted(Question(head="captioner").gives)
        (['scores', 'text'], ['text'])
    """

    asks: ClassVar = "question"

    def __init__(
        self,
        *,
        head: str = "question",
        reads: str = "image/tokens",
        view: str = "text.question",
        answers: list[str] = [],  # noqa: B006  (read only)
    ) -> None:
        self.head, self.reads, self.view = head, reads, view
        self.answers = tuple(answers)
        self.gives = frozenset({"scores", "text"} if answers else {"text"})  # pyrefly: ignore

    def needs(self, model: Model) -> frozenset[Key]:
        """What the head reads of pictures."""
        return keys(self.reads)

    def check(self, model: Model) -> None:
        """Refuse a model that cannot answer."""
        refuse_ragged(self.reads, model)
        self.begin(model, Ask())
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> Writer | TowerModel:
        """Return the classifier or text decoder that answers."""
        if not self.answers:
            return Writer.of(model, self.head)
        towers = towers_of(model, self.head)
        head = towers.heads[self.head]
        if not isinstance(head, QuestionHead) or head.answers != len(self.answers):
            raise ConfigError(
                f"The head {self.head!r} does not classify {len(self.answers)} answers: list the answers that it was "
                f"trained with, or none for a generator."
            )
        towers.check(Plan.of(keys(f"{self.view}/tokens", f"{self.view}/mask")))
        return towers

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:  # noqa: ANN401
        """Answer the one question, or each row its own.

        Raises:
            ConfigError: if there are neither one question nor as many as rows.
        """
        questions = ask.questions * len(rows.table) if len(ask.questions) == 1 else ask.questions
        if len(questions) != len(rows.table):
            raise ConfigError(
                f"{len(ask.questions)} questions about {len(rows.table)} pictures: ask one of all, or each its own."
            )
        column = rows.table[self.reads]
        if isinstance(begun, Writer):
            return Predictions(
                tuple(rows.table.ids), text=_written(begun, column, questions, rows.table.ids, ask.decoding)
            )
        shares = self._shares(begun, column, questions)
        there = ~np.isnan(shares[:, 0])
        best = np.where(there, np.nan_to_num(shares).argmax(axis=1), -1)
        return Predictions(
            tuple(rows.table.ids),
            scores={text: shares[:, i] for i, text in enumerate(self.answers)},
            text=tuple(self.answers[i] if i >= 0 else "" for i in best.tolist()),
        )

    def _shares(self, model: TowerModel, column: NDArray[np.float32], questions: Sequence[str]) -> NDArray[np.float64]:
        """Return (N, C) probabilities."""
        head: Any = model.heads[self.head]
        device, plan = next(model.parameters()).device, Plan.of(keys(f"{self.view}/tokens", f"{self.view}/mask"))
        shares = np.full((len(questions), len(self.answers)), np.nan)
        with evaluating(model), torch.inference_mode():
            for index, memory in memories(column, device):
                rows = model(Batch.of({self.view: [questions[i] for i in index]}).to(device), plan)[self.view]
                logits = head.forward_logits(memory, None, rows.part("tokens"), rows.part("mask"))
                shares[index] = logits.cpu().double().softmax(dim=1).numpy()
        shares[np.array([not question.strip() for question in questions])] = np.nan
        return shares


def _written(
    writer: Writer, column: NDArray[np.float32], questions: Sequence[str], ids: Sequence[str], decoding: Decoding | None
) -> tuple[str, ...]:
    """Write after each question; pictures with the same question are written together."""
    texts = [""] * len(questions)
    for question in filter(str.strip, dict.fromkeys(questions)):
        asked = np.array([i for i, text in enumerate(questions) if text == question])
        for index, memory in memories(column[asked], writer.device):
            places = asked[index].tolist()
            own = [ids[row] for row in places]
            for row, text in zip(places, writer.write(memory, after=question, decoding=decoding, ids=own), strict=True):
                texts[row] = text
    return tuple(texts)
