"""Where the score of an (image, text) pair comes from: gradient times activation on the image tokens.

With tokens that are pooled by mean or maximum and projected linearly without bias, the map is an exact decomposition of
the score (class activation mapping, Zhou et al. 2016); with any other pooling it is its first-order form (Selvaraju et
al. 2017, without averaging the gradient over the grid). The length of the embedding is taken as it is: through it the
evidence of all tokens would sum to zero. Positive: evidence for the text; what the model used, not what is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.map import Map
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch


def heat_map(model: Model, image: Tensor, vector: Tensor) -> Map:
    """Explain one pair; where the map is exact, the sum of its values is the score, the cosine of the pair.

    Args:
        model: is explained in evaluation mode, whatever mode it is in.
        image: (C, H, W) as the model's preprocessing gives it.
        vector: (D,) direction in the embedding space: a text's embedding, or a difference of two.

    Raises:
        ConfigError: if the image tower's tokens form no grid, or its pooled output does not depend on them.
    """
    return heat_maps(model, image, vector[None])[0]


def heat_maps(model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
    """Explain an image's score of each of `vectors` (K, D); the image is encoded once. Errors as `heat_map`."""
    return [
        Map((found.gradient * found.tokens).sum(-1).reshape(found.grid), method="hires_cam", score=found.score)
        for found in token_gradients(model, image, vectors)
    ]


@dataclass(frozen=True)
class TokenGradient:
    """Image tokens (N, W), the score's gradient (N, W) with respect to them, their grid, and the score."""

    tokens: np.ndarray
    gradient: np.ndarray
    grid: tuple[int, ...]
    score: float


def token_gradients(model: Model, image: Tensor, vectors: Tensor) -> list[TokenGradient]:
    """Return the gradient of each of `vectors` (K, D); the image is encoded once. Errors as `heat_map`."""
    with torch.inference_mode(False), torch.enable_grad():
        # Copies: what was made in inference mode takes no gradient.
        image, vectors = image.clone(), vectors.clone()
        # The image asks for the gradient, so that a frozen model explains itself too.
        encoded = encoded_images(model, image[None], "tokens", "raw", gradient=True)
        tokens, raw = encoded.part("tokens"), encoded.part("raw").float()
        length = raw[0].detach().norm().clamp(min=1e-12)
        scores = [(raw[0] / length) @ vector for vector in vectors.to(raw.device)]
        grads = [torch.autograd.grad(score, tokens, retain_graph=True, allow_unused=True)[0] for score in scores]
    plain = [None if grad is None else grad.detach()[0].float().cpu().numpy() for grad in grads]
    seen = tokens.detach()[0].float().cpu().numpy()
    found = []
    for grad, score in zip(plain, scores, strict=True):
        if encoded.grid is None or grad is None or not grad.any():
            raise ConfigError(
                "This image tower pools its embedding from no grid of tokens (a class token takes it): use `pool: avg`."
            )
        found.append(TokenGradient(seen, grad, encoded.grid, float(score.detach())))
    return found


def encoded_images(model: Model, images: Tensor, *parts: str, gradient: bool = False) -> Encoded:
    """Return parts of images (R, C, H, W), which ask for a gradient where that is wanted, on the model's device."""
    plan = Plan.of(keys(*(f"image/{part}" for part in parts)))
    model.check(plan)
    values = images.to(next(model.parameters()).device)
    batch = Batch.of({"image": values.requires_grad_() if gradient else values})
    with evaluating(model):
        return model.finish(model(batch, plan), plan)["image"]
