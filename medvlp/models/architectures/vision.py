"""One tower of pictures and no words: models that learn findings from a fixed vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from medvlp.core.errors import ConfigError
from medvlp.core.registry import FromModel
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.encoders._build import build_tower
from medvlp.models.patches._patch import apply_patches
from medvlp.models.scale import ScaleOptions


class VisionModel(TowerModel):
    """A tower of images, stacks or volumes whose ``embedding`` is what `projection` gives at unit length.

    What it knows of words are banks with constant vectors, which heads read (`dual_stream`). It takes no text.

    Args:
        vision: component of `models/encoders`.
        projection: head that gives ``raw``: the pooled output as it is, or ``{name: stages}``.
        heads: heads that belong to the model: ``{image/medslip: {name: dual_stream}}``.
        patches: patches that belong to the model.

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
        options = locals()
        kinds = ("image", "stack", "volume")
        kind, tower, released = build_tower(vision, kinds, seed=seed, where=f"{where}.vision")
        for name, bank in (banks or {}).items():
            if bank.vectors is None:
                raise ConfigError(
                    f"{where}: a model without words cannot encode the bank {name!r}: give banks.{name} an encoder, or "
                    f"use the architecture dual."
                )
        super().__init__(
            towers={kind: tower}, embed_dim=tower.width, vocab_size=None, options={**options, "scale": ScaleOptions()}
        )
        self.embed_dim = self.heads[f"{kind}/raw"].width or tower.width
        self.describe("vision", options, {"vision": released})
        if patches:
            apply_patches(self, patches, seed=seed, where=f"{where}.patches")
