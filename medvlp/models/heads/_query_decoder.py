"""A transformer decoder whose queries ask the tokens of a picture, as in DETR (Carion et al. 2020), with pre-norms."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.models.bank import Bank


@dataclass(frozen=True)
class Decoded:
    """What a decoder returns: `queries` (R, Q, W) behind the final norm, and where asked for what its layers did.

    `attention` is (R, L, Q, N), mean over heads; `layers` (R, L, Q, W) what `queries` would be if each were the last.
    """

    queries: Tensor
    attention: Tensor | None
    layers: Tensor | None = None


def decoder_layer(*, width: int, heads: int, feedforward: int, dropout: float) -> nn.TransformerDecoderLayer:
    """Return torch's layer: self-attention of queries, cross-attention to tokens, network; a norm before each."""
    return nn.TransformerDecoderLayer(width, heads, feedforward, dropout, batch_first=True, norm_first=True)


class QueryDecoder(nn.Module):
    """L copies of one layer and a final norm; queries and tokens have a position where they are given one.

    Example:
        >>> decoder = QueryDecoder(decoder_layer(width=8, heads=2, feedforward=16, dropout=0.0), layers=3).eval()
        >>> out = decoder(torch.rand(2, 5, 8), torch.rand(2, 7, 8), None, attention=True)
        >>> out.queries.shape, out.attention.shape, bool(torch.allclose(out.attention.sum(-1), torch.ones(2, 3, 5)))
        (torch.Size([2, 5, 8]), torch.Size([2, 3, 5, 7]), True)
    """

    def __init__(self, layer: nn.TransformerDecoderLayer, *, layers: int, self_attention: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(layers))
        self.norm = nn.LayerNorm(layer.norm1.normalized_shape[0])
        self.self_attention = self_attention
        for each in self.layers if not self_attention else ():
            del each.self_attn, each.norm1

    def forward(
        self,
        queries: Tensor,
        tokens: Tensor,
        mask: Tensor | None,
        *,
        attention: bool = False,
        layers: bool = False,
        query_place: Tensor | None = None,
        token_place: Tensor | None = None,
    ) -> Decoded:
        """Decode queries (R, Q, W) over tokens (R, N, W), real where `mask` (R, N) is True.

        Args:
            queries: ask.
            tokens: are asked.
            mask: None: all tokens are real.
            attention: whether the weights of the cross-attention are returned; the fused kernel never forms them.
            layers: whether what each layer gives is.
            query_place: (R, Q, W) added to what asks, in both attentions.
            token_place: (R, N, W) added to the keys of the tokens.
        """
        hidden = None if mask is None else ~mask
        seen: list[Tensor] = []
        each: list[Tensor] = []
        read_from = tokens if token_place is None else tokens + token_place
        for layer in self.layers:
            assert isinstance(layer, nn.TransformerDecoderLayer)
            if self.self_attention:
                normed = layer.norm1(queries)
                placed = normed if query_place is None else normed + query_place
                queries = queries + layer.dropout1(layer.self_attn(placed, placed, normed, need_weights=False)[0])
            asking = layer.norm2(queries)
            asking = asking if query_place is None else asking + query_place
            read, weights = layer.multihead_attn(
                asking, read_from, tokens, key_padding_mask=hidden, need_weights=attention
            )
            queries = queries + layer.dropout2(read)
            inner = layer.dropout(layer.linear1(layer.norm3(queries)).relu())
            queries = queries + layer.dropout3(layer.linear2(inner))
            if attention:
                seen.append(weights)
            if layers:
                each.append(self.norm(queries))
        return Decoded(
            self.norm(queries),
            torch.stack(seen, dim=1) if attention else None,
            torch.stack(each, dim=1) if layers else None,
        )


def book_of(banks: Mapping[str, Bank], name: str, *, head: str) -> Bank:
    """Return the bank whose constant vectors a head asks with; one that is missing or has none is refused."""
    if name not in banks:
        raise ConfigError(f"{head} reads the bank {name!r}, which is not under banks: {did_you_mean(name, banks)}.")
    if banks[name].vectors is None:
        raise ConfigError(
            f"{head} needs constant vectors of the bank {name!r}: give banks.{name}.encoder, such as "
            "{name: hashed_words}."
        )
    return banks[name]
