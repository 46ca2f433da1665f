"""One tower of pictures and no words: models that learn findings from a fixed vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Encoder
from medvlp.core.registry import FromModel, build, fill
from medvlp.models._seeded import seeded
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.patches._patch import apply_patches
from medvlp.models.scale import ScaleOptions

__all__ = ["VisionModel"]


class VisionModel(TowerModel):
    """A tower of images or stacks; its ``embedding`` is what `projection` gives at unit length. See `TowerModel`.

    What it knows of words are banks with constant vectors, which heads read (`dual_stream`). It takes no text.

    Args:
        vision: component of `models/encoders` for images or stacks.
        projection: head that gives ``raw``: the pooled output as it is, or ``{name: stages}``.
        heads: heads that belong to the model: ``{image/medslip: {name: dual_stream}}``.
        patches: patches that belong to the model.
        banks: given by the builder; all with constant vectors.
        seed: given by the builder.
        where: given by the builder.

    Raises:
        ConfigError: for a faulty tower or head, or a bank without vectors.

    Example:
        >>> from medvlp.models.build import build_model
        >>> tower = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1}
        >>> sorted(build_model({"name": "vision", "vision": tower}, tokenizer=None).heads)
        ['image/raw']
    """

    def __init__(
        self,
        *,
        vision: dict[str, Any],
        projection: dict[str, Any] = {"name": "identity"},  # noqa: B006  (read only; the default is part of the schema)
        heads: dict[str, dict[str, Any]] = {},  # noqa: B006
        patches: list[dict[str, Any]] = [],  # noqa: B006
        banks: Annotated[Mapping[str, Bank] | None, FromModel("banks")] = None,
        seed: Annotated[int, FromModel("seed")] = 0,
        where: Annotated[str, FromModel("where")] = "model",
    ) -> None:
        path = f"{where}.vision"
        filled = fill("models/encoders", vision, where=path)
        with seeded(seed, "tower image"):
            tower: Encoder = build("models/encoders", vision, where=path, given={"seed": seed, "where": path})
        kind = next((kind for kind in ("image", "stack", "volume") if kind in tower.kinds), "")
        if not kind:
            raise ConfigError(
                f"{path}: {vision['name']!r} encodes {', '.join(tower.kinds)} and not image, stack or volume: "
                "choose another."
            )
        for name, bank in (banks or {}).items():
            if bank.vectors is None:
                raise ConfigError(
                    f"{where}: a model without words cannot encode the bank {name!r}: give banks.{name} an encoder, or "
                    f"use the architecture dual."
                )
        super().__init__(
            towers={kind: tower},
            embed_dim=tower.width,
            projection=projection,
            heads=heads,
            scale=ScaleOptions(),
            banks=banks or {},
            vocab_size=None,
            seed=seed,
            where=where,
        )
        self.embed_dim = self.heads[f"{kind}/raw"].width or tower.width
        self.spec = {
            "name": "vision",
            "vision": {**filled, **tower.released()},
            "projection": dict(projection),
            "heads": {name: self._head_specs[name] for name in heads},
            "patches": [],
        }
        if patches:
            apply_patches(self, patches, seed=seed, where=f"{where}.patches")
