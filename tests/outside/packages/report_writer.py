"""A writer of reports in one file: the next word, given the picture, as somebody outside medvlp would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn import functional

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Term, Terms


class NextWord(Objective):
    """Cross entropy of each word after the first."""

    scope = "sample"

    def needs(self) -> frozenset[Key]:
        return keys("image/tokens", "text/ids", "text/mask")

    def heads(self) -> Mapping[str, HeadSpec]:
        return {"writer": HeadSpec("generator", {"width": 16, "layers": 1, "heads": 2}, keep=True)}

    def answers(self) -> Sequence[AnswerSpec]:
        return (AnswerSpec("report", {"head": "writer"}),)

    def forward(self, ctx: Context) -> Terms:
        head: Any = ctx.heads["writer"]
        ids, mask = ctx["text/ids"], ctx["text/mask"]
        logits = head.forward_logits(ctx["image/tokens"], None, ids)
        real = mask[:, 1:]
        return {"word": Term.of(functional.cross_entropy(logits[:, :-1][real], ids[:, 1:][real], reduction="none"))}
