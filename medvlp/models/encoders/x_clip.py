"""X-CLIP (Ni et al. 2022): frames of a stack send each other a message in every block of a vision transformer."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.registry import FromModel
from medvlp.models.encoders._blocks import Attention
from medvlp.models.encoders._frames import Exchange, FrameEncoder, Frames


class XClip(FrameEncoder):
    r"""(R, S, C, H, W) frames -> tokens (R, S, W), each made in sight of the other frames; `pooled` is their mean.

    With c_s the class token of frame s at the entry of a block, and LN a layer norm::

        m_s = Linear(c_s)
        m   = m + MHA(LN m)          over the real frames of the stack
        x_s = block([x_s, m_s])      frame s attends to its own tokens and to its message, which is dropped then

    The block is the tower's own: with messages hidden from its attention it is CLIP's. (Messages of weight zero still
    take their share of the softmax.) Messages know no order of the frames; the head ``mit`` adds it.

    Args:
        slice: a vision transformer of timm with a class token, component of `models/encoders`.
        chunk: frames at a time where the tower is not trained; a stack is never cut.

    Raises:
        ConfigError: for a tower without class token, or stacks of features instead of pixels.

    References:
        Ni et al. 2022 (X-CLIP, ECCV), eq. 3 to 6; its stochastic depth of messages is left out.

    Note:
        Frames must be of one examination and in their order (a cine, the slices of a volume); padded frames neither
        send nor read messages. A view that flips or shuffles frames changes what "before" means: use none.

    Example:
        >>> vit = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 32}
        >>> tower = XClip(slice={**vit, "options": {"embed_dim": 16, "depth": 2, "num_heads": 2}}).eval()
        >>> stack, mask = torch.rand(2, 3, 1, 32, 32), torch.tensor([[True, True, True], [True, True, False]])
        >>> rows = tower(stack, parts=frozenset({"tokens", "patches"}), mask=mask)
        >>> rows.tokens.shape, rows.part("patches").shape, rows.tokens[1, 2].abs().max().item()
        (torch.Size([2, 3, 16]), torch.Size([2, 4, 16]), 0.0)
    """

    def __init__(
        self,
        *,
        slice: dict[str, Any],
        chunk: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model.vision",
    ) -> None:
        super().__init__(slice=slice, chunk=chunk, seed=seed, where=where)
        self.messages = nn.ModuleList()
        for block in self.blocks():
            message = Messages(self.frames, width=self.slice.token_width, heads=int(block.attn.num_heads))  # pyrefly: ignore
            message.join(block)
            self.messages.append(message)


class Messages(Exchange):
    """The messages of one block: a token for each frame, that has seen those of the other frames.

    Args:
        frames: which there are.
        width: W.
        heads: of the attention over frames; X-CLIP has as many as the block.
    """

    def __init__(self, frames: Frames, *, width: int, heads: int) -> None:
        super().__init__(frames)
        self.write = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads)

    def before(self, tokens: Tensor) -> Tensor:
        """Put each frame's message behind its tokens, (N, L + 1, W)."""
        return torch.cat([tokens, self.frames.pack(self(tokens[:, 0]))[:, None]], dim=1)

    def after(self, tokens: Tensor) -> Tensor:
        """Drop it."""
        return tokens[:, :-1]

    def forward(self, classes: Tensor) -> Tensor:
        """Return messages (R, S, W) of the class tokens (N, W) of the real frames."""
        written = self.frames.unpack(self.write(classes))
        return written + self.attention(self.norm(written), self.frames.real)
