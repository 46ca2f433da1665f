"""Visual question answering in one file: which of two answers, as somebody outside medvlp would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms


class YesOrNo(Objective):
    """Cross entropy of "yes" and "no"."""

    scope = "sample"

    def needs(self) -> frozenset[Key]:
        return keys("image/tokens", "text.question/tokens", "text.question/mask", "text.answer")

    def heads(self) -> Mapping[str, HeadSpec]:
        return {"yes_or_no": HeadSpec("question_classifier", {"answers": 2, "width": 16, "layers": 1}, keep=True)}

    def answers(self) -> Sequence[AnswerSpec]:
        return (AnswerSpec("question", {"head": "yes_or_no", "answers": ["yes", "no"]}, alias="yes_or_no"),)

    def forward(self, ctx: Context) -> Terms:
        head: Any = ctx.heads["yes_or_no"]
        words, mask = ctx["text.question/tokens"], ctx["text.question/mask"]
        logits = head.forward_logits(ctx["image/tokens"], None, words, mask)
        truth = torch.tensor([("yes", "no").index(text) for text in ctx.batch.strings("text.answer")])
        return {"answer": Term.of(functional.cross_entropy(logits, truth.to(logits.device), reduction="none"))}
