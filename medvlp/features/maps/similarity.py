"""``similarity``: each patch token, projected as the whole image is, compared with the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.heat_map import encoded_images
from medvlp.models.heads._cells import projected_tokens


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """cos(P(T_i), vector) at token i, with P the projection of tokens where the model has one, else of the image.

    A projection of tokens beside one of words (``text/local``) is into the space of single words, where whole texts are
    not (`gloria`, `mgca`): then P is that of the image too.

    As in BioViL (Boecking et al. 2022), without its smoothing. The second case assumes that a token lives in the space
    of the pooled vector, which holds for mean and attention pooling. For a difference of two texts it is the
    difference of two cosines.
    """

    scale: ClassVar[Scale] = "own"

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps; tokens that form no grid or cannot be projected are refused (ConfigError)."""
        heads = dict(model.heads.items())
        local = "image/local" in heads and "text/local" not in heads
        with torch.inference_mode():
            encoded = encoded_images(model, image[None], "tokens", "raw", *(["local"] if local else []))
            tokens = encoded.part("local") if local else projected_tokens(encoded, heads.get("image/raw"))
            directions = vectors.to(tokens.device).float()
            values = directions @ torch.nn.functional.normalize(tokens[0].float(), dim=-1).T
            scores = (directions @ encoded.part("embedding")[0].float()).tolist()
        if encoded.grid is None:
            raise ConfigError("The tokens of this image tower form no grid: a map needs one, remove token dropping.")
        grids = np.asarray(values.cpu()).reshape(-1, *encoded.grid)
        return [Map(grid, method="similarity", scale="own", score=s) for grid, s in zip(grids, scores, strict=True)]
