"""``rollout``: attention of all layers multiplied through, with the residual path; it knows nothing of the text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.maps._attention import Query, attention_weights


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Row of A_L ... A_1 with A_l = (W_l + I) / 2 (attention rollout, Abnar and Zuidema 2020, eq. 1), heads averaged.

    A tower gives the weights on patches only; the one on a single class token is what each row lacks to 1. With
    registers beside it the rest cannot be shared out, and the map is refused (ConfigError).

    Attributes:
        query: whose row: ``class``, ``mean`` (of the patches), or ``auto``: what the embedding is pooled from.
    """

    scale: ClassVar[Scale] = "peak"
    query: Query = "auto"

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps."""
        found = attention_weights(model, image, vectors, self.query)
        if found.prefix > 1:
            raise ConfigError(
                f"The image tower has {found.prefix} tokens besides its patches and rollout can place one: take the "
                "map attention."
            )
        whole = found.layers
        if found.prefix:
            whole = np.concatenate([1 - whole.sum(axis=2, keepdims=True), whole], axis=2)
        mixed = (whole + np.eye(whole.shape[1])) / 2
        rolled = reduce(lambda below, layer: layer @ below, mixed)
        row = rolled[0] if found.from_class else rolled[found.prefix :].mean(axis=0)
        values = row[found.prefix :].reshape(found.grid).astype("float32")
        return [Map(values, method="rollout", score=score) for score in found.scores]
