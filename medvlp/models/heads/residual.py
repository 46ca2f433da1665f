"""A bottleneck beside the features, mixed into them, and a linear classifier of the mixture."""

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


class ResidualHead(Head):
    """(R, W) -> logits (R, K) of ``u((1 - r) z + r B relu(A z))``, z = (x - mean) / scale, u at unit length.

    CLIP-Adapter (Gao et al. 2023, eq. 4 to 6) without the second ReLU: B = 0 is the classifier alone. The tensors come
    from `medvlp.adaptation.residual`.

    Args:
        classes: K.
        hidden: width of the bottleneck.
        reads: part that is classified.
        stage: ``tower`` or ``batch``, see `Head`.

    Example:
        >>> head = ResidualHead(in_width=2, classes=1, hidden=1)
        >>> _ = head.load_state_dict({**head.state_dict(), "output.weight": torch.tensor([[1.0, 0.0]])})
        >>> rows = Encoded(owner=torch.arange(1), pooled=torch.tensor([[3.0, 4.0]]))
        >>> round(head(rows, "findings")["findings"].item(), 6)
        0.6
    """

    mean: Tensor
    scale: Tensor
    ratio: Tensor

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        classes: Annotated[int, Field(ge=1)],
        hidden: Annotated[int, Field(ge=1)] = 64,
        reads: str = "pooled",
        stage: Literal["tower", "batch"] = "tower",
    ) -> None:
        super().__init__()
        self.reads = (reads,)
        self.stage = stage
        self.width = classes
        self.down = nn.Linear(in_width, hidden, bias=False)
        self.up = zeroed(nn.Linear(hidden, in_width, bias=False))
        self.output = zeroed(nn.Linear(in_width, classes))
        self.register_buffer("ratio", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(in_width))
        self.register_buffer("scale", torch.ones(in_width))

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, K)}."""
        rows = (encoded.part(self.reads[0]) - self.mean) / self.scale
        mixed = (1 - self.ratio) * rows + self.ratio * self.up(self.down(rows).relu())
        return {name: self.output(unit(mixed))}
