from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.answer_question import AnswerQuestion

ANSWERS = ["yes", "no", "left lung"]


class Linear(nn.Module):
    """Logits of the mean real token of the picture and of the question: easy to write out by hand."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.image = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        self.words = nn.Parameter(torch.randn(5, 3, generator=generator, dtype=torch.float64))

    def forward_logits(self, memory: Tensor, mask: Tensor | None, words: Tensor, word_mask: Tensor) -> Tensor:
        seen = torch.ones(memory.shape[:2], dtype=torch.bool) if mask is None else mask
        return _mean(memory, seen) @ self.image + _mean(words, word_mask) @ self.words


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    return (tokens * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def context(view: str = "image") -> Context:
    """Sample 1 has no picture, 2 no question, 3 an answer that is on no list; 4 says its in other letters."""
    generator = torch.Generator().manual_seed(1)
    images, questions = torch.tensor([0, 0, 2, 3, 4]), torch.tensor([0, 1, 3, 4])
    seen = torch.arange(6)[None] < torch.tensor([6, 3, 2, 5, 1])[:, None]
    mask = torch.arange(7)[None] < torch.tensor([7, 4, 2, 3])[:, None]
    parts = {
        f"{view}/tokens": Part(torch.randn(5, 6, 4, generator=generator, dtype=torch.float64), images),
        f"{view}/mask": Part(seen, images),
        "text.question/tokens": Part(torch.randn(4, 7, 5, generator=generator, dtype=torch.float64), questions),
        "text.question/mask": Part(mask, questions),
    }
    parts[f"{view}/pooled"] = Part(parts[f"{view}/tokens"].values[:, 0], images)
    answers = Column(("no", "yes", "yes", "a bit", " Left  lung"), torch.arange(5))
    batch = Batch(tuple("abcde"), torch.arange(5), {"text.answer": answers})
    return Context(
        parts={parse_key(key): part for key, part in parts.items()},
        batch=batch,
        heads={"question": Linear()},
        chunk=True,
    )


@pytest.mark.parametrize("view", ["image", "stack"])
def test_the_loss_is_the_mean_over_questions_whose_answer_is_on_the_list(view: str) -> None:
    ctx = context(view)
    term = AnswerQuestion(answers=ANSWERS, image=view)(ctx)["answer"]
    head: Any = ctx.heads["question"]
    total = 0.0
    for picture, question, truth in ((0, 0, 1), (4, 3, 2)):
        seen = ctx[f"{view}/mask"][picture] if view == "stack" else torch.ones(6, dtype=torch.bool)
        image = ctx[f"{view}/tokens"][picture][seen].mean(0)
        words = ctx["text.question/tokens"][question][ctx["text.question/mask"][question]].mean(0)
        logits = (image @ head.image + words @ head.words).tolist()
        total += math.log(sum(map(math.exp, logits))) - logits[truth]
    assert term.count.item() == 2
    assert term.sum.item() == pytest.approx(total, rel=1e-12)


def test_the_binary_loss_is_a_sum_over_answers_and_one_vector_is_a_token() -> None:
    ctx = context()
    term = AnswerQuestion(answers=ANSWERS, part="pooled", loss="binary")(ctx)["answer"]
    head: Any = ctx.heads["question"]
    total = 0.0
    for picture, question, truth in ((0, 0, 1), (4, 3, 2)):
        words = ctx["text.question/tokens"][question][ctx["text.question/mask"][question]].mean(0)
        logits = (ctx["image/pooled"][picture] @ head.image + words @ head.words).tolist()
        total += sum(math.log1p(math.exp(-each if at == truth else each)) for at, each in enumerate(logits))
    assert term.count.item() == 2
    assert term.sum.item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("answers", [["yes"], ["yes", "Yes "]])
def test_a_list_of_one_or_with_an_answer_twice_is_refused(answers: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"answers of objective 'answer_question' are \['yes'.*: list two or more"):
        AnswerQuestion(answers=answers)
