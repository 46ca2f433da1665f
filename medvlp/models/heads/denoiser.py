"""A small denoiser of pictures, conditioned on what a tower made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel

_EIGHT = 8  # channels come in eights: the width of an attention head
_NORM_GROUPS = 4  # a norm over a single channel would take out whatever the time and the vector add to it


class Denoiser(Head):
    """MONAI's `DiffusionModelUNet` on gray copies (R, 1, S, S) in [-1, 1], conditioned on a tower's vector (R, W).

    At stage ``call``, for the objective `denoise`. The vector enters through cross-attention, as `slots` tokens, and is
    added to the embedding of the time in every residual block, as in unCLIP (Ramesh et al. 2022, section 2.1). A unit
    embedding is first made sqrt(W) long, so that its numbers are about 1.

    Args:
        reads: vector of the tower or of a head.
        size: S; what is smaller than a pixel of this copy cannot be learned from it.
        channels: of the U-Net's levels, finest first, multiples of 8; all but the first attend.
        slots: tokens that the vector becomes. With one, as in GenHancer, and no local tokens, cross-attention has
            nothing to choose from.
        vector: whether the vector is added to the embedding of the time too.
        adapters: whether it comes in through LayerNorm, linear, GELU, linear, as in GenHancer; else by linear maps,
            which are the denoiser's own: the gradient arrives in the space of the vector itself (un2CLIP).
        local: whether cross-attention sees tokens of the tower too.

    Raises:
        ConfigError: for channels that are no multiple of 8, or a size that cannot be halved as often as there are
            levels.

    References:
        Ho et al. 2020; Rombach et al. 2022 (cross-attention); Pinaya et al. 2022 (MONAI's generative models).

    Note:
        It draws what the vector says and otherwise what is usual: nothing that it draws is an image of a patient.

    Example:
        >>> head = Denoiser(in_width=6, token_width=4, size=8, channels=[8, 8])
        >>> clean = head.pictures(torch.rand(2, 3, 32, 32))
        >>> head.denoise(clean, torch.tensor([0, 999]), torch.rand(2, 6), None).shape
        torch.Size([2, 1, 8, 8])
    """

    stage = "call"

    def __init__(
        self,
        *,
        in_width: Annotated[int, FromModel("width")],
        token_width: Annotated[int, FromModel("token_width")],
        reads: str = "embedding",
        size: Annotated[int, Field(ge=4)] = 64,
        channels: Sequence[int] = (16, 32, 64, 64),
        slots: Annotated[int, Field(ge=1)] = 4,
        vector: bool = True,
        adapters: bool = False,
        local: bool = False,
    ) -> None:
        from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

        super().__init__()
        if not channels or any(width % _EIGHT or width < 1 for width in channels):
            raise ConfigError(f"The channels of a denoiser are {list(channels)}: write multiples of {_EIGHT}.")
        if size % 2 ** (len(channels) - 1):
            raise ConfigError(
                f"A denoiser of {len(channels)} levels halves its picture {len(channels) - 1} times, and size {size} "
                "cannot be: change one of the two."
            )
        self.reads = (reads,)
        self.size, self.slots = size, slots
        self.gain = in_width**0.5 if reads == "embedding" else 1.0
        width, times = channels[-1], 4 * channels[0]
        self.net = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            num_res_blocks=1,
            channels=list(channels),
            attention_levels=[len(channels) == 1, *[True] * (len(channels) - 1)],
            norm_num_groups=_NORM_GROUPS,
            num_head_channels=_EIGHT,
            with_conditioning=True,
            cross_attention_dim=width,
            num_class_embeds=1 if vector else None,
            use_flash_attention=True,  # half the time and memory
        )
        if vector:  # where MONAI adds the embedding of a class to that of the time
            self.net.add_module("class_embedding", _way_in(in_width, times, adapters))
        self.context = _way_in(in_width, slots * width, adapters)
        self.local = nn.Linear(token_width, width) if local else None

    def pictures(self, pixels: Tensor) -> Tensor:
        """Return the gray copies (R, 1, S, S) in [-1, 1] of pixels (R, C, H, W) in [0, 1]."""
        gray = pixels.mean(dim=1, keepdim=True)
        sides = (self.size, self.size)
        return 2 * F.interpolate(gray, size=sides, mode="bilinear", align_corners=False, antialias=True) - 1

    def denoise(self, noisy: Tensor, steps: Tensor, vector: Tensor, tokens: Tensor | None) -> Tensor:
        """Return (R, 1, S, S), the estimated noise, or the direction of a flow.

        Args:
            noisy: (R, 1, S, S).
            steps: (R,) time of the noise, 0 to 1000, 1000 the most.
            vector: (R, W).
            tokens: (R, N, token_width), further condition; None without `local`.
        """
        vector = self.gain * vector
        context = self.context(vector).unflatten(1, (self.slots, -1))
        if self.local is not None and tokens is not None:
            context = torch.cat([context, self.local(tokens)], dim=1)
        beside = vector if self.net.num_class_embeds is not None else None
        return self.net(noisy, steps, context=context, class_labels=beside)


def _way_in(width: int, out: int, adapter: bool) -> nn.Module:
    if not adapter:
        return nn.Linear(width, out)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out), nn.GELU(), nn.Linear(out, out))
