"""``trident``: the values of the last attention, gathered over cells that another tower finds alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.map import Map, Scale
from medvlp.core.protocols import Model
from medvlp.features.heat_map import encoded_images
from medvlp.features.maps._affinity import (
    LastAttention,
    affinity,
    global_affinity,
    last_attention,
    second,
    shown_to,
    tower_of,
)
from medvlp.models.heads._cells import projected_tokens


@dataclass(frozen=True, kw_only=True)
class Trident:
    r"""cos(P(norm(G sum_j A_ij V_j W_o)), vector) at cell i: Trident (Shi et al. 2024, by the code), training-free.

    Of each window of the picture, with D the tokens of a second tower without words, and V the values that the image
    tower's last attention makes (resized to the grid of D)::

        S = cos(D, D);  A = softmax(gamma (S - beta mean S)), where that is at least 0    instead of the attention
        F = A V W_o                                           no class token, no residual, no network behind

    Windows of the tower's own size are cut from the picture enlarged `zoom` times, and averaged where they overlap
    (`spliced`). `aggregate` then spreads F over the whole picture, F <- G F, with G the last attention of a third tower
    where its values are alike (`global_affinity`; SAM's in the paper). The tower's last norm and projection P follow.

    A convolutional tower has no attention: its tokens are the values, and there is no W_o. The paper's last step, boxes
    and points of each region as prompts of SAM's mask decoder, is not done, as it needs that decoder.

    Attributes:
        affinity: folder of a bundle whose image tower gives D, any that was taught without words (RAD-DINO, or
            ``medvlp convert efficientnet_lite0 --from starter``); None: the model's own tokens.
        aggregate: folder of a bundle of a plain ViT that gives G; None: no such step.
        beta: see above; the paper's 1.2.
        gamma: see above; the paper's 3. A very large one makes A the identity, which is MaskCLIP (Zhou et al. 2022).
        zoom: times that the picture is enlarged; 1: one window.

    Raises:
        ConfigError: for a tower whose values cannot be had, or a zoom below 1.

    Note:
        The second tower decides which regions hang together: one of photographs joins by brightness and edges, so
        a faint infiltrate may be spread over its whole lung. It sees what the model's own preprocessing made.

    Example:
        >>> Trident(zoom=2).scale
        'own'
    """

    scale: ClassVar[Scale] = "own"
    affinity: str | None = None
    aggregate: str | None = None
    beta: float = 1.2
    gamma: float = 3.0
    zoom: int = 1

    def __post_init__(self) -> None:
        if self.zoom < 1:
            raise ConfigError(f"zoom of the map trident is {self.zoom}: set it to 1 or more.")

    def __call__(self, model: Model, image: Tensor, vectors: Tensor) -> list[Map]:
        """Return the maps, on the grid of the tower that came last, enlarged `zoom` times where that is the second."""
        with torch.inference_mode():
            whole = encoded_images(model, image[None], "tokens", "embedding")
            embedding = whole.part("embedding")[0].float()
            images, last = image[None].to(embedding.device), last_attention(model)
            features = spliced(lambda window: self._features(model, last, window), images, zoom=self.zoom)
            if self.aggregate is not None:
                features = _aggregated(features, second(self.aggregate, images.device), images)
            rows = unit(_projected(model, last, whole, features.flatten(2).transpose(1, 2))[0].float())
            directions = vectors.to(rows.device).float()
            values = np.asarray((directions @ rows.T).cpu()).reshape(-1, *features.shape[2:])
            scores = (directions @ embedding).tolist()
        return [Map(grid, method="trident", scale="own", score=s) for grid, s in zip(values, scores, strict=True)]

    def _features(self, model: Model, last: LastAttention | None, window: Tensor) -> Tensor:
        """Return A V W_o of one window, (1, W, rows, columns)."""
        if last is None:
            own = encoded_images(model, window, "tokens")
            values = own.part("tokens")
        else:
            found: list[Tensor] = []
            with last.watched(found):
                own = encoded_images(model, window, "tokens")
            values = last.parts(found[0])[2].transpose(1, 2).flatten(2)
        other = own
        if self.affinity is not None:
            tower = second(self.affinity, window.device)
            other = encoded_images(tower, shown_to(tower, window), "tokens")
        if own.grid is None or other.grid is None:
            raise ConfigError("The tokens of an image tower form no grid: a map needs one, remove token dropping.")
        values = resized(values.transpose(1, 2).unflatten(2, own.grid), other.grid)
        weights = affinity(other.part("tokens")[0].float(), beta=self.beta, gamma=self.gamma).to(values.dtype)
        gathered = weights @ values.flatten(2).transpose(1, 2)
        gathered = gathered if last is None else last.output(gathered)
        return gathered.transpose(1, 2).unflatten(2, other.grid)


def _aggregated(features: Tensor, third: Model, images: Tensor) -> Tensor:
    """Return features spread over the picture by the last attention of a third tower, on its grid."""
    last = last_attention(third)
    if last is None:
        raise ConfigError("aggregate names a bundle whose image tower has no attention: take one of a plain ViT.")
    found: list[Tensor] = []
    with last.watched(found):
        grid = encoded_images(third, shown_to(third, images), "tokens").grid
    assert grid is not None, "a plain ViT keeps its tokens"
    query, key, value = last.parts(found[0])[:, 0].float()
    rows = resized(features, grid).flatten(2).transpose(1, 2)
    return (global_affinity(query, key, value).to(rows.dtype) @ rows).transpose(1, 2).unflatten(2, grid)


def _projected(model: Model, last: LastAttention | None, whole: Encoded, rows: Tensor) -> Tensor:
    """Return rows (1, M, W) behind the tower's last norm and projection, (1, M, D)."""
    encoded, heads = replace(whole, tokens=rows), dict(model.heads.items())
    if last is not None:
        with last.replaced(rows):
            encoded = encoded_images(model, tower_of(model).blank(rows.device), "tokens")
    local = heads.get("image/local")
    if local is not None and local.reads == ("tokens",) and "text/local" not in heads:
        return local(encoded, "local")["local"]
    return projected_tokens(encoded, heads.get("image/raw"))


def spliced(make: Callable[[Tensor], Tensor], images: Tensor, *, zoom: int) -> Tensor:
    """Return what `make` says of windows as large as the images, cut from them enlarged; overlaps are averaged.

    Windows begin at every two thirds of one, and at the end. With `zoom` 1 it is ``make(images)``; else of (R, C, H, W)
    and `make` -> (R, W', rows, columns) it is (R, W', zoom rows, zoom columns).

    Example:
        >>> ramp = torch.arange(6.0).expand(1, 1, 6, 6)
        >>> found = spliced(lambda window: window[:, :, ::2, ::2], ramp, zoom=2)
        >>> found.shape, bool((found.diff(dim=3) > 0).all())
        (torch.Size([1, 1, 6, 6]), True)
    """
    if zoom == 1:
        return make(images)
    height, width = images.shape[2:]
    large = F.interpolate(images, scale_factor=zoom, mode="bilinear", align_corners=False)
    first = make(large[:, :, :height, :width])
    rows, columns = first.shape[2:]
    total = first.new_zeros(*first.shape[:2], zoom * rows, zoom * columns)
    count = torch.zeros_like(total[:1, :1])
    for i, j in ((i, j) for i in _starts(rows, zoom) for j in _starts(columns, zoom)):
        y, x = round(i * height / rows), round(j * width / columns)
        here = slice(i, i + rows), slice(j, j + columns)
        total[:, :, *here] += first if i == j == 0 else make(large[:, :, y : y + height, x : x + width])
        count[:, :, *here] += 1
    return total / count


def resized(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return maps (R, W, rows, columns) on another grid, bilinearly."""
    return maps if maps.shape[2:] == grid else F.interpolate(maps, grid, mode="bilinear", align_corners=False)


def _starts(cells: int, zoom: int) -> Iterator[int]:
    last = (zoom - 1) * cells
    yield from range(0, last, max(round(cells * 2 / 3), 1))
    yield last
