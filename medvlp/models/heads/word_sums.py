"""Pieces of words to words: the sum over the pieces of each, in a fixed number of places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._text import TextEncoder
from medvlp.text.tokenizers import TransformersTokenizer


class WordSums(Head):
    """(R, L, W) -> (R, places, W): place i holds the sum of the pieces of word i, the two marks are words, rest is 0.

    GLoRIA (Huang et al., ICCV 2021) and CARZero (Lai et al., CVPR 2024) read texts so, and count the empty places
    too. A tokenizer that does not mark its pieces, or has longer texts than `places`, is refused (ConfigError).

    Args:
        places: at least as many as the tokenizer's longest text has pieces.
        factor: of the sums: 4 makes the mean of four layers their sum.
    """

    reads = ("tokens", "mask", "ids")
    continuing: Tensor

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        text: Annotated[Encoder, FromModel("text")],
        places: Annotated[int, Field(ge=2)] = 97,
        factor: float = 1.0,
    ) -> None:
        super().__init__()
        words = text.words if isinstance(text, TextEncoder) else None
        if not isinstance(words, TransformersTokenizer) or words.max_length > places:
            raise ConfigError(
                f"word_sums puts the words of a tokenizer of transformers into {places} places: give the text tower "
                "one whose max_length is not above that."
            )
        self.register_buffer("continuing", torch.tensor(words.continuing()), persistent=False)
        self.width, self.places, self.factor = token_width, places, factor

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, places, W)}."""
        tokens, mask = encoded.part("tokens"), encoded.part("mask")
        word = (~self.continuing[encoded.part("ids")] & mask).cumsum(dim=1) - 1
        sums = tokens.new_zeros(len(tokens), self.places, tokens.shape[2])
        index = word.clamp(min=0)[:, :, None].expand_as(tokens)
        return {name: self.factor * sums.scatter_add(1, index, tokens * mask[:, :, None])}
