"""A learnt query an organ reads that organ's tokens: fVLM's embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel


class OrganQueries(Head):
    """Hidden states (R, L, O N, W) of `organ_vit` -> one unit vector an organ, (R, O, D).

    The query of an organ attends to its tokens of all L levels at once; each organ has a projection of its own (Shui et
    al., ICLR 2025).

    Args:
        organs: their names, in the order of the tower's windows.
        width: D.
        heads: of the attention; divides W.

    Raises:
        ConfigError: if the heads do not divide the width.

    Example:
        >>> head = OrganQueries(in_width=8, organs=("lung", "heart"), width=4)
        >>> rows = Encoded(owner=torch.arange(3), layers=torch.rand(3, 2, 10, 8), mask=torch.arange(10)[None] % 5 < 3)
        >>> head(rows, "organs")["organs"].shape, head.names
        (torch.Size([3, 2, 4]), ('lung', 'heart'))
    """

    reads = ("layers", "mask")

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        organs: Sequence[str] = ("lung", "heart", "esophagus", "aorta"),
        width: Annotated[int, Field(ge=1)] = 256,
        heads: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__()
        if in_width % heads:
            raise ConfigError(f"organ_queries reads tokens {in_width} wide with {heads} heads: let them divide it.")
        self.names, self.width = tuple(organs), width
        self.queries = nn.Parameter(torch.randn(len(self.names), in_width) * 0.02)
        self.attention = nn.MultiheadAttention(in_width, heads, batch_first=True)
        self.output = nn.ModuleList(nn.Linear(in_width, width) for _ in self.names)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, O, D)}."""
        layers = encoded.part("layers").unflatten(2, (len(self.names), -1))
        real = encoded.part("mask").expand(len(layers), -1).unflatten(1, (len(self.names), -1))
        found = []
        for organ, output in enumerate(self.output):
            keys, hidden = layers[:, :, organ].flatten(1, 2), ~real[:, organ].repeat(1, layers.shape[1])
            query = self.queries[organ].expand(len(keys), 1, -1)
            found.append(output(self.attention(query, keys, keys, key_padding_mask=hidden, need_weights=False)[0]))
        return {name: unit(torch.cat(found, dim=1))}
