"""A score that is read out: each of the two looks at the other's tokens through one decoder, as in CARZero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Score
from medvlp.models.encoders._blocks import refuse_heads
from medvlp.models.heads._query_decoder import QueryDecoder, decoder_layer


class CrossDecoder(Score):
    r"""f(v, t) = [g(t, (v, v_1 ... v_N)) + g(v, (t, t_1 ... t_L))] / 2 (Lai et al., CVPR 2024, CARZero).

    g(q, X) = MLP(decoder(norm(q), norm(X))), with the decoder's last norm; its queries look at X and not at each other.
    Vectors are ``raw``, tokens ``local``; all tokens count.

    Args:
        width: W of both.
        layers: of the decoder.
        heads: of its attentions; divides the width.
        feedforward: width of its networks' hidden layer.
        hidden: widths of the MLP's hidden layers.
        dropout: in the decoder and the MLP.

    Example:
        >>> score = CrossDecoder(width=4, layers=1, heads=2, feedforward=8, hidden=[6]).eval()
        >>> rows = {"raw": torch.rand(2, 4), "local": torch.rand(2, 5, 4)}
        >>> columns = {"raw": torch.rand(3, 4), "local": torch.rand(3, 7, 4)}
        >>> bool(torch.allclose(score(rows, columns), score(columns, rows).T, atol=1e-6))
        True
    """

    reads = ("raw", "local")

    def __init__(
        self,
        *,
        width: Annotated[int, Field(ge=1)] = 768,
        layers: Annotated[int, Field(ge=1)] = 4,
        heads: Annotated[int, Field(ge=1)] = 4,
        feedforward: Annotated[int, Field(ge=1)] = 1024,
        hidden: Sequence[int] = (1024, 512, 256),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        refuse_heads(heads, width, of="cross_decoder")
        layer = decoder_layer(width=width, heads=heads, feedforward=feedforward, dropout=dropout)
        self.decoder = QueryDecoder(layer, layers=layers, self_attention=False)
        widths = [width, *hidden]
        parts = [[nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)] for a, b in zip(widths, hidden, strict=False)]
        self.readout = nn.Sequential(*(each for part in parts for each in part), nn.Linear(widths[-1], 1))

    def forward(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        """Return (R, C) of ``raw`` (R, W) and (C, W) and ``local`` (R, N, W) and (C, L, W)."""
        return (self._looked(columns["raw"], rows) + self._looked(rows["raw"], columns).T) / 2

    def _looked(self, asking: Tensor, at: Mapping[str, Tensor]) -> Tensor:
        """Return (R, Q) for queries (Q, W) that look at R sets of tokens."""
        tokens = self.decoder.norm(torch.cat([at["raw"][:, None], at["local"]], dim=1))
        queries = self.decoder.norm(asking).expand(len(tokens), -1, -1)
        return self.readout(self.decoder(queries, tokens, None).queries).squeeze(-1)
