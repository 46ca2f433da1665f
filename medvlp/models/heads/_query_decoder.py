"""A transformer decoder whose queries ask the tokens of a picture, as in DETR (Carion et al. 2020), with pre-norms."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Decoded", "QueryDecoder", "decoder_layer"]


@dataclass(frozen=True)
class Decoded:
    """What a decoder returns: queries (R, Q, W), and where asked for attention (R, L, Q, N), mean over heads."""

    queries: Tensor
    attention: Tensor | None


def decoder_layer(*, width: int, heads: int, feedforward: int, dropout: float) -> nn.TransformerDecoderLayer:
    """Return torch's layer: self-attention of queries, cross-attention to tokens, network; a norm before each."""
    return nn.TransformerDecoderLayer(width, heads, feedforward, dropout, batch_first=True, norm_first=True)


class QueryDecoder(nn.Module):
    """Copies of one layer and a final norm; neither queries nor tokens have a position.

    Args:
        layer: copied; its weights are the start of each layer.
        layers: L.

    Example:
        >>> decoder = QueryDecoder(decoder_layer(width=8, heads=2, feedforward=16, dropout=0.0), layers=3).eval()
        >>> out = decoder(torch.rand(2, 5, 8), torch.rand(2, 7, 8), None, attention=True)
        >>> out.queries.shape, out.attention.shape, bool(torch.allclose(out.attention.sum(-1), torch.ones(2, 3, 5)))
        (torch.Size([2, 5, 8]), torch.Size([2, 3, 5, 7]), True)
    """

    def __init__(self, layer: nn.TransformerDecoderLayer, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(layers))
        self.norm = nn.LayerNorm(layer.norm1.normalized_shape[0])

    def forward(self, queries: Tensor, tokens: Tensor, mask: Tensor | None, *, attention: bool = False) -> Decoded:
        """Decode.

        Args:
            queries: (R, Q, W).
            tokens: (R, N, W).
            mask: (R, N) bool, True where a token is real; None: all are.
            attention: whether the weights of the cross-attention are kept; the fused kernel never forms them.
        """
        hidden = None if mask is None else ~mask
        kept: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, nn.TransformerDecoderLayer)
            normed = layer.norm1(queries)
            queries = queries + layer.dropout1(layer.self_attn(normed, normed, normed, need_weights=False)[0])
            read, weights = layer.multihead_attn(
                layer.norm2(queries), tokens, tokens, key_padding_mask=hidden, need_weights=attention
            )
            queries = queries + layer.dropout2(read)
            inner = layer.dropout(layer.linear1(layer.norm3(queries)).relu())
            queries = queries + layer.dropout3(layer.linear2(inner))
            if attention:
                kept.append(weights)
        return Decoded(self.norm(queries), torch.stack(kept, dim=1) if attention else None)
