"""Writing: greedily the words of the plain loop, by beams the best of all texts, drawn as often as is probable."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from medvlp.core import ConfigError, collectives
from medvlp.core.decoding import Decoding
from medvlp.models.encoders._text import TextTower
from medvlp.models.encoders.transformer import TextTransformer
from medvlp.models.heads._speaker import by_beams, drawn, one_by_one
from medvlp.models.heads.generator import Generator
from tests.models.words import HashWords
from tests.training.elsewhere import ELSEWHERE, Devices

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


@pytest.mark.parametrize("decoding", [None, Decoding(beams=3), Decoding(temperature=1.0)])
def test_of_no_rows_nothing_is_written(decoding: Decoding | None) -> None:
    options: Any = {"start": 4, "stop": STOP, "longest": 6, "decoding": decoding}
    assert generator().write(random(0, 5, 6), None, **options, draws=torch.zeros(0, 6)).shape == (0, 0)


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


def best_of_all(head: Generator, memory: Tensor, *, vocabulary: int, longest: int, penalty: float) -> list[int]:
    """Of every text of one picture the one of the largest log probability over a power of its length."""
    every = torch.tensor(list(product(range(vocabulary), repeat=longest)))
    given = torch.cat([torch.full((len(every), 1), 4), every[:, :-1]], dim=1)
    with torch.no_grad():
        logs = head.forward_logits(memory.expand(len(every), -1, -1), None, given).double().log_softmax(dim=2)
    found: tuple[float, list[int]] = (-np.inf, [])
    for words, own in zip(every.tolist(), logs.gather(2, every[:, :, None])[:, :, 0].tolist(), strict=True):
        length = words.index(STOP) + 1 if STOP in words else longest
        found = max(found, (sum(own[:length]) / length**penalty, words[:length]), key=lambda each: each[0])
    return found[1]


@pytest.mark.parametrize(("beams", "longest", "penalty"), [(9, 2, 0.0), (81, 3, 0.0), (81, 3, 1.0)])
def test_as_many_beams_as_there_are_texts_find_the_best_of_all(beams: int, longest: int, penalty: float) -> None:
    """With as many beams as words that holds for two words, with their square for three."""
    head, memory = generator().eval(), random(16, 5, 6)
    with torch.no_grad():
        head.word.weight.mul_(0.2)  # so that no word is nearly certain
    decoding = Decoding(beams=beams, length_penalty=penalty)
    got = head.write(memory, None, start=4, stop=STOP, longest=longest, decoding=decoding)
    expected = [best_of_all(head, each, vocabulary=9, longest=longest, penalty=penalty) for each in memory]
    width = max(map(len, expected))
    assert got.tolist() == [text + [STOP] * (width - len(text)) for text in expected]
    greedy = head.write(memory, None, start=4, stop=STOP, longest=longest)[:, : got.shape[1]]
    assert any(a != b for a, b in zip(greedy.tolist(), got.tolist(), strict=True))


@pytest.mark.parametrize("words", ["own", "tower"])
def test_one_beam_is_greedy_and_each_sum_is_that_of_its_text(words: str) -> None:
    text = tower()
    head = generator(words=words, text=text if words == "tower" else None).eval()
    of_tower = text.tokens_of if words == "tower" else None
    memory, first = random(7, 5, 6), torch.full((7, 1), 4)
    with torch.no_grad():
        for beams in (1, 4):
            got, sums = by_beams(head.steps(memory, None, of_tower, None), first, STOP, 8, Decoding(beams=beams))
            if beams == 1:
                assert torch.equal(got, head.write(memory, None, start=4, stop=STOP, longest=8, tower=of_tower))
            ids = torch.cat([first, got], dim=1)
            logits = head.forward_logits(memory, None, ids[:, :-1] if of_tower is None else of_tower(ids[:, :-1]))
            logs = logits.double().log_softmax(dim=2).gather(2, got[:, :, None])[:, :, 0]
            there = ((got == STOP).int().cumsum(dim=1) - (got == STOP).int()) == 0
            torch.testing.assert_close(sums, torch.where(there, logs, 0.0).sum(dim=1), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize("decoding", [Decoding(beams=4), Decoding(temperature=0.8, top_p=0.9)])
def test_the_same_is_written_on_a_device_without_float64(decoding: Decoding, monkeypatch: pytest.MonkeyPatch) -> None:
    head, memory, draws = (
        generator().eval(),
        random(7, 5, 6),
        torch.rand(7, 8, generator=torch.Generator().manual_seed(1)),
    )
    options: Any = {"start": 4, "stop": STOP, "longest": 8, "decoding": decoding}
    written = head.write(memory, None, **options, draws=draws if decoding.drawn else None)
    monkeypatch.setattr(collectives, "widest", lambda device: torch.float32)
    with Devices(repeatable=False, wide=False), torch.no_grad():
        there = draws.to(ELSEWHERE) if decoding.drawn else None
        found = head.to(ELSEWHERE).write(memory.to(ELSEWHERE), None, **options, draws=there)
        assert found.tolist() == written.tolist()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.5, 0.8)])
def test_draws_are_as_frequent_as_their_probability(temperature: float, top_p: float) -> None:
    logits = torch.tensor([0.3, 2.0, -1.0, 1.0, 0.0])
    shares = np.exp(logits.double().numpy() / temperature)
    shares /= shares.sum()
    order = np.argsort(-shares)
    nucleus = order[: int((np.cumsum(shares[order]) < top_p - 1e-12).sum()) + 1]
    expected = np.where(np.isin(np.arange(5), nucleus), shares, 0.0) / shares[nucleus].sum()
    draws = torch.rand(20000, generator=torch.Generator().manual_seed(1))
    decoding = Decoding(temperature=temperature, top_p=top_p)
    counts = np.bincount(drawn(logits.expand(20000, 5), draws, decoding).numpy(), minlength=5)
    assert counts[expected == 0].sum() == 0
    assert (expected == 0).sum() == (0 if top_p == 1 else 2)
    assert chisquare(counts[nucleus], 20000 * expected[nucleus]).pvalue > 0.01


def test_drawn_texts_are_those_of_their_draws_in_any_group_of_rows() -> None:
    head, memory, draws = generator().eval(), random(6, 5, 6), torch.rand(6, 8)
    cold = Decoding(temperature=1e-4)
    options: dict[str, Any] = {"start": 4, "stop": STOP, "longest": 8}
    assert torch.equal(
        head.write(memory, None, decoding=cold, draws=draws, **options), head.write(memory, None, **options)
    )
    warm = Decoding(temperature=1.0, top_p=0.95)
    whole = head.write(memory, None, decoding=warm, draws=draws, **options)
    for i in range(6):
        own = head.write(memory[i : i + 1], None, decoding=warm, draws=draws[i : i + 1], **options)[0]
        assert whole[i, : len(own)].tolist() == own.tolist()
    other = head.write(memory, None, decoding=warm, draws=draws.flip(0), **options)
    assert not torch.equal(whole[:, : other.shape[1]], other[:, : whole.shape[1]])
    with pytest.raises(ConfigError, match="A decoding that draws needs draws"):
        one_by_one(head.steps(memory, None, None, None), torch.full((6, 1), 4), STOP, 8, warm, None)


def test_decodings_that_are_none_are_refused() -> None:
    assert Decoding.of("") is None
    assert Decoding.of(" temperature = 0.7, top_p=0.9,seed=3 ") == Decoding(temperature=0.7, top_p=0.9, seed=3)
    for text, sentence in {
        "beam=4": "has no option 'beam': did you mean 'beams'",
        "beams=four": "sets beams to 'four', which is no number",
        "beams=0": "beams is 1 or more",
        "temperature=nan": "temperature above 0 and finite",
        "beams=2,length_penalty=nan": "length_penalty finite",
        "top_p=0.5": "with top_p draws words: set temperature too",
        "length_penalty=1": "ranks the texts of beams: set beams too",
        "beams=2,temperature=1": "by beams or drawn at a temperature, not both",
    }.items():
        with pytest.raises(ConfigError, match=sentence):
            Decoding.of(text)
