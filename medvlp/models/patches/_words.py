"""Where the words of a text stand among its tokens, and what vectors they have: what learned prompts start from."""

from __future__ import annotations

from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.models.encoders._text import TextEncoder
from medvlp.text.tokenizers import Tokenizer


def first_word(words: Tokenizer) -> int:
    """Return how many special tokens a tokenizer puts in front of the first word."""
    bare, full = _ids(words, ""), _ids(words, "a")
    return next((i for i, (a, b) in enumerate(zip(bare, full, strict=False)) if a != b), len(bare))


def word_count(words: Tokenizer, text: str) -> int:
    """Return how many tokens the words of a text are, special ones left out."""
    return len(_ids(words, text)) - len(_ids(words, ""))


def word_vectors(tower: TextEncoder, text: str) -> Tensor:
    """Return the vectors (M, W) of the words of a text, to start a context from; none is refused (ConfigError)."""
    start, count = first_word(tower.words), word_count(tower.words, text)
    if count < 1:
        raise ConfigError(f"words of a prompt are {text!r}, which has no word: write some, or leave the option out.")
    device = next(tower.parameters()).device
    return tower.vectors(tower.words([text]).ids[0, start : start + count].to(device)).detach().clone()


def _ids(words: Tokenizer, text: str) -> list[int]:
    made = words([text])
    return made.ids[0][made.mask[0]].tolist()
