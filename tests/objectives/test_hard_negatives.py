from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.models.scores.late_interaction import LateInteraction
from medvlp.objectives.hard_negatives import HardNegatives
from tests.objectives.world import rows


def context(image: Tensor, text: tuple[Tensor, list[int]], copies: tuple[Tensor, list[int]]) -> Context:
    parts = {
        parse_key("image/embedding"): Part(image, torch.arange(len(image))),
        parse_key("text/embedding"): Part(text[0], torch.tensor(text[1], dtype=torch.int64)),
        parse_key("text.negative/embedding"): Part(copies[0], torch.tensor(copies[1], dtype=torch.int64)),
    }
    return Context(parts=parts, batch=Batch.of({"text": list("abcdefgh")[: len(image)]}))


def test_it_is_the_loop_over_images_and_their_texts():
    image, text, copies = rows(4, 0), rows(5, 1), rows(4, 2)
    of_text, of_copy = [0, 1, 1, 2, 3], [0, 1, 1, 3]
    losses = []
    for i in range(4):
        negative = [copies[k] @ image[i] for k in range(4) if of_copy[k] == i]
        own = [text[k] @ image[i] for k in range(5) if of_text[k] == i]
        if negative:
            each = [torch.stack([z, *negative]).logsumexp(0) - z for z in own]
            losses.append(torch.stack(each).mean())
    term = HardNegatives()(context(image, (text, of_text), (copies, of_copy)))["own_text"]
    assert term.count.item() == 3
    torch.testing.assert_close(term.sum, torch.stack(losses).sum(), rtol=1e-12, atol=1e-12)


def test_a_copy_is_never_a_negative_of_another_image():
    image, text = rows(3, 0), rows(3, 1)
    copies = rows(1, 2).requires_grad_()
    image.requires_grad_()
    HardNegatives()(context(image, (text, [0, 1, 2]), (copies, [1])))["own_text"].sum.backward()
    assert image.grad is not None
    assert copies.grad is not None
    assert image.grad[1].norm() > 1e-3
    assert copies.grad.norm() > 1e-3
    assert image.grad[[0, 2]].abs().max() == 0


def test_a_copy_equal_to_the_text_costs_log_two_and_without_copies_there_is_nothing():
    image, text = rows(2, 0), rows(2, 1)
    term = HardNegatives()(context(image, (text, [0, 1]), (text[:1], [0])))["own_text"]
    assert term.value().item() == pytest.approx(0.6931471805599453, abs=1e-12)
    none = HardNegatives()(context(image, (text, [0, 1]), (text[:0], [])))["own_text"]
    assert (none.sum.item(), none.count.item()) == (0.0, 0.0)
    # An image whose text is missing has nothing to tell from its copy.
    alone = HardNegatives()(context(image, (text[:1], [0]), (text[1:], [1])))["own_text"]
    assert alone.count.item() == 0


def test_by_late_interaction_copies_may_have_more_words_than_texts():
    generator = torch.Generator().manual_seed(0)
    parts, sizes = {}, {"image": 5, "text": 3, "text.negative": 7}
    for view, length in sizes.items():
        local = torch.randn(2, length, 4, generator=generator, dtype=torch.float64)
        mask = torch.arange(length)[None] < torch.tensor([[length], [2]])
        parts |= {
            parse_key(f"{view}/local"): Part(local, torch.arange(2)),
            parse_key(f"{view}/mask"): Part(mask, torch.arange(2)),
        }
    term = HardNegatives(score="late_interaction")(Context(parts=parts, batch=Batch.of({"text": ["a", "b"]})))[
        "own_text"
    ]
    image, *texts = ({part: parts[parse_key(f"{view}/{part}")].values for part in ("local", "mask")} for view in sizes)
    true, false = (LateInteraction()(image, each).diagonal() for each in texts)
    torch.testing.assert_close(term.sum, (torch.stack([true, false]).logsumexp(0) - true).sum(), rtol=1e-9, atol=1e-9)


def test_it_asks_for_its_three_views():
    objective = build("objectives", {"name": "hard_negatives", "negative": "text.other"}, where="test")
    assert sorted(map(str, objective.needs())) == ["image/embedding", "text.other/embedding", "text/embedding"]
