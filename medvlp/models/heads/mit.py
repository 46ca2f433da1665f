"""X-CLIP's multi-frame integration transformer (Ni et al. 2022): frames in their order -> one vector."""

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
from medvlp.models.encoders._blocks import Block


class Mit(Head):
    r"""(R, S, W) frames -> (R, W): mean over real frames of x + T(x + pos), T a small pre-norm transformer over frames.

    pos (frames, W) is learnt, one vector for each place in the stack: the only thing that knows which frame came
    first. ILA's head has the same form.

    Args:
        frames: most frames of a stack.
        layers: of T; 1 in the paper.
        heads: of its attention; None: one for 64 numbers of W, as in the paper, and at least one.
        mlp_ratio: width of its network's hidden layer over W.
        reads: part with the frames.

    Raises:
        ConfigError: for a stack of more than `frames`, or heads that do not divide W.

    References:
        Ni et al. 2022 (X-CLIP), eq. 7 and 8; GELU here, where X-CLIP has CLIP's quick approximation of it.

    Note:
        Places are numbers in the stack, not milliseconds or millimetres: cines of another frame rate and volumes of
        another slice distance look faster or thicker. Sample frames evenly (`sample_slices`), and alike at both times.

    Example:
        >>> head = Mit(width=4, frames=3, heads=1)
        >>> mask = torch.tensor([[True, True, False]])
        >>> rows = Encoded(owner=torch.arange(1), tokens=torch.rand(1, 3, 4), mask=mask)
        >>> _ = head.requires_grad_(False).place.fill_(0.0)
        >>> other = Encoded(owner=rows.owner, tokens=rows.tokens[:, [1, 0, 2]], mask=mask)
        >>> bool(torch.allclose(head(rows, "video")["video"], head(other, "video")["video"]))  # without places no order
        True
    """

    def __init__(
        self,
        *,
        width: Annotated[int, FromModel("width")],
        frames: Annotated[int, Field(ge=1)] = 8,
        layers: Annotated[int, Field(ge=1)] = 1,
        heads: Annotated[int, Field(ge=1)] | None = None,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        reads: str = "tokens",
    ) -> None:
        super().__init__()
        self.reads = (reads, "mask")
        self.width = width
        self.place = nn.Parameter(nn.init.trunc_normal_(torch.empty(frames, width), std=0.02))
        some = max(1, width // 64) if heads is None else heads
        self.blocks = nn.ModuleList(
            Block(width=width, heads=some, mlp_ratio=mlp_ratio, dropout=0.0) for _ in range(layers)
        )

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, W)}."""
        frames, mask = encoded.part(self.reads[0]), encoded.part("mask")
        if frames.shape[1] > len(self.place):
            raise ConfigError(
                f"The head mit was given a stack of {frames.shape[1]} frames and has places for {len(self.place)}: let "
                "the view sample_slices take as many, or set frames of the head."
            )
        seen = frames + self.place[: frames.shape[1]]
        for block in self.blocks:
            seen = block(seen, mask)
        share = mask.to(frames.dtype) / mask.sum(1, keepdim=True).clamp_min(1)
        return {name: torch.einsum("rs,rsw->rw", share, frames + seen)}
