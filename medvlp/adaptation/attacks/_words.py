"""Words of reports that may give way to another word, and word vectors put in their place.

A word is universal only if it is a real one: it stands in a report, and the tokenizer has it whole. One that changes
what a report says (findings, sides, numbers, negation: `medvlp.text.rewriting.same_meaning`) gives way to nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.adaptation.attacks._surrogate import parts_of
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, Tokens
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._text import TextEncoder
from medvlp.text.rewriting import same_meaning
from medvlp.text.tokenizers import tokenise

_WORD = re.compile(r"[A-Za-z]{3,}")
_BATCH = 256
_MOST = 6  # words of a report that are tried, the most important first
Span = tuple[int, int]


def text_tower(model: Model) -> TextEncoder:
    """Return the tower of a model's texts.

    Raises:
        ConfigError: if it has none that takes word vectors.
    """
    tower = dict(model.towers.items()).get("text") if isinstance(model, TowerModel) else None
    if not isinstance(tower, TextEncoder) or "words.input" not in tower.sites():
        raise ConfigError("This model's texts have no tower of word vectors: set words to false.")
    return tower


@dataclass(frozen=True)
class Vocabulary:
    """Real words that are one token each: the words, their ids (V,), and their vectors (V, W)."""

    words: tuple[str, ...]
    ids: Tensor
    vectors: Tensor

    def nearest(self, vector: Tensor) -> str:
        """Return the word whose vector is nearest to (W,)."""
        return self.words[int((self.vectors - vector).square().sum(dim=1).argmin())]


@torch.no_grad()
def real_words(tower: TextEncoder, texts: Sequence[str], *, neutral: bool) -> Vocabulary:
    """Return the words of reports that the tokenizer has whole; neutral ones name no finding, side or number.

    Raises:
        ConfigError: if there are fewer than two.
    """
    there = sorted({word.lower() for text in texts for word in _WORD.findall(text)})
    plain = "The study is complete."
    there = [word for word in there if not neutral or same_meaning(plain, f"{plain} {word} seen.")]
    empty = tower.words([""])
    special = set(empty.ids[empty.mask].tolist())
    made = tower.words(there)
    own = [[i for i in row.tolist() if i not in special] for row in map(torch.masked_select, made.ids, made.mask)]
    single = Counter(ids[0] for ids in own if len(ids) == 1)
    # An id of several words is that of unknown ones.
    found = {ids[0]: word for word, ids in zip(there, own, strict=True) if len(ids) == 1 and single[ids[0]] == 1}
    if len(found) < 2:
        raise ConfigError("The tokenizer has fewer than two words of these reports whole: set words to false.")
    ids = torch.tensor(list(found), device=next(tower.parameters()).device)  # pyrefly: ignore
    return Vocabulary(tuple(found.values()), ids, tower.vectors(ids).float())


@torch.no_grad()
def by_importance(model: Model, texts: Sequence[str]) -> list[list[Span]]:
    """Return the words of each text, the one whose absence turns the embedding most first."""
    spans = [[found.span() for found in _WORD.finditer(text)] for text in texts]
    without = [text[:a] + text[b:] for text, own in zip(texts, spans, strict=True) for a, b in own]
    whole = _embed(model, texts)
    owner = torch.tensor([i for i, own in enumerate(spans) for _ in own], device=whole.device, dtype=torch.long)
    near = (_embed(model, without) * whole[owner]).sum(dim=1).tolist() if without else []
    value = iter(near)
    ranked = [sorted((next(value), span) for span in own) for own in spans]
    return [[span for _, span in own] for own in ranked]


def replaced(text: str, ranked: Sequence[Span], word: str, *, keep_meaning: bool) -> tuple[str, Span | None]:
    """Return a text with its most important word that may be replaced by another, and where that stood.

    Example:
        >>> replaced("No effusion is seen.", [(3, 11), (15, 19)], "noted", keep_meaning=True)
        ('No effusion is noted.', (15, 19))
    """
    for a, b in ranked[: _MOST if keep_meaning else 1]:
        other = text[:a] + word + text[b:]
        if not keep_meaning or same_meaning(text, other):
            return other, (a, b)
    return text, None


def marked(
    tower: TextEncoder, texts: Sequence[str], spans: Sequence[Span | None], two: Sequence[str]
) -> tuple[Tokens, Tensor]:
    """Return tokens of texts with a whole word put at a span each, and (R, L) where its token lies.

    Two words of one token each, put at the same place, differ in that token alone.
    """
    made = []
    for word in two:
        put = [text if s is None else text[: s[0]] + word + text[s[1] :] for text, s in zip(texts, spans, strict=True)]
        made.append(tokenise(tower.words, put))
    return made[0], made[0].ids != made[1].ids


@contextmanager
def vector_at(tower: TextEncoder, place: Tensor, vector: Tensor) -> Iterator[None]:
    """Put a vector (W,) in the place (R, L) of a word while the tower reads; its gradient flows."""

    def put(module: torch.nn.Module, given: object, words: Tensor) -> Tensor:
        return torch.where(place.to(words.device)[:, :, None], vector.to(words.dtype), words)

    hook = tower.words_input.register_forward_hook(put)
    try:
        yield
    finally:
        hook.remove()


def _embed(model: Model, texts: Sequence[str]) -> Tensor:
    pieces = [texts[at : at + _BATCH] for at in range(0, len(texts), _BATCH)]
    device = next(model.parameters()).device
    return torch.cat([parts_of(model, Batch.of({"text": each}).to(device), "text", "embedding")[0] for each in pieces])
