"""``attention``: what one layer of the image tower looks at; it knows nothing of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.maps._attention import Query, attention_weights


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Attention weight on each patch, mean over heads: of the class token, or the mean over all patches that ask.

    It is the same map for every text, as the sanity check `map_between_findings` says by its 1.

    Attributes:
        layer: counted from the first, or with a minus from the last.
        query: ``class``, ``mean`` (of the patches), or ``auto``: what the embedding is pooled from.
    """

    scale: ClassVar[Scale] = "peak"
    layer: int = -1
    query: Query = "auto"

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps; a tower without attention, such a layer or class token is refused (ConfigError)."""
        found = attention_weights(model, image, vectors, self.query)
        count = len(found.layers)
        if not -count <= self.layer < count:
            raise ConfigError(f"The image tower has {count} layers of attention, no layer {self.layer}: change it.")
        weights = found.layers[self.layer]
        row = weights[0] if found.from_class else weights[found.prefix :].mean(axis=0)
        values = row.reshape(found.grid).astype("float32")
        return [Map(values, method="attention", score=score) for score in found.scores]
