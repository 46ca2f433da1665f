"""Tokens of a picture and a prompt, a box or a phrase, -> a vector of what is asked for: CLOC's prompter."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.heads._regions import centres, sines

_SINES = 64  # numbers that a corner or a cell's middle is written in


class Prompter(Head):
    """z = A mean(block(prompt ; tokens)), one transformer block with one attention head (Chen et al. 2024).

    A box is asked for by two tokens, the sines of its corners, a phrase by its embedding; each goes through a linear
    map. A picture's tokens carry the sines of their places as well, for towers whose tokens carry none.

    Args:
        feedforward: width of the block's hidden layer over the tokens'.

    Example:
        >>> head = Prompter(token_width=8, embed_dim=4)
        >>> tokens, boxes = torch.rand(3, 6, 8), torch.tensor([[0.0, 0.0, 0.5, 1.0]]).expand(3, 4)
        >>> head.of_boxes(tokens, (2, 3), boxes).shape, head.boxes_of(tokens, (2, 3), torch.rand(3, 4)).shape
        (torch.Size([3, 4]), torch.Size([3, 4]))
    """

    reads = ("tokens",)
    stage: Literal["tower", "batch", "call"] = "call"

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        feedforward: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        super().__init__()
        self.width = embed_dim
        self.place = nn.Linear(_SINES, token_width)
        self.corner = nn.ModuleList(nn.Linear(_SINES, token_width) for _ in range(2))
        self.phrase = nn.Linear(embed_dim, token_width)
        shape = {"d_model": token_width, "nhead": 1, "dim_feedforward": feedforward * token_width, "dropout": 0.0}
        self.block = nn.TransformerEncoderLayer(**shape, activation="gelu", batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(token_width)
        self.output = nn.Linear(token_width, embed_dim, bias=False)
        self.box = nn.Sequential(nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Linear(embed_dim, 4))

    def of_boxes(self, tokens: Tensor, grid: tuple[int, ...], boxes: Tensor) -> Tensor:
        """Return (M, D) of tokens (M, N, W) in a grid, each asked by a box (M, 4) x0, y0, x1, y1 in shares."""
        corners = [layer(sines(at, _SINES)) for layer, at in zip(self.corner, boxes.split(2, dim=1), strict=True)]
        return self._asked(torch.stack(corners, dim=1), tokens, grid)

    def boxes_of(self, tokens: Tensor, grid: tuple[int, ...], phrases: Tensor) -> Tensor:
        """Return (M, 4), the corners in shares of where each picture shows its phrase (M, D)."""
        return self.box(self._asked(self.phrase(phrases)[:, None], tokens, grid)).sigmoid()

    def _asked(self, prompt: Tensor, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        placed = tokens + self.place(sines(centres(grid, like=tokens), _SINES).to(tokens))
        return self.output(self.norm(self.block(torch.cat([prompt, placed], dim=1))).mean(dim=1))
