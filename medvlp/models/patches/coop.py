"""Learned prompts for the texts of a bank: CoOp (Zhou et al. 2022), one context for all or one for each text."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models._draws import RowDraws
from medvlp.models.bank import Bank
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.patches._patch import Patch, Patched
from medvlp.models.patches._words import first_word, word_count, word_vectors


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
