"""Learned prompts for the texts of a bank: CoOp (Zhou et al. 2022), one context for all or one for each text."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.bank import Bank
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches._patch import Patch, Patched
from medvlp.text.tokenizers import Tokenizer


class CoOp(Patch):
    """M learned vectors among the words of each text, where its positions are not yet added.

    With V the context, c the words of a text (a full stop at its end apart) and s, e what a tokenizer puts around::

        end     s V_1 ... V_M c . e
        middle  s V_1 ... V_M/2 c V_M/2+1 ... V_M . e
        front   s c V_1 ... V_M . e

    Train nothing else by ``trainable: ["model.patches.*"]``, with an objective over a `text_classifier`. The paper: 16
    vectors at the end, 4 where they start as "a photo of a", SGD at 0.002.

    Args:
        kind: tower.
        on: site.
        tokens: M, each N(0, 0.02) at the start.
        words: instead, words that the context starts as: M is the number of their tokens.
        specific: a context for each text of the bank instead of one for all.
        position: see above.

    Raises:
        ConfigError: if `specific`, ``middle`` or ``front`` is asked of a view that is not one bank.

    Example:
        >>> from medvlp.models.encoders.transformer import TextTransformer
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> patch = CoOp(text=TextTransformer(words=words, width=8, heads=2), rows=RowDraws(), tokens=2)
        >>> patch(torch.zeros(1, 4, 8), torch.zeros(0)).added[0].tolist()  # [CLS] left effusion [SEP]
        [False, True, True, False, False, False]
    """

    names: Tensor

    def __init__(
        self,
        *,
        text: Annotated[TextEncoder, FromModel("text")],
        rows: Annotated[RowDraws, FromModel("rows")],
        bank: Annotated[Bank | None, FromModel("bank")] = None,
        kind: Literal["text"] = "text",
        on: str = "words.input",
        tokens: Annotated[int, Field(ge=1)] = 16,
        words: str | None = None,
        specific: bool = False,
        position: Literal["end", "middle", "front"] = "end",
    ) -> None:
        super().__init__()
        if bank is None and (specific or position != "end"):
            raise ConfigError(
                "A learned prompt that is specific, or not at the end, belongs to the texts of one bank: give the "
                "patch view: bank.NAME."
            )
        sets = len(bank.texts) if specific and bank is not None else 1
        drawn = 0.02 * torch.randn(sets, tokens, text.token_width)
        self.context = nn.Parameter(drawn if words is None else word_vectors(text, words).repeat(sets, 1, 1))
        self.position = position
        self._first = first_word(text.words)
        self._rows = rows
        lengths = [word_count(text.words, each.rstrip(" .")) for each in bank.texts] if bank is not None else [0]
        self.register_buffer("names", torch.tensor(lengths), persistent=False)

    def forward(self, value: Tensor, source: Tensor) -> Patched:
        """Put the context among the words (R, L, W)."""
        context = self.contexts(value).to(value.dtype)
        length, count = value.shape[1], context.shape[1]
        before = {"end": count, "middle": count // 2, "front": 0}[self.position]
        after = 0 if self.position == "end" else self.names[self._rows.number][:, None]
        at = torch.arange(length + count, device=value.device).expand(len(value), -1)
        # Which of the words or, counted behind them, of the context stands at each place: the last stretch first.
        index = at - count
        index = torch.where(at < self._first + after + count, length + at - self._first - after, index)
        index = torch.where(at < self._first + before + after, at - before, index)
        index = torch.where(at < self._first + before, length + at - self._first, index)
        index = torch.where(at < self._first, at, index)
        whole = torch.cat([value, context], dim=1).gather(1, index[..., None].expand(-1, -1, value.shape[2]))
        return Patched(whole, added=index >= length)

    def contexts(self, words: Tensor) -> Tensor:
        """Return the context of each row, (R, M, W), of the words (R, L, W)."""
        if len(self.context) == 1:
            return self.context.expand(len(words), -1, -1)
        return self.context[self._rows.number]


class AskedPrompt(CoOp):
    """CoOp's context plus a shift for each of R images: the head `text_classifier` asks for R x K texts a step.

    Raises:
        ConfigError: by a pass that encodes the bank by itself.
    """

    name: str

    @abstractmethod
    def shift(self, images: Encoded, words: Tensor) -> Tensor:
        """Return what is added to all vectors of a context: (R, W) of R images, or (R K, W) of each with each text."""

    def contexts(self, words: Tensor) -> Tensor:
        """Return the context of each text of each image, (R K, M, W)."""
        if self._rows.images is None:
            raise ConfigError(
                f"The patch {self.name!r} makes of the texts of {self._rows.view!r} others for each picture, and "
                "nobody asked with one: read them by the head text_classifier, and limit the patch to that bank by "
                "view."
            )
        shift = self.shift(self._rows.images, words)
        return super().contexts(words) + shift.repeat_interleave(len(words) // len(shift), dim=0)[:, None]


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
