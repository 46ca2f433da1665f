"""Texts of a bank ask the tokens of a picture, and each is answered absent or present: MedKLIP, KAD, MAVL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.heads._query_decoder import Decoded, QueryDecoder, book_of, decoder_layer


class TextQueries(Head):
    r"""A decoder whose queries are the Q texts of a bank reads tokens x (R, N, W).

    With E (Q, n D) the constant vectors of the bank, for each text those of n aspects side by side (its definition, and
    sentences on its appearance)::

        q = W_q e + b_q            (Q n, W), of each aspect e; as it is where the bank is not `mapped`
        F = decoder(q, x)          (R, Q n, W); where `norm_first`, of norm(q) and norm(x), by the decoder's last norm
        NAME = W_c [F_1 ... F_n]   (R, Q, 2): logits of absent and present

    MedKLIP (Wu et al. 2023) asks with definitions, KAD (Zhang et al. 2023) with names, MAVL (Phan et al. 2024) with ten
    aspects. The queries read each other too: what one says depends a little on the others that are asked with it.

    Args:
        bank: with the vectors.
        reads: part that holds the tokens.
        mapped: whether the vectors pass through a linear map.
        norm_first: whether vectors and tokens are normalised first.
        aspects: n.
        layers: of the decoder.
        heads: of its attentions; divides W.
        feedforward: width of its networks' hidden layer.
        dropout: in the decoder and of what it gives.

    Raises:
        ConfigError: if the bank is missing or has no vectors, or widths do not fit.

    Example:
        >>> import torch
        >>> book = Bank("existence", ("fluid", "air"), torch.rand(2, 6), names=("effusion", "pneumothorax"))
        >>> head = TextQueries(in_width=4, banks={"existence": book}, layers=1, heads=2, feedforward=8)
        >>> rows = Encoded(owner=torch.arange(3), tokens=torch.rand(3, 5, 4), mask=torch.ones(3, 5, dtype=torch.bool))
        >>> head(rows, "existence")["existence"].shape
        torch.Size([3, 2, 2])
    """

    book: Tensor

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        banks: Annotated[Mapping[str, Bank], FromModel("banks")],
        bank: str = "existence",
        reads: str = "tokens",
        mapped: bool = True,
        norm_first: bool = False,
        aspects: Annotated[int, Field(ge=1)] = 1,
        layers: Annotated[int, Field(ge=1)] = 4,
        heads: Annotated[int, Field(ge=1)] = 4,
        feedforward: Annotated[int, Field(ge=1)] = 1024,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.reads = (reads, "mask")
        self.aspects, self.norm_first = aspects, norm_first
        width = self.ask(book_of(banks, bank, head="text_queries"))
        if in_width % heads or not (mapped or width == in_width):
            raise ConfigError(
                f"text_queries reads tokens {in_width} wide with {heads} attention heads and vectors {width} wide: let "
                f"the heads divide the tokens' width{'' if mapped else ', and make the two widths one'}."
            )
        self.query = nn.Linear(width, in_width) if mapped else nn.Identity()
        layer = decoder_layer(width=in_width, heads=heads, feedforward=feedforward, dropout=dropout)
        self.decoder = QueryDecoder(layer, layers=layers)
        self.dropout = nn.Dropout(dropout)
        self.exist = nn.Linear(in_width * aspects, 2)

    def ask(self, bank: Bank) -> int:
        """Ask by the texts of this bank from now on; return the width of an aspect's vector."""
        assert bank.vectors is not None
        total = bank.vectors.shape[1]
        if total % self.aspects:
            raise ConfigError(
                f"The bank {bank.name!r} has vectors {total} wide, no multiple of {self.aspects} aspects: put those of "
                "a text's aspects side by side."
            )
        self.names = bank.names or bank.texts
        # No weight: a bundle keeps it with the bank.
        vectors = bank.vectors.detach().float().reshape(-1, total // self.aspects).clone()
        self.register_buffer("book", vectors, persistent=False)
        return total // self.aspects

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, Q, 2)}."""
        features = self.dropout(self._decode(encoded).queries)
        return {name: self.exist(features.reshape(len(features), -1, self.exist.in_features))}

    def attention(self, encoded: Encoded) -> Tensor:
        """Return where each text looks: (R, L, Q, N), mean over heads and aspects, rows sum to 1 in eval mode."""
        weights = self._decode(encoded, attention=True).attention
        assert weights is not None
        return weights.unflatten(2, (-1, self.aspects)).mean(dim=3)

    def _decode(self, encoded: Encoded, *, attention: bool = False) -> Decoded:
        tokens, mask = encoded.part(self.reads[0]), encoded.part("mask")
        queries = self.query(self.book).expand(len(tokens), -1, -1)
        if self.norm_first:
            queries, tokens = self.decoder.norm(queries), self.decoder.norm(tokens)
        return self.decoder(queries, tokens, None if bool(mask.all()) else mask, attention=attention)
