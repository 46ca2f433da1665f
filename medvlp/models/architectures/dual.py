"""Two towers that meet in one space: an image encoder and a text encoder, each with its projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.core.registry import FromModel, build, fill
from medvlp.models._seeded import seeded
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.patches._patch import apply_patches
from medvlp.models.scale import ScaleOptions
from medvlp.text.tokenizers import Tokenizer

__all__ = ["DualModel"]


class DualModel(TowerModel):
    """An image tower and a text tower; see `TowerModel` for parts, heads and banks.

    Args:
        vision: component of `models/encoders` for images.
        text: component of `models/encoders` for texts.
        embed_dim: D of the common space.
        projection: options of the projection of both towers; empty: one linear map without bias.
        scale: of the logits.
        heads: further heads that belong to the model: ``{image/regions: {name: pooler, queries: 8}}``.
        patches: patches that belong to the model, components of `models/patches`.
        tokenizer: given by the builder.
        banks: given by the builder.
        seed: given by the builder.
        where: given by the builder.

    Raises:
        ConfigError: for a faulty tower or head, or a text tower without tokenizer.

    Example:
        >>> from medvlp.models.build import build_model
        >>> sorted(fill("models/architectures", {"name": "dual", "vision": {}, "text": {}}, where="model"))
        ['embed_dim', 'heads', 'name', 'patches', 'projection', 'scale', 'text', 'vision']
    """

    def __init__(
        self,
        *,
        vision: dict[str, Any],
        text: dict[str, Any],
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
        if tokenizer is None:
            raise ConfigError(f"{where}.text needs a tokenizer: give build_model one.")
        specs = {"image": (vision, f"{where}.vision"), "text": (text, f"{where}.text")}
        towers: dict[str, Encoder] = {}
        filled: dict[str, dict[str, object]] = {}
        for kind, (spec, path) in specs.items():
            filled[kind] = fill("models/encoders", spec, where=path)
            with seeded(seed, f"tower {kind}"):
                tower = build("models/encoders", spec, where=path, given={"tokenizer": tokenizer})
            if kind not in tower.kinds:
                raise ConfigError(
                    f"{path}: {spec['name']!r} encodes {', '.join(tower.kinds)} and not {kind}: choose another."
                )
            towers[kind] = tower
        super().__init__(
            towers=towers,
            embed_dim=embed_dim,
            projection=projection,
            heads=heads,
            scale=scale,
            banks=banks or {},
            vocab_size=tokenizer.vocab_size,
            seed=seed,
            where=where,
        )
        self.spec = {
            "name": "dual",
            "vision": {**filled["image"], **towers["image"].released()},
            "text": {**filled["text"], **towers["text"].released()},
            "embed_dim": embed_dim,
            "projection": dict(projection),
            "scale": scale.model_dump(),
            "heads": {name: self._head_specs[name] for name in heads},
            "patches": [],
        }
        if patches:
            apply_patches(self, patches, seed=seed, where=f"{where}.patches")
