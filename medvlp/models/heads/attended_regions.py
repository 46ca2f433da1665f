"""Regions of a picture: what each of the tokens that the class token looks at most looks at itself (MacCap)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Head


class AttendedRegions(Head):
    r"""(R, K, W): of the K tokens k with the largest attention the means r_k = sum_n a_kn x_n over tokens x (R, N, W).

    a is the attention of the last layer, mean over its heads, over the N tokens of the picture: what falls on class and
    register tokens is left out and the rest divided by its sum. The K tokens are those to which the class token attends
    most; in a tower without one, those that all tokens together attend to most. Fewer than K tokens are all of them.

    Args:
        count: K.

    References:
        Qiu et al. 2024 (MacCap), sub-region feature aggregation. Its released code takes a softmax of a once more,
        which gives all tokens nearly the same weight, and means of the projected tokens at unit length, the class token
        among them.

    Note:
        The attention of a tower trained on reports is no map of findings: where it looks is where words were learned.

    Example:
        >>> look = torch.tensor([[[[0.2, 0.8], [1.0, 0.0], [0.25, 0.75]]]])  # of the class token and two others
        >>> seen = Encoded(owner=torch.arange(1), tokens=torch.eye(2)[None], attention=look)
        >>> AttendedRegions(count=1)(seen, "regions")["regions"].tolist()
        [[[0.25, 0.75]]]
    """

    reads = ("tokens", "attention")

    def __init__(self, *, count: Annotated[int, Field(ge=1)] = 10) -> None:
        super().__init__()
        self.count = count

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, K, W)}."""
        tokens, attention = encoded.part("tokens"), encoded.part("attention")[:, -1]
        own = attention[:, -tokens.shape[1] :]
        first = attention[:, 0] if attention.shape[1] > tokens.shape[1] else own.mean(dim=1)
        most = first.topk(min(self.count, tokens.shape[1]), dim=1).indices
        weight = own.gather(1, most[:, :, None].expand(-1, -1, own.shape[2]))
        weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
        return {name: weight.to(tokens.dtype) @ tokens}
