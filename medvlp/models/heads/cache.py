"""A classifier that remembers labelled rows: what is near to them is called as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import zeroed


class CacheHead(Head):
    """(R, W) -> logits (R, K): a linear classifier plus labelled keys (Zhang et al. 2022, Tip-Adapter, eq. 3 to 6).

    ``x w_k + b_k + a_k sum_m exp(-s_k (1 - u(x) key_m)) v_mk`` with ``u(x) = (x - mean) / scale`` at unit length. The
    tensors come from `medvlp.adaptation.tip`.

    Args:
        classes: K.
        rows: number of keys.
        reads: part that is classified.
        stage: ``tower`` or ``batch``, see `Head`.

    Example:
        >>> head = CacheHead(in_width=2, classes=1, rows=1)
        >>> own = {"keys": torch.tensor([[0.0, 1.0]]), "values": torch.ones(1, 1), "weight": torch.ones(1)}
        >>> _ = head.load_state_dict({**head.state_dict(), **own})
        >>> head(Encoded(owner=torch.arange(1), pooled=torch.tensor([[0.0, 3.0]])), "findings")["findings"].item()
        1.0
    """

    mean: Tensor
    scale: Tensor
    values: Tensor
    weight: Tensor
    sharpness: Tensor

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        classes: Annotated[int, Field(ge=1)],
        rows: Annotated[int, Field(ge=1)],
        reads: str = "pooled",
        stage: Literal["tower", "batch"] = "tower",
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.stage = stage
        self.width = classes
        self.output = zeroed(nn.Linear(in_width, classes))
        self.keys = nn.Parameter(torch.zeros(rows, in_width))
        ones, zeros = torch.ones, torch.zeros
        own = {"values": zeros(rows, classes), "weight": zeros(classes), "sharpness": ones(classes)}
        for name, value in {**own, "mean": zeros(in_width), "scale": ones(in_width)}.items():
            self.register_buffer(name, value)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, K)}."""
        rows = encoded.part(self.reads[0])
        far = 1 - unit((rows - self.mean) / self.scale) @ self.keys.T
        near = torch.zeros_like(far[:, :1] * self.weight)
        for sharp in self.sharpness.unique():
            own = self.sharpness == sharp
            near[:, own] = (torch.exp(-sharp * far) @ self.values[:, own]).to(near.dtype)
        return {name: self.output(rows) + self.weight * near}
