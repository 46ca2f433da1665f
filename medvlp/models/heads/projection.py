"""A linear map or a small network over one part."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.encoders._text import mean_of
from medvlp.models.heads._batch_norm import RowBatchNorm


class Projection(Head):
    """(R, ..., W) -> (R, ..., D): linear, or hidden layers with norm and activation and a linear layer behind them.

    Args:
        reads: part that is projected.
        standardise: first give each column the mean 0 and the spread 1, by BatchNorm over the rows of the batch (as in
            front of the linear classifier of MAE, He et al. 2022); needs ``stage: batch``.
        width: D; None: the model's `embed_dim`.
        hidden: width of the hidden layers; None: no hidden layer.
        layers: number of linear layers where there are hidden ones.
        norm: of the hidden layers; ``batch`` needs ``stage: batch``; ``layer_behind`` normalises what the
            activation gives.
        norm_eps: that LayerNorm adds to a variance.
        activation: of the hidden layers; ``prelu`` learns one slope a layer.
        hidden_bias: whether the hidden layers have one; never before ``batch``.
        mean: whether what is projected, one by one, is averaged: real tokens to one vector.
        first: whether only the first is projected: of tokens the upper left.
        bias: of the last layer.
        stage: ``tower`` or ``batch``, see `Head`.

    Raises:
        ConfigError: for BatchNorm in the tower, or a norm without hidden layer.

    Example:
        >>> import torch
        >>> head = Projection(in_width=4, embed_dim=2)
        >>> head(Encoded(owner=torch.arange(3), pooled=torch.ones(3, 4)), "raw")["raw"].shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        reads: str = "pooled",
        standardise: bool = False,
        width: Annotated[int, Field(ge=1)] | None = None,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        layers: Annotated[int, Field(ge=2)] = 2,
        norm: Literal["none", "layer", "batch", "layer_behind"] = "none",
        norm_eps: Annotated[float, Field(gt=0)] = 1e-5,
        activation: Literal["relu", "gelu", "prelu"] = "relu",
        hidden_bias: bool = True,
        mean: bool = False,
        first: bool = False,
        bias: bool = False,
        stage: Literal["tower", "batch"] = "tower",
    ) -> None:
        super().__init__()
        if (norm == "batch" or standardise) and stage == "tower":
            what = "with norm 'batch'" if norm == "batch" else "that standardises"
            raise ConfigError(f"A projection {what} sees one chunk only at stage 'tower': set stage to batch.")
        if norm != "none" and hidden is None:
            raise ConfigError(f"A projection with norm {norm!r} has no hidden layer to normalise: set hidden.")
        masked = mean or ((norm == "batch" or standardise) and not first)
        self.reads = (reads, "mask") if masked and reads == "tokens" else (reads,)
        self.stage = stage
        self.behind, self.mean, self.first = norm == "layer_behind", mean, first
        self.width = width or embed_dim
        self.standard = RowBatchNorm(in_width) if standardise else None
        widths = [in_width] if hidden is None else [in_width, *[hidden] * (layers - 1)]
        self.hidden = nn.ModuleList(nn.Linear(a, b, bias=hidden_bias and norm != "batch") for a, b in pairwise(widths))
        self.norms = nn.ModuleList(_norm(norm, b, norm_eps) for b in widths[1:])
        made = {"relu": nn.ReLU, "gelu": nn.GELU, "prelu": nn.PReLU}[activation]
        self.activations = nn.ModuleList(made() for _ in widths[1:])
        self.output = nn.Linear(widths[-1], self.width, bias=bias)
        # Unit gain whatever the widths: the projected rows start at the size of what was read.
        nn.init.normal_(self.output.weight, std=widths[-1] ** -0.5)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, ..., D)}."""
        values = encoded.part(self.reads[0])
        values = values[:, 0] if self.first else values
        beside = (encoded.owner, encoded.mask if "mask" in self.reads and not self.first else None)
        values = values if self.standard is None else self.standard(values, *beside)
        for linear, norm, activation in zip(self.hidden, self.norms, self.activations, strict=True):
            values = linear(values)
            if not self.behind:
                values = norm(values, *beside) if isinstance(norm, RowBatchNorm) else norm(values)
            values = norm(activation(values)) if self.behind else activation(values)
        values = self.output(values)
        return {name: mean_of(values, encoded, self.reads) if self.mean else values}


def _norm(norm: str, width: int, eps: float) -> nn.Module:
    if norm == "batch":
        return RowBatchNorm(width)
    return nn.LayerNorm(width, eps=eps) if norm.startswith("layer") else nn.Identity()
