"""One trunk for patches and words alike; only what is in front of it differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from medvlp.core.registry import FromModel
from medvlp.models._draws import seeded
from medvlp.models.architectures._towers import TowerModel, needed
from medvlp.models.bank import Bank
from medvlp.models.encoders._blocks import Trunk
from medvlp.models.encoders._patches import PatchTower
from medvlp.models.encoders._text import TextPool, TextTower
from medvlp.models.scale import ScaleOptions
from medvlp.text.tokenizers import Tokenizer

__all__ = ["SingleModel"]


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
        embed_dim, projection, scale, heads, patches: as in `dual`.

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
