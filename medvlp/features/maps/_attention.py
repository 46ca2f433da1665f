"""The image tower's attention weights, and who asks for the embedding: a class token, or all patches alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.features.heat_map import encoded_images, token_gradients

Query = Literal["auto", "class", "mean"]


@dataclass(frozen=True)
class AttentionWeights:
    """Weights of one image.

    Attributes:
        layers: (L, P + N, N), mean over heads; the first P queries are class and register tokens, keys are patches.
        grid: (rows, columns), N in all.
        scores: cosine of each pair.
        prefix: P.
        from_class: whether the class token's row is the one to look at, else the mean of the patches' rows.
    """

    layers: np.ndarray
    grid: tuple[int, ...]
    scores: list[float]
    prefix: int
    from_class: bool


def attention_weights(model: Model, image: Tensor, vectors: Tensor, query: Query) -> AttentionWeights:
    """Return the weights of all layers, and the score of each of `vectors` (K, D).

    A tower without attention, a grid, or the class token that is asked for, is refused (ConfigError).
    """
    with torch.inference_mode():
        encoded = encoded_images(model, image[None], "tokens", "attention", "embedding")
        layers, embedding = encoded.part("attention")[0].cpu().double().numpy(), encoded.part("embedding")[0].float()
        scores = (vectors.to(embedding.device).float() @ embedding).tolist()
    if encoded.grid is None:
        raise ConfigError("The tokens of this image tower form no grid: a map needs one, remove token dropping.")
    prefix = layers.shape[1] - layers.shape[2]
    if query == "class" and prefix == 0:
        raise ConfigError("This image tower has no class token: set query to mean or auto.")
    from_class = query == "class" or (query == "auto" and prefix > 0 and not _pools_patches(model, image, vectors))
    return AttentionWeights(layers, encoded.grid, scores, prefix, from_class)


def _pools_patches(model: Model, image: Tensor, vectors: Tensor) -> bool:
    """Tell whether the embedding depends on the patches that come out of the last block."""
    try:
        token_gradients(model, image, vectors[:1])
    except ConfigError:
        return False
    return True
