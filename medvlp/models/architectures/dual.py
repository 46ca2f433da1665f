"""Towers that meet in one space: an encoder of images, stacks or volumes and one of texts, each with its projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.core.registry import FromModel
from medvlp.models.architectures._towers import TowerModel, needed
from medvlp.models.bank import Bank
from medvlp.models.encoders._build import build_tower
from medvlp.models.patches._patch import apply_patches
from medvlp.models.scale import ScaleOptions
from medvlp.text.tokenizers import Tokenizer


class DualModel(TowerModel):
    """A tower of pictures, or one of images and one of stacks, and one of texts; see `TowerModel` for parts and heads.

    Args:
        vision: component of `models/encoders` for images, stacks or volumes; its views have the name of that kind.
        text: component of `models/encoders` for texts.
        stack: component of `models/encoders` for stacks, beside a vision tower of images; ``{name: slices, slice:
            image}`` shares that tower's weights; None: the vision tower is the only one of pictures.
        embed_dim: D of the common space.
        projection: options of the projection of each tower; empty: one linear map without bias.
        scale: of the logits.
        heads: further heads that belong to the model: ``{image/regions: {name: pooler, queries: 8}}``.
        patches: patches that belong to the model, components of `models/patches`.

    Raises:
        ConfigError: for a faulty tower or head, a text tower without tokenizer, or two towers of stacks.
    """

    def __init__(
        self,
        *,
        vision: dict[str, Any],
        text: dict[str, Any],
        stack: dict[str, Any] | None = None,
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
        words = needed(tokenizer, where=f"{where}.text")
        options = locals()
        towers: dict[str, Encoder] = {}
        released: dict[str, object] = {}
        seen = [("vision", vision, ("image", "stack", "volume")), ("stack", stack, ("stack",))]
        for name, spec, wanted in (*seen, ("text", text, ("text",))):
            if spec is None:
                continue
            path, stream = f"{where}.{name}", "image" if name == "vision" else name
            given = {"tokenizer": words, "image": towers.get("image")}
            kind, tower, released[name] = build_tower(spec, wanted, stream=stream, seed=seed, where=path, **given)
            if kind in towers:
                raise ConfigError(
                    f"{path}: the vision tower encodes stacks already: make it one of images, or leave {name} out."
                )
            towers[kind] = tower
        super().__init__(towers=towers, embed_dim=embed_dim, vocab_size=words.vocab_size, options=options)
        self.describe("dual", options, released)
        if patches:
            apply_patches(self, patches, seed=seed, where=f"{where}.patches")
