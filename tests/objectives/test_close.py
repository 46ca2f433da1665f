"""CLOSE: a writer of noisy text vectors; MacCap's several copies."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.caption import Caption
from medvlp.objectives.close import Close, noisy
from medvlp.objectives.maccap import Maccap

WORDS, WIDTH = 6, 5


class Decoder(nn.Module):
    """Logits from the last word and the mean of what is read; it remembers what that was."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.after = torch.randn(WORDS, WORDS, generator=draw, dtype=torch.float64)
        self.of = torch.randn(WIDTH, WORDS, generator=draw, dtype=torch.float64)
        self.read = torch.zeros(0)

    def forward_logits(self, memory: Tensor, mask: Any, ids: Tensor, findings: Any = None) -> Tensor:
        self.read = memory
        return self.after[ids] + (memory.mean(dim=1) @ self.of)[:, None]


def context(owners: tuple[int, ...] = (0, 1, 2), targets: tuple[int, ...] | None = None) -> Context:
    draw = torch.Generator().manual_seed(1)
    targets = owners if targets is None else targets
    ids = torch.randint(1, WORDS, (len(targets), 4), generator=draw)
    mask = torch.arange(4)[None] < torch.tensor([4, 2, 3, 1])[: len(targets), None]
    vectors = unit(torch.randn(len(owners), WIDTH, generator=draw, dtype=torch.float64))
    parts = {"text/embedding": Part(vectors, torch.tensor(owners))}
    to = "text" if targets == owners else "text.other"
    parts |= {f"{to}/ids": Part(ids, torch.tensor(targets)), f"{to}/mask": Part(mask, torch.tensor(targets))}
    batch = Batch(tuple("abcd"), torch.arange(4), {"text": Column(("",) * len(owners), torch.tensor(owners))})
    made = {parse_key(key): part for key, part in parts.items()}
    return Context(parts=made, batch=batch, heads={"captioner": Decoder()}, chunk=True)


def test_without_noise_it_is_the_caption_of_a_texts_own_vector() -> None:
    ctx = context()
    term = Close(std=0)(ctx)["next_token"]
    other = Caption(image="text", part="embedding")(ctx)["next_token"]
    assert (term.sum.item(), term.count.item()) == (pytest.approx(other.sum.item(), rel=1e-12), other.count.item())


def test_each_of_two_texts_is_written_from_its_own_vector() -> None:
    ctx = context((0, 0, 1))
    for objective in (Close(std=0), Maccap(std=0, copies=2)):
        objective(ctx)
        read: Any = ctx.heads["captioner"].read
        copies = read.shape[1]
        torch.testing.assert_close(read, ctx["text/embedding"][:, None].expand(-1, copies, -1))


def test_another_text_is_written_from_the_first_vector_of_its_sample() -> None:
    ctx = context((0, 0, 2), (2, 0, 1))  # sample 1 has no vector
    term = Close(std=0, target="text.other")(ctx)["next_token"]
    decoder, total, count = ctx.heads["captioner"], 0.0, 0
    for text, vector in ((0, 2), (1, 0)):
        words = ctx["text.other/ids"][text][ctx["text.other/mask"][text]].tolist()
        for last, word in pairwise(words):
            logits = (decoder.after[last] + ctx["text/embedding"][vector] @ decoder.of).tolist()
            total += math.log(sum(map(math.exp, logits))) - logits[word]
            count += 1
    assert (term.sum.item(), term.count.item()) == (pytest.approx(total, rel=1e-12), count)


@pytest.mark.parametrize(("width", "std"), [(768, 0.08), (768, 0.12), (512, 0.016**0.5), (64, 0.3)])
def test_the_mean_cosine_of_a_vector_and_its_noisy_copy(width: int, std: float) -> None:
    """Checks of the cards: 0.411 and 0.288 at D = 768, 0.330 with MacCap's variance at D = 512."""
    draw = torch.Generator().manual_seed(2)
    vectors = unit(torch.randn(200, width, generator=draw))
    copies = noisy(vectors, torch.rand(200, 10 * width * 2, generator=draw), std=std)
    assert copies.shape == (200, 10, width)
    torch.testing.assert_close(copies.norm(dim=2), torch.ones(200, 10))
    expected = (1 + width * std**2) ** -0.5
    assert (copies * vectors[:, None]).sum(dim=2).mean().item() == pytest.approx(expected, abs=3e-3)
    known = {(768, 0.08): 0.411, (768, 0.12): 0.288, (512, 0.016**0.5): 0.330}
    assert expected == pytest.approx(known.get((width, std), expected), abs=5e-4)


def test_noise_is_of_the_sample_and_of_each_copy_and_none_without_variance() -> None:
    ctx = context((0, 1, 1))
    Maccap(copies=3)(ctx)
    read: Any = ctx.heads["captioner"].read
    noise = read * (1 / read.norm(dim=2, keepdim=True)) - ctx["text/embedding"][[0, 1, 2]][:, None]
    assert (noise[:, 0] - noise[:, 1]).abs().max() > 1e-3
    again = context((0, 1, 1))
    Maccap(copies=3)(again)
    assert torch.equal(again.heads["captioner"].read, read)
    Maccap(copies=3, std=0)(ctx)
    still = ctx.heads["captioner"].read
    torch.testing.assert_close(still, ctx["text/embedding"][[0, 1, 2]][:, None].expand(-1, 3, -1))
