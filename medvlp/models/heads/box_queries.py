"""Boxes by learned queries over the tokens of a picture, as in DETR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import zeroed
from medvlp.models.heads._query_decoder import QueryDecoder, decoder_layer
from medvlp.models.heads._regions import centres, sines


class BoxQueries(Head):
    """Tokens in a grid (R, N, W) -> Q boxes with a class each, by DETR (Carion et al. 2020), with pre-norms.

    Tokens pass self-attention, then a decoder in which Q queries ask each other and the tokens; two small networks make
    a box and a class of each. A query's place is a learnt box that it starts from, embedded as the tokens' places
    are, by sines of its centre (DAB-DETR, Liu et al. 2022, eq. 3-5, without its refinement by layers and modulated
    attention).

    Mounted as ``image/NAME`` it gives ``NAME`` (R, Q, 4), centre x, y, width, height over the view's, in [0, 1];
    ``NAME_logits`` (R, Q, K + 1) of the classes and, last, of no object; and ``NAME_layers`` (R, L - 1, Q, 4 + K + 1),
    both of the earlier layers, which are taught too.

    Args:
        classes: K.
        queries: Q, well above the boxes of any picture.
        width: of the attentions; a multiple of 4 and of `heads`.
        encoder_layers: self-attention layers over tokens.
        layers: L of the decoder.
        heads: of the attentions.
        feedforward: width of the hidden layers.
        dropout: in all of them.

    Raises:
        ConfigError: for another width, or tokens that form no grid.

    Example:
        >>> head = BoxQueries(token_width=8, classes=2, queries=5, width=16, layers=2, heads=2, feedforward=16)
        >>> mask = torch.ones(1, 6, dtype=torch.bool)
        >>> out = head(Encoded(owner=torch.arange(1), tokens=torch.rand(1, 6, 8), mask=mask, grid=(2, 3)), "boxes")
        >>> {name: tuple(value.shape) for name, value in out.items()}
        {'boxes': (1, 5, 4), 'boxes_logits': (1, 5, 3), 'boxes_layers': (1, 1, 5, 7)}
    """

    reads = ("tokens", "mask")
    gives = ("logits", "layers")

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        classes: Annotated[int, Field(ge=1)],
        queries: Annotated[int, Field(ge=1)] = 50,
        width: Annotated[int, Field(ge=4)] = 128,
        encoder_layers: Annotated[int, Field(ge=0)] = 1,
        layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        feedforward: Annotated[int, Field(ge=1)] = 512,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise ConfigError(f"width {width} of head 'box_queries' is no multiple of 4 and of its {heads} heads.")
        self.input = nn.Linear(token_width, width)
        shape = {"d_model": width, "nhead": heads, "dim_feedforward": feedforward, "dropout": dropout}
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(**shape, batch_first=True, norm_first=True) for _ in range(encoder_layers)
        )
        layer = decoder_layer(width=width, heads=heads, feedforward=feedforward, dropout=dropout)
        self.decoder = QueryDecoder(layer, layers=layers)
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        start = torch.cat([torch.rand(queries, 2) * 0.9 + 0.05, torch.full((queries, 2), 0.2)], dim=1)
        self.start = nn.Parameter(start.logit())
        self.place = nn.Linear(width, width)
        self.box = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.distance = zeroed(nn.Linear(width, 4))
        self.classes = nn.Linear(width, classes + 1)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return boxes, logits and those of the earlier layers."""
        tokens, mask = encoded.part("tokens"), encoded.part("mask")
        if encoded.grid is None or len(encoded.grid) != 2:
            raise ConfigError(
                "Head 'box_queries' needs the image tokens in a grid, and these have none: drop the patch."
            )
        tokens = self.input(tokens)
        cells = sines(centres(encoded.grid, like=tokens), tokens.shape[2]).to(tokens)
        token_place = self.place(cells).expand_as(tokens)
        for layer in self.encoder:
            tokens = layer(tokens + token_place, src_key_padding_mask=~mask)
        rows = len(tokens)
        query_place = self.place(sines(self.start[:, :2].sigmoid(), tokens.shape[2])).expand(rows, -1, -1)
        asked = self.queries.expand(rows, -1, -1)
        found = self.decoder(asked, tokens, mask, layers=True, query_place=query_place, token_place=token_place).layers
        assert found is not None
        boxes, logits = (self.distance(self.box(found)) + self.start).sigmoid(), self.classes(found)
        earlier = torch.cat([boxes[:, :-1], logits[:, :-1]], dim=-1)
        return {name: boxes[:, -1], f"{name}_logits": logits[:, -1], f"{name}_layers": earlier}
