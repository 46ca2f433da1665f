from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Column, ConfigError, Context, Part
from medvlp.core.keys import Plan, parse_key
from medvlp.models.heads.word_filler import WordFiller
from medvlp.models.patches import apply_patches
from medvlp.models.patches.mask_words import MaskWords
from medvlp.objectives.masked_words import MaskedWords
from tests.models.words import DUAL, dual
from tests.objectives.world import rows

V = 7


class Tower(torch.nn.Module):
    """What the head asks of a text tower."""

    token_width = 6
    words = type("Words", (), {"start_id": 1, "stop_id": 2})()


def filler() -> WordFiller:
    torch.manual_seed(0)
    return WordFiller(embed_dim=6, vocab_size=V, text=Tower()).double()


def context(head: WordFiller, *, picture: Tensor | None = None) -> Context:
    """Three texts, the last of a sample without a picture; padding and marks are hidden as well as words."""
    ids = torch.tensor([[1, 3, 4, 2, 0], [1, 5, 6, 3, 2], [1, 4, 2, 0, 0]])
    hidden = torch.tensor([[1, 1, 0, 0, 1], [0, 0, 1, 1, 1], [0, 1, 0, 1, 1]]).bool()
    owner = torch.arange(3)
    text = {"ids": ids, "mask": ids > 0, "hidden": hidden, "tokens": rows(15, 3).view(3, 5, 6)}
    parts = {parse_key(f"text.masked/{name}"): Part(value, owner) for name, value in text.items()}
    parts[parse_key("image/embedding")] = Part(rows(2, 4) if picture is None else picture, torch.arange(2))
    batch = Batch(tuple("abc"), owner, {"text": Column(tuple("uvw"), owner)})
    return Context(parts=parts, batch=batch, heads={"filler": head}, chunk=True)


def test_it_is_the_cross_entropy_of_the_hidden_words_alone() -> None:
    head = filler()
    torch.nn.init.normal_(head.fuse.weight)
    picture = rows(2, 4)
    term = MaskedWords()(context(head, picture=picture))["hidden_word"]
    tokens, total = rows(15, 3).view(3, 5, 6), 0.0
    for r, at, word in ((0, 1, 3), (1, 2, 6), (1, 3, 3), (2, 1, 4)):  # neither [CLS], [SEP] nor padding
        seen = tokens[r, at] + (head.fuse.weight @ picture[r] if r < 2 else 0)
        logits = head.output(head.hidden(seen)).tolist()
        total += math.log(sum(map(math.exp, logits))) - logits[word]
    assert term.count.item() == 4
    assert term.sum.item() == pytest.approx(total, rel=1e-12)


def test_with_nothing_let_in_it_is_plain_masked_language_modelling() -> None:
    """Check of the card: the loss does not depend on pictures before the first step, and then does."""
    head = filler()
    values = [MaskedWords()(context(head, picture=rows(2, seed)))["hidden_word"].sum for seed in (4, 5)]
    plain = MaskedWords(image=None)(context(head))["hidden_word"].sum
    assert values[0].item() == values[1].item() == plain.item()
    values[0].backward()
    assert head.fuse.weight.grad.abs().max() > 0
    torch.nn.init.normal_(head.fuse.weight)
    one, two = (MaskedWords()(context(head, picture=rows(2, seed)))["hidden_word"].sum for seed in (4, 5))
    assert one.item() != two.item()


def test_without_hidden_words_it_is_nothing() -> None:
    head = filler()
    ctx = context(head)
    hidden = ctx.parts[parse_key("text.masked/hidden")].values
    hidden.zero_()
    term = MaskedWords()(ctx)["hidden_word"]
    assert (term.sum.item(), term.count.item()) == (0, 0)
    term.sum.backward()


def test_a_patch_hides_words_of_its_view_alone_and_only_in_training() -> None:
    model = dual(DUAL)
    plan = Plan.of({parse_key(key) for key in ("text/tokens", "text.masked/tokens", "text/pooled")})
    asked = Plan.of({*plan.needs, parse_key("text.masked/hidden")})
    texts = [f"word{i} " * 12 for i in range(20)]
    batch = Batch.of({"text": texts, "text.masked": texts, "image": torch.rand(20, 1, 32, 32)})
    before = model(batch, plan)["text"].pooled
    apply_patches(model, [{"name": "mask_words", "view": "text.masked", "rate": 0.25}])
    found = model.train()(batch, asked)
    torch.testing.assert_close(found["text"].pooled, before, rtol=0, atol=0)
    hidden = found["text.masked"].part("hidden")
    assert 0.15 < hidden.float().mean() < 0.35
    assert not torch.equal(found["text.masked"].part("tokens"), found["text"].part("tokens"))
    found = model.eval()(batch, asked)
    assert not found["text.masked"].part("hidden").any()
    torch.testing.assert_close(found["text.masked"].part("tokens"), found["text"].part("tokens"), rtol=0, atol=0)


def test_words_are_hidden_where_they_stand_alone() -> None:
    with pytest.raises(ConfigError, match=r"mask_words hides words, and 'tokens\.input' is another site"):
        MaskWords(widths={"text": 4}, uniform=lambda n: torch.zeros(1, n), on="tokens.input")
