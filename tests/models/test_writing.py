"""Greedy writing: the words of the plain loop, whatever is kept between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import ConfigError
from medvlp.models.encoders._text import TextTower
from medvlp.models.encoders.transformer import TextTransformer
from medvlp.models.heads.generator import Generator
from tests.models.words import HashWords

STOP = 1


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def generator(**options: Any) -> Generator:
    torch.manual_seed(2)
    made = Generator(memory_width=6, vocab_size=9, width=8, layers=2, heads=2, max_length=24, dropout=0.5, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.7 * random(*parameter.shape))
    return made


def tower() -> TextTower:
    torch.manual_seed(3)
    return TextTransformer(words=HashWords(vocab_size=9), width=8, layers=2, heads=2, causal=True, pool="last").eval()


def plain(head: Generator, memory: Tensor, mask: Tensor | None, first: list[int], stop: int, text: Any) -> list[int]:
    """One row, every word from the start each time."""
    ids = list(first)
    while len(ids) < len(first) + 15:
        given = torch.tensor([ids])
        logits = head.forward_logits(memory[None], None if mask is None else mask[None], text(given))
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] == stop:
            break
    return ids[len(first) :]


@pytest.mark.parametrize("words", ["own", "tower"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("given", [1, 3])
def test_each_row_is_the_uncached_loop_and_stops_by_itself(words: str, masked: bool, given: int) -> None:
    text = tower()
    head = generator(words=words, text=text if words == "tower" else None)
    memory = random(12, 5, 6)
    mask = torch.arange(5)[None] < (1 + torch.arange(12) % 5)[:, None] if masked else None
    first = torch.arange(12 * given).view(12, given) % 9
    of_tower = text.tokens_of if words == "tower" else None
    free = head.write(memory, mask, start=first, stop=99, longest=15, tower=of_tower)
    stop = int(free[:, 2:].flatten().mode().values)  # a word that some rows come to
    got = head.train().write(memory, mask, start=first, stop=stop, longest=15, tower=of_tower)
    assert head.training
    head.eval()
    rows = [
        plain(
            head, memory[i], None if mask is None else mask[i], first[i].tolist(), stop, of_tower or (lambda ids: ids)
        )
        for i in range(12)
    ]
    longest = max(map(len, rows))
    assert got.tolist() == [row + [stop] * (longest - len(row)) for row in rows]
    assert len({tuple(row) for row in rows}) > 2  # the pictures are told apart
    assert min(map(len, rows)) < longest


def test_a_number_is_the_first_word_of_every_row() -> None:
    head, memory = generator(), random(3, 5, 6)
    one = head.write(memory, None, start=4, stop=STOP, longest=6)
    assert torch.equal(one, head.write(memory, None, start=torch.full((3, 1), 4), stop=STOP, longest=6))
    assert not one.requires_grad


def test_too_many_words_and_a_tower_that_is_not_given_are_refused() -> None:
    with pytest.raises(ConfigError, match="writes at most 24 words and was given 25: raise its max_length"):
        generator().write(random(1, 5, 6), None, start=4, stop=STOP, longest=25)
    with pytest.raises(ConfigError, match="has words: tower: give it a text tower if that is 'tower'"):
        generator(words="tower", text=tower()).write(random(1, 5, 6), None, start=4, stop=STOP, longest=2)


def test_findings_stand_among_the_pictures_vectors_and_unknown_ones_are_not_seen() -> None:
    head = generator(findings=2).eval()
    memory, words = random(3, 5, 6), torch.arange(12).view(3, 4) % 9
    assert head.states is not None
    unknown = torch.tensor([[-1.0, float("nan")]]).expand(3, 2)
    nothing = head.forward_logits(memory, None, words)
    torch.testing.assert_close(head.forward_logits(memory, None, words, unknown), nothing)
    # The second finding is present, the first unknown: one more vector, which the norm of the picture's does not touch.
    told = head.forward_logits(memory, None, words, torch.tensor([[-1.0, 1.0]]).expand(3, 2))
    seen = torch.cat([head.norm_image(memory), head.states[1, 1].expand(3, 1, 6)], dim=1)
    torch.testing.assert_close(told, head._decode(seen, None, words, first=0, past=None))
    assert (told - nothing).abs().max() > 1e-3
    with pytest.raises(ConfigError, match="can be told 2 findings and was told 3"):
        head.forward_logits(memory, None, words, torch.zeros(3, 3))


def test_what_is_told_is_kept_while_words_are_written() -> None:
    head, memory = generator(findings=2).eval(), random(4, 5, 6)
    findings = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    got = head.write(memory, None, start=4, stop=99, longest=6, findings=findings)
    ids = torch.full((4, 1), 4)
    for _ in range(6):
        ids = torch.cat([ids, head.forward_logits(memory, None, ids, findings)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(got, ids[:, 1:])
