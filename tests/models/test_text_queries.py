"""Texts that ask through a decoder, words put together, a score that is read out, and a ResNet in three dimensions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.encoders.i3_resnet import I3ResNet
from medvlp.models.heads.text_queries import TextQueries
from medvlp.models.heads.word_sums import WordSums
from medvlp.models.scores.cross_decoder import CrossDecoder
from tests.models.words import DUAL, HashWords


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def book(width: int = 6) -> Bank:
    return Bank("existence", ("a", "b", "c"), drawn(3, width))


def head(**options: Any) -> TextQueries:
    chosen = {"in_width": 8, "banks": {"existence": book()}, "layers": 2, "heads": 2, "feedforward": 12, **options}
    return TextQueries(**chosen).eval()


def rows(tokens: Tensor, mask: Tensor | None = None) -> Encoded:
    real = torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask
    return Encoded(owner=torch.arange(len(tokens)), tokens=tokens, mask=real)


def test_queries_follow_their_texts_and_padding_says_nothing() -> None:
    asking, tokens = head(), drawn(2, 5, 8, seed=1)
    plain = asking(rows(tokens), "m")["m"]
    turned = Bank("existence", ("c", "a", "b"), book().vectors[[2, 0, 1]])  # pyrefly: ignore
    asking.ask(turned)
    assert asking.names == ("c", "a", "b")
    torch.testing.assert_close(asking(rows(tokens), "m")["m"], plain[:, [2, 0, 1]])
    padded = torch.cat([tokens, torch.full((2, 3, 8), 50.0)], dim=1)
    real = torch.arange(8).expand(2, -1) < 5
    found = asking(rows(padded, real), "m")["m"]
    torch.testing.assert_close(found, plain[:, [2, 0, 1]])
    seen = asking.attention(rows(padded, real))
    assert seen.shape == (2, 2, 3, 8)
    assert seen[..., 5:].abs().max() == 0
    torch.testing.assert_close(seen.sum(-1), torch.ones(2, 2, 3))


def test_one_aspect_of_several_changes_its_own_text_most_and_all_read_each_other() -> None:
    asking, tokens = head(aspects=2, banks={"existence": book(12)}), drawn(1, 5, 8, seed=1)
    assert (asking.book.shape, asking.exist.in_features) == ((6, 6), 16)
    first = asking(rows(tokens), "m")["m"]
    other = book(12).vectors.clone()  # pyrefly: ignore
    other[1, 6:] += 3.0
    asking.ask(Bank("existence", ("a", "b", "c"), other))
    moved = (asking(rows(tokens), "m")["m"] - first).abs().amax(dim=(0, 2))
    assert moved.argmax() == 1
    assert (moved > 0).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: head(bank="none"), "text_queries reads the bank 'none', which is not under banks"),
        (
            lambda: head(banks={"existence": Bank("existence", ("a",))}),
            "needs constant vectors of the bank 'existence'",
        ),
        (lambda: head(heads=3), "tokens 8 wide with 3 attention heads and vectors 6 wide: let the heads divide"),
        (lambda: head(mapped=False), r"vectors 6 wide: .*, and make the two widths one\."),
        (
            lambda: head(aspects=4),
            "vectors 6 wide, no multiple of 4 aspects: put those of a text's aspects side by side",
        ),
        (lambda: CrossDecoder(width=6, heads=4), "4 attention heads do not divide the width 6 of cross_decoder"),
        (
            lambda: I3ResNet()(torch.zeros(1, 4, 3, 8, 8), parts=frozenset()),
            r"takes stacks \(R, S, 1, H, W\) and was given",
        ),
        (
            lambda: I3ResNet(layers=[1], width=8)(
                torch.zeros(1, 4, 1, 8, 8), parts=frozenset(), mask=torch.tensor([[True, True, True, False]])
            ),
            "reads stacks of one depth, and these differ: let read_grid make them",
        ),
        (
            lambda: WordSums(token_width=4, text=build_model(DUAL, tokenizer=HashWords()).towers["text"]),
            "word_sums puts the words of a tokenizer of transformers into 97 places",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()


def test_a_score_does_not_depend_on_what_else_is_asked() -> None:
    score = CrossDecoder(width=8, layers=2, heads=2, feedforward=12, hidden=[6, 5]).eval()
    images = {"raw": drawn(3, 8), "local": drawn(3, 6, 8, seed=1)}
    texts = {"raw": drawn(4, 8, seed=2), "local": drawn(4, 5, 8, seed=3)}
    whole = score(images, texts)
    alone = score({k: v[1:2] for k, v in images.items()}, {k: v[2:3] for k, v in texts.items()})
    torch.testing.assert_close(alone[0, 0], whole[1, 2])
    assert not [name for name in score.state_dict() if "self_attn" in name or "norm1" in name]


def test_a_turned_volume_is_seen_as_it_was_and_its_map_is_turned_back() -> None:
    plain, turned = (I3ResNet(layers=[1, 1, 1, 1], width=8, ras=ras).eval() for ras in (False, True))
    turned.load_state_dict(plain.state_dict())
    stack, parts = drawn(1, 32, 1, 64, 96), frozenset({"pooled", "tokens"})
    theirs, ours = plain(stack.flip(3, 4).transpose(3, 4), parts=parts), turned(stack, parts=parts)
    torch.testing.assert_close(ours.pooled, theirs.pooled)
    assert (theirs.grid, ours.grid) == ((2, 3, 2), (2, 2, 3))
    there = theirs.tokens.unflatten(1, theirs.grid).transpose(2, 3).flip(2, 3).flatten(1, 3)  # pyrefly: ignore
    torch.testing.assert_close(ours.tokens, there)
