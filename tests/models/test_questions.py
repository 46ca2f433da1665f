"""Heads that answer questions: MEVF's and QCR's, on the same bilinear attention; the vector that MEVF reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.models.architectures._remembered import Remembered
from medvlp.models.encoders.transformer import TextTransformer
from medvlp.models.heads._question_head import BilinearAttention, QuestionHead
from medvlp.models.heads.autoencoded import Autoencoded
from medvlp.models.heads.bilinear_question import BilinearQuestion
from medvlp.models.heads.conditional_question import ConditionalQuestion
from medvlp.models.heads.question_classifier import QuestionClassifier
from tests.models.words import HashWords, dual, pairs

HEADS: dict[str, tuple[type[QuestionHead], dict[str, Any]]] = {
    "cross attention": (QuestionClassifier, {"width": 8, "layers": 2, "heads": 2}),
    "bilinear": (BilinearQuestion, {"width": 8, "dropout": 0.0}),
    "conditional": (ConditionalQuestion, {"width": 8, "glimpses": 3, "closed": 2, "dropout": 0.0}),
}


def tower() -> TextTransformer:
    return TextTransformer(words=HashWords(), width=8, layers=1, heads=2)


def made(name: str, **options: Any) -> Any:
    kind, own = HEADS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(**{"memory_width": 6, "text": tower(), "answers": 5, **own, **options}).double()


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def first(*lengths: int, of: int) -> Tensor:
    return torch.arange(of)[None] < torch.tensor(lengths)[:, None]


def fusion(glimpses: int = 2) -> BilinearAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BilinearAttention(image_width=6, width=4, glimpses=glimpses).double()


@pytest.mark.parametrize("name", HEADS)
def test_padding_is_not_read_and_the_image_is(name: str) -> None:
    head = made(name)
    memory, words = draw(2, 5, 6), draw(2, 5, 8, seed=2)
    seen, mask = first(3, 5, of=5), first(2, 4, of=5)
    logits = head.forward_logits(memory, seen, words, mask)
    for row, (vectors, length) in enumerate(((3, 2), (5, 4))):
        at = slice(row, row + 1)
        only = head.forward_logits(memory[at, :vectors], None, words[at, :length], mask[at, :length])
        torch.testing.assert_close(logits[at], only)
    assert not torch.allclose(head.forward_logits(memory.flip(0), seen.flip(0), words, mask), logits)
    assert head.forward_logits(memory[:0], None, words[:0], mask[:0]).shape == (0, 5)


@pytest.mark.parametrize("name", HEADS)
def test_a_question_needs_words(name: str) -> None:
    with pytest.raises(ConfigError, match="A question needs a text tower that reads it, and the model has none"):
        made(name, text=None)


def test_of_one_vector_the_joint_softmax_is_one_over_words() -> None:
    own, image, words, mask = fusion(), draw(2, 1, 6), draw(2, 5, 4, seed=2), first(3, 5, of=5)
    maps = own.attention(image, None, words, mask)
    key = own.map_image(image).relu()[:, 0]
    for glimpse, weight in enumerate(own.glimpses):
        logits = (own.map_words(words).relu() * (key * weight)[:, None]).sum(dim=2)
        for row, length in enumerate((3, 5)):
            torch.testing.assert_close(maps[row, glimpse, 0, :length], logits[row, :length].softmax(dim=0))
    assert not maps[0, :, :, 3:].any()


def test_fusion_is_its_formula_written_out() -> None:
    own, image, words = fusion(3), draw(1, 2, 6), draw(1, 3, 4, seed=2)
    pairs_of = [(i, j) for i in range(2) for j in range(3)]
    asked = words[0]
    for glimpse in range(3):
        scores = [
            (own.glimpses[glimpse] * own.map_image(image[0, i]).relu() * own.map_words(words[0, j]).relu()).sum()
            for i, j in pairs_of
        ]
        joint = sum(
            weight * own.images[glimpse](image[0, i]).relu() * own.words[glimpse](asked[j]).relu()
            for weight, (i, j) in zip(torch.stack(scores).softmax(dim=0), pairs_of, strict=True)
        )
        asked = asked + own.outputs[glimpse](joint)
    torch.testing.assert_close(own(image, None, words, first(3, of=3))[0], asked.sum(dim=0))


def test_answers_of_the_other_kind_have_no_probability_and_no_gradient() -> None:
    head = made("conditional")
    closed = torch.tensor([True, False, True])
    logits = head.forward_logits(draw(3, 2, 6), None, draw(3, 4, 8, seed=2), first(4, 4, 2, of=4), closed)
    shares = logits.softmax(dim=1)
    assert not shares[closed][:, 2:].any()
    assert not shares[1, :2].any()
    truth = F.one_hot(torch.tensor([0, 3, 1]), 5).double()
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    assert not loss[closed][:, 2:].any()
    (slope,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
    assert not slope[closed][:, 2:].any()
    loss[closed].sum().backward()
    assert not any(weight.grad.any() for weight in head.outputs[1].parameters())  # open questions': none was asked
    with pytest.raises(ConfigError, match="closed is 5 of 5 answers, so that none is left for open questions"):
        made("conditional", closed=5)


def test_the_router_reads_questions_alone_and_leaves_their_tower_as_it_is() -> None:
    head, words, mask = made("conditional"), draw(3, 4, 8).requires_grad_(), first(4, 4, 2, of=4)
    logit = head.closed_logit(words, mask)
    assert not logit.sum().requires_grad or torch.autograd.grad(logit.sum(), words, allow_unused=True) == (None,)
    memory = draw(3, 2, 6, seed=3)
    by_router = head.forward_logits(memory, None, words, mask)
    torch.testing.assert_close(by_router, head.forward_logits(memory, None, words, mask, logit > 0))


def test_a_router_that_knows_is_better_than_one_that_guesses() -> None:
    """Words 0 and 1 ask a closed question, 2 and 3 an open one; the image's sign is the answer."""
    head = made("conditional", answers=4)
    asked, sign = torch.arange(64) % 4, (torch.arange(64) // 4) % 2
    words = draw(4, 1, 8, seed=5)[asked]
    memory = draw(1, 1, 6, seed=6) * (2 * sign - 1)[:, None, None]
    closed = asked < 2
    truth = sign + 2 * (~closed)
    mask = torch.ones(64, 1, dtype=torch.bool)
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        logits = head.forward_logits(memory, None, words, mask, closed)
        loss = F.binary_cross_entropy_with_logits(logits, F.one_hot(truth, 4).double(), reduction="none").sum(1).mean()
        routed = F.binary_cross_entropy_with_logits(head.closed_logit(words, mask), closed.double())
        (loss + routed).backward()
        optimiser.step()
    guess = torch.rand(64, generator=torch.Generator().manual_seed(0)) > 0.5

    def right(kind: Tensor | None) -> float:
        return float((head.forward_logits(memory, None, words, mask, kind).argmax(1) == truth).double().mean())

    assert right(closed) == 1
    assert right(None) == 1  # the router has learnt it
    assert right(guess) < 0.75


def test_the_code_stands_beside_the_vector_and_is_of_the_gray_image() -> None:
    head = Autoencoded(in_width=3, code=4)
    rows = Encoded(owner=torch.arange(2), pooled=torch.rand(2, 3), pixels=torch.rand(2, 3, 128, 128))
    said = head(rows, "seen")
    assert head.width == said["seen"].shape[1] == 7
    assert torch.equal(said["seen"][:, :3], rows.part("pooled"))
    torch.testing.assert_close(said["seen_gray"], rows.pixels.mean(dim=1))
    again = Encoded(owner=rows.owner, pooled=rows.pooled, pixels=rows.pixels[:, [2, 0, 1]])
    torch.testing.assert_close(head(again, "seen")["seen"], said["seen"])
    with pytest.raises(ConfigError, match="The head 'seen' looks at images, and these are none"):
        head(Encoded(owner=rows.owner, pooled=rows.pooled, pixels=torch.rand(2, 1, 5, 8, 8)), "seen")


def test_inside_a_model_it_sees_what_the_tower_sees_and_nobody_else_does() -> None:
    model = dual(heads={"image/seen": {"name": "autoencoded", "code": 3}}).eval()
    plan, batch = Plan.of(keys("image/seen", "image/seen_gray")), pairs()
    rows = model(batch, plan)["image"]
    pixels = batch["image"].values
    expected = F.interpolate(pixels, size=(128, 128), mode="bilinear", antialias=True)[:, 0]
    torch.testing.assert_close(rows.part("seen_gray"), expected)
    assert rows.pixels is None
    model.towers.requires_grad_(False)
    model.remembered = Remembered()
    torch.testing.assert_close(model(batch, plan)["image"].part("seen"), rows.part("seen"))
