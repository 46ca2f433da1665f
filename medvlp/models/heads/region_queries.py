"""Learned queries over the tokens of a picture: one is the picture, the others regions with a box each, as in GRAIN."""

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
from medvlp.models.heads._query_decoder import QueryDecoder, decoder_layer
from medvlp.models.heads._regions import centres, sines


class RegionQueries(Head):
    """Tokens in a grid (R, N, W) -> a vector of the picture, and of Q regions with their boxes.

    Tokens are brought to `width` and carry the sines of their places; Q + 1 learned queries ask each other and the
    tokens in a decoder of L layers (DETR, Carion et al. 2020, with pre-norms). Mounted as ``image/NAME`` it gives
    ``NAME`` (R, W'), what the last query found: a projection that reads it may be the model's ``image/raw``;
    ``NAME_regions`` (R, Q, D) in the space of the embeddings; ``NAME_boxes`` (R, Q, 4), centre x, y, width, height in
    [0, 1]; and ``NAME_layers`` (R, L - 1, Q, 4), the boxes of the earlier layers.

    Args:
        queries: Q, at least the boxes that are taught in one picture.
        width: W'; a multiple of 4 and of `heads`.
        layers: L.
        heads: of the attentions.
        feedforward: width of the hidden layers.

    Raises:
        ConfigError: for another width, or tokens that form no grid.

    Example:
        >>> head = RegionQueries(token_width=8, embed_dim=4, queries=3, width=16, layers=2, heads=2, feedforward=16)
        >>> mask = torch.ones(1, 6, dtype=torch.bool)
        >>> out = head(Encoded(owner=torch.arange(1), tokens=torch.rand(1, 6, 8), mask=mask, grid=(2, 3)), "grain")
        >>> [tuple(value.shape) for value in out.values()]
        [(1, 16), (1, 3, 4), (1, 3, 4), (1, 1, 3, 4)]
    """

    reads = ("tokens", "mask")
    gives = ("regions", "boxes", "layers")

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        queries: Annotated[int, Field(ge=1)] = 5,
        width: Annotated[int, Field(ge=4)] = 128,
        layers: Annotated[int, Field(ge=1)] = 3,
        heads: Annotated[int, Field(ge=1)] = 4,
        feedforward: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise ConfigError(f"width {width} of head 'region_queries' is no multiple of 4 and of its {heads} heads.")
        self.width = width
        self.input = nn.Linear(token_width, width)
        self.place = nn.Linear(width, width)
        layer = decoder_layer(width=width, heads=heads, feedforward=feedforward, dropout=0.0)
        self.decoder = QueryDecoder(layer, layers=layers)
        self.queries = nn.Parameter(torch.randn(queries + 1, width))
        self.regions = nn.Linear(width, embed_dim, bias=False)
        self.boxes = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return the four parts."""
        tokens, mask = self.input(encoded.part("tokens")), encoded.part("mask")
        if encoded.grid is None or len(encoded.grid) != 2:
            raise ConfigError("Head 'region_queries' needs the image tokens in a grid, and these have none.")
        place = self.place(sines(centres(encoded.grid, like=tokens), tokens.shape[2]).to(tokens))
        asked = self.queries.expand(len(tokens), -1, -1)
        found = self.decoder(torch.zeros_like(asked), tokens + place, mask, layers=True, query_place=asked).layers
        assert found is not None, "layers were asked for"
        boxes = self.boxes(found[:, :, :-1]).sigmoid()
        return {
            name: found[:, -1, -1],
            f"{name}_regions": self.regions(found[:, -1, :-1]),
            f"{name}_boxes": boxes[:, -1],
            f"{name}_layers": boxes[:, :-1],
        }
