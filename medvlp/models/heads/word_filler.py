"""Tokens of a text with holes, and its picture -> which words are missing."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from medvlp.core.protocols import Encoder, Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import zeroed


class WordFiller(Head):
    """BERT's output layers over x + F v: x a token (M, W), v its picture's embedding (M, D), F zero at first.

    Linear, GELU, LayerNorm and a linear map to the V words (Devlin et al. 2019); at stage ``call``.

    Args:
        pictures: whether there is F.

    Example:
        >>> from medvlp.models.encoders.transformer import TextTransformer
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"] * 2, vocab_size=100, max_length=16)
        >>> head = WordFiller(embed_dim=4, vocab_size=words.vocab_size, text=TextTransformer(words=words, width=8))
        >>> head.logits(torch.ones(3, 8), torch.ones(3, 4)).shape[1] == words.vocab_size
        True
    """

    reads = ()
    stage = "call"

    def __init__(
        self,
        *,
        embed_dim: Annotated[int, FromModel("embed_dim")],
        vocab_size: Annotated[int, FromModel("vocab_size")],
        text: Annotated[Encoder, FromModel("text")],
        pictures: bool = True,
    ) -> None:
        super().__init__()
        width, words = text.token_width, getattr(text, "words", None)
        self.marks = tuple(getattr(words, name) for name in ("start_id", "stop_id") if hasattr(words, name))
        self.fuse = zeroed(nn.Linear(embed_dim, width, bias=False)) if pictures else None
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.output = nn.Linear(width, vocab_size)
        nn.init.normal_(self.output.weight, std=0.02)

    def logits(self, tokens: Tensor, pictures: Tensor | None) -> Tensor:
        """Return logits (M, V) of tokens (M, W) and the embeddings of their pictures (M, D)."""
        seen = tokens if pictures is None or self.fuse is None else tokens + self.fuse(pictures)
        return self.output(self.hidden(seen))

    def words(self, ids: Tensor) -> Tensor:
        """Return which ids are words and no marks of a text's beginning and end, bool like `ids`."""
        return ~torch.isin(ids, torch.tensor(self.marks, dtype=ids.dtype, device=ids.device))
