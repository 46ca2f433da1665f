"""Towers that meet in one space: an encoder of pictures and one of texts, each with its projection.

Pictures are images, or stacks of slices (a volume, a cine, the views of a study): what the vision tower encodes. A
model of both has a second tower, of stacks, beside the one of images, and the same texts.
"""

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
    """A tower of pictures, or one of images and one of stacks, and one of texts; see `TowerModel` for parts and heads.

    Args:
        vision: component of `models/encoders` for images or stacks; its views have the name of that kind.
        text: component of `models/encoders` for texts.
        stack: component of `models/encoders` for stacks, beside a vision tower of images; ``{name: slices, slice:
            image}`` shares that tower's weights; None: the vision tower is the only one of pictures.
        embed_dim: D of the common space.
        projection: options of the projection of each tower; empty: one linear map without bias.
        scale: of the logits.
        heads: further heads that belong to the model: ``{image/regions: {name: pooler, queries: 8}}``.
        patches: patches that belong to the model, components of `models/patches`.
        tokenizer: given by the builder.
        banks: given by the builder.
        seed: given by the builder.
        where: given by the builder.

    Raises:
        ConfigError: for a faulty tower or head, a text tower without tokenizer, or two towers of stacks.

    Example:
        >>> from medvlp.models.build import build_model
        >>> sorted(fill("models/architectures", {"name": "dual", "vision": {}, "text": {}}, where="model"))
        ['embed_dim', 'heads', 'name', 'patches', 'projection', 'scale', 'stack', 'text', 'vision']
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
        if tokenizer is None:
            raise ConfigError(
                f"{where}.text needs a tokenizer, and there is none: the data has no texts, or the bundle of "
                "init_from reads none; leave init_from out, or start from one that does."
            )
        towers: dict[str, Encoder] = {}
        released: dict[str, dict[str, object]] = {}
        asked = [("vision", vision, ("image", "stack", "volume")), ("text", text, ("text",))]
        if stack is not None:
            asked.insert(1, ("stack", stack, ("stack",)))
        for name, spec, wanted in asked:
            path = f"{where}.{name}"
            filled = fill("models/encoders", spec, where=path)
            given = {"tokenizer": tokenizer, "seed": seed, "where": path, "image": towers.get("image")}
            # First weights depend on the seed and the kind, whatever else the model has.
            with seeded(seed, f"tower {'image' if name == 'vision' else name}"):
                tower: Encoder = build("models/encoders", spec, where=path, given=given)
            kind = next((kind for kind in wanted if kind in tower.kinds), "")
            if not kind:
                raise ConfigError(
                    f"{path}: {spec['name']!r} encodes {', '.join(tower.kinds)} and not {' or '.join(wanted)}: choose "
                    f"another."
                )
            if kind in towers:
                raise ConfigError(
                    f"{path}: the vision tower encodes stacks already: make it one of images, or leave {name} out."
                )
            towers[kind] = tower
            released[name] = {**filled, **tower.released()}
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
            **released,
            "embed_dim": embed_dim,
            "projection": dict(projection),
            "scale": scale.model_dump(),
            "heads": {name: self._head_specs[name] for name in heads},
            "patches": [],
        }
        if patches:
            apply_patches(self, patches, seed=seed, where=f"{where}.patches")
