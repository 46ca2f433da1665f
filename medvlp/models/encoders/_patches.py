"""Images -> patches -> trunk: the image side of a single tower."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.models.encoders._blocks import Trunk
from medvlp.models.encoders._sites import AddedTokens, TokenSite, block_sites, linear_sites, without_added


class PatchTower(Encoder):
    """A convolution that cuts (R, C, H, W) images in [0, 1] into patches, in front of a trunk that the model registers.

    Args:
        trunk: the blocks.
        image_size: side in pixels; a multiple of `patch_size`.
        patch_size: side of a patch in pixels.
        channels: of the images.
        mean: subtracted from every pixel.
        std: divided by.
    """

    kinds = ("image",)
    offers = Encoder.offers | {"layers", "attention"}

    def __init__(
        self, *, trunk: Trunk, image_size: int, patch_size: int, channels: int, mean: float, std: float
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ConfigError(
                f"image_size {image_size} is no multiple of patch_size {patch_size}: change one of the two."
            )
        self.width = self.token_width = trunk.width
        self.channels, self.image_size = channels, image_size
        self.side = image_size // patch_size
        self.mean, self.std = mean, std
        self.patch = nn.Conv2d(channels, trunk.width, patch_size, stride=patch_size)
        self.position = nn.Parameter(torch.empty(self.side**2, trunk.width))
        nn.init.normal_(self.position, std=0.01)
        self.tokens_input = nn.Identity()
        self.pooled_output = nn.Identity()
        self._added = AddedTokens()
        self._trunk = (trunk,)

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode R images; see `Encoder`. The pooled vector is the mean of the tokens."""
        expected = (self.channels, self.image_size, self.image_size)
        if values.shape[1:] != expected:
            raise ConfigError(
                f"The image tower takes images of shape {expected} and was given {tuple(values.shape[1:])}: set "
                f"image_size and channels to those of the data's views."
            )
        pixels = (values.to(self.position.dtype) - self.mean) / self.std
        cut = self.patch(pixels).flatten(2).transpose(1, 2)
        self._added.clear()
        tokens = self.tokens_input(cut + self.position)
        out = self._trunk[0](tokens, None, layers="layers" in parts, attention="attention" in parts)
        out = without_added(out, self._added)
        count = out.tokens.shape[1]
        return Encoded(
            owner=torch.arange(len(values), device=values.device),
            pooled=self.pooled_output(out.tokens.mean(dim=1)) if "pooled" in parts else None,
            tokens=out.tokens if "tokens" in parts else None,
            mask=torch.ones(len(values), count, dtype=torch.bool, device=values.device),
            grid=(self.side, self.side) if count == self.side**2 else None,
            layers=out.layers,
            attention=out.attention,
        )

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        trunk = self._trunk[0]
        return {
            "tokens.input": TokenSite(self.tokens_input, "after", removable=True, added=self._added),
            **block_sites(list(trunk.blocks)),
            **linear_sites(trunk),
            "attention.last": Site(trunk.blocks[-1].get_submodule("attention"), "after"),
            "pooled.output": Site(self.pooled_output, "after"),
        }

    def blank(self, device: torch.device) -> Tensor:
        """Return one black image."""
        return torch.zeros(1, self.channels, self.image_size, self.image_size, device=device)
