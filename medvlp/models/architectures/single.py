"""One trunk for patches and words alike; only what is in front of it differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder, Site
from medvlp.core.registry import FromModel
from medvlp.models._draws import seeded
from medvlp.models.architectures._towers import TowerModel, needed
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import Trunk
from medvlp.models.encoders._sites import AddedTokens, TokenSite, block_sites, linear_sites, without_added
from medvlp.models.encoders._text import TextPool, TextTower
from medvlp.models.patches._patch import apply_patches
from medvlp.models.scale import ScaleOptions
from medvlp.text.tokenizers import Tokenizer


class SingleModel(TowerModel):
    """A transformer that encodes images or texts, never both at once, with the same blocks.

    Half the parameters of a dual model of the same size; a patch at a block's site acts on both kinds.

    Args:
        image_size: side in pixels; a multiple of `patch_size`.
        patch_size: side of a patch in pixels.
        channels: 1 for gray, 3 for colour.
        width: of the trunk.
        layers: number of blocks.
        attention_heads: divides the width.
        mlp_ratio: width of the blocks' hidden layer over the width.
        pool: of texts; images are pooled by the mean.
        dropout: of each residual branch.
        mean: subtracted from every pixel.
        std: divided by.
        embed_dim: D of the common space.
        projection: options of the projection of both kinds; empty: one linear map without bias.
        scale: of the logits.
        heads: further heads that belong to the model.
        patches: patches that belong to the model.

    Raises:
        ConfigError: for sizes that do not fit each other, a faulty head, or no tokenizer.
    """

    def __init__(
        self,
        *,
        image_size: Annotated[int, Field(ge=8)] = 128,
        patch_size: Annotated[int, Field(ge=1)] = 16,
        channels: Literal[1, 3] = 1,
        width: Annotated[int, Field(ge=1)] = 192,
        layers: Annotated[int, Field(ge=1)] = 6,
        attention_heads: Annotated[int, Field(ge=1)] = 4,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        pool: TextPool = "mean",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        mean: float = 0.5,
        std: Annotated[float, Field(gt=0)] = 0.25,
        embed_dim: Annotated[int, Field(ge=1)] = 128,
        projection: dict[str, Any] = {},  # noqa: B006  (read only; the default is part of the schema)
        scale: ScaleOptions = ScaleOptions(),  # noqa: B008
        heads: dict[str, dict[str, Any]] = {},  # noqa: B006
        patches: list[dict[str, Any]] = [],  # noqa: B006
        tokenizer: Annotated[Tokenizer | None, FromModel("tokenizer")] = None,
        banks: Annotated[Mapping[str, Bank] | None, FromModel("banks")] = None,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model",
    ) -> None:
        words = needed(tokenizer, where=where)
        options = locals()
        with seeded(seed, "trunk"):
            trunk = Trunk(width=width, layers=layers, heads=attention_heads, mlp_ratio=mlp_ratio, dropout=dropout)
        with seeded(seed, "tower image"):
            image = PatchTower(
                trunk=trunk, image_size=image_size, patch_size=patch_size, channels=channels, mean=mean, std=std
            )
        with seeded(seed, "tower text"):
            text = TextTower(words=words, trunk=trunk, own=False, pool=pool)
        super().__init__(
            towers={"image": image, "text": text}, embed_dim=embed_dim, vocab_size=words.vocab_size, options=options
        )
        self.trunk = trunk
        self.describe("single", options, {})
        if patches:
            apply_patches(self, patches, seed=seed, where=f"{where}.patches")


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
        self.tokens_cut, self.tokens_input = nn.Identity(), nn.Identity()
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
        cut = self.tokens_cut(self.patch(pixels).flatten(2).transpose(1, 2))
        self._added.clear()
        tokens = self.tokens_input(cut + self.position)
        out = self._trunk[0](tokens, None, layers="layers" in parts, attention="attention" in parts)
        out = without_added(out, self._added)
        count = out.tokens.shape[1]
        return Encoded(
            owner=torch.arange(values.shape[0], device=values.device),  # len() would be fixed in an exported graph
            pooled=self.pooled_output(out.tokens.mean(dim=1)) if "pooled" in parts else None,
            tokens=out.tokens if "tokens" in parts else None,
            mask=torch.ones(values.shape[0], count, dtype=torch.bool, device=values.device),
            grid=(self.side, self.side) if count == self.side**2 else None,
            layers=out.layers,
            attention=out.attention,
        )

    def sites(self) -> Mapping[str, Site]:
        """See `Encoder`."""
        trunk, cut = self._trunk[0], Site(self.tokens_cut, "after")
        return {
            "tokens.input": TokenSite(self.tokens_input, "after", removable=True, added=self._added, cut=cut),
            **block_sites(list(trunk.blocks)),
            **linear_sites(trunk),
            "attention.last": Site(trunk.blocks[-1].get_submodule("attention"), "after"),
            "pooled.output": Site(self.pooled_output, "after"),
        }

    def blank(self, device: torch.device) -> Tensor:
        """Return one black image."""
        return torch.zeros(1, self.channels, self.image_size, self.image_size, device=device)
