"""ILA (Tu et al. 2023): neighbouring frames are aligned at a point of each, in every block of a vision transformer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import nn

from medvlp.core.registry import FromModel
from medvlp.models.encoders._alignment import Alignment
from medvlp.models.encoders._frames import FrameEncoder


class Ila(FrameEncoder):
    r"""(R, S, C, H, W) frames -> tokens (R, S, W), one a frame; in front of each block neighbours are aligned.

    Of frames s and s + 1, with maps x_s, x_t of their patch tokens (h, w), g(e) as in `point_mask`::

        I_s, I_t = halves of conv([x_s, x_t])               what the two have to do with each other, (h, w) each
        p, q     = 3/4 tanh(network(max over cells of I))   a point of each frame, (0, 0) at first
        M_s x_s, M_t x_t                                    frames seen through a window around their points
        x_s <- x_s + Z1(M_s x_s) + Z2(Linear(Conv3d(I)_s))  frames with two neighbours take the mean of both pairs

    Z1 and Z2 start at zero: then the tower is its own. A frame without a real neighbour stays as it is. The part
    ``alignment`` (R, S, L) is the cosine, in each of L blocks, between the sums of M_s x_s and of M_t x_t over all
    cells, at frame s; the objective ``ila`` draws it to 1.

    Args:
        slice: a vision transformer of timm with a class token and a grid of at least 3 x 3 patches.
        hidden: channels of I, both halves together; 256 in the paper.
        spread: while training masks are averaged over 9 points, this far apart; 0: one point. The paper halves it every
            epoch from the 30th, which is left to a second phase here.
        chunk: frames at a time where the tower is not trained; a stack is never cut.

    Raises:
        ConfigError: for a tower without class token, a smaller grid, or stacks of features instead of pixels.

    References:
        Tu et al. 2023 (ILA, ICCV), section 3, in the form of its released code: the masked maps are added, where the
        paper pools them into one more token. That code puts a linear layer and a norm in front of x_s and x_t, and its
        networks of I and of the points have BatchNorms and further layers; their sizes are ours.

    Note:
        A point moves freely: where a cine shows nothing that moves, windows drift to borders and burnt-in text. Look at
        points before believing that the model follows a valve; slices of a volume are aligned as if they moved.

    Example:
        >>> vit = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 64}
        >>> tower = Ila(slice={**vit, "options": {"embed_dim": 16, "depth": 2, "num_heads": 2}}, hidden=8).eval()
        >>> import torch
        >>> frame = torch.rand(1, 1, 1, 64, 64)
        >>> rows = tower(frame.repeat(1, 3, 1, 1, 1), parts=frozenset({"tokens", "alignment"}))  # three times the same
        >>> rows.part("alignment")[0].round(decimals=4).tolist()
        [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    """

    beside = frozenset({"patches", "alignment"})

    def __init__(
        self,
        *,
        slice: dict[str, Any],
        hidden: Annotated[int, Field(ge=2, multiple_of=2)] = 256,
        spread: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        chunk: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model.vision",
    ) -> None:
        super().__init__(slice=slice, chunk=chunk, seed=seed, where=where)
        self.alignments = nn.ModuleList()
        for block in self.blocks():
            one = Alignment(self.frames, width=self.slice.token_width, prefix=self.prefix, hidden=hidden, spread=spread)
            one.join(block)
            self.alignments.append(one)
