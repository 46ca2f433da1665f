"""Voxels in the space of texts: CLIP2Scene's two heads over a volume tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.protocols import Level
from medvlp.core.registry import FromModel
from medvlp.models.heads._dense import DenseHead, Pyramid, conv, resize


class VoxelTexts(DenseHead):
    """Levels -> a vector of each voxel for its meaning and one for its place, and logits of K texts.

    Both are convolutions of one cell behind one feature pyramid. Logits are <meaning, t_k> with the unit vectors of
    texts that an objective has noted (`note`); they are saved, so that a bundle needs no text tower.

    Mounted as ``stack/NAME`` it gives ``NAME`` (R, K, S, H, W), of the view's size, and ``NAME_meaning`` and
    ``NAME_place`` (R, D, s, h, w), of the finest level's.

    Args:
        classes: K.
        dim: D, width of the teacher's embeddings; None: the model's `embed_dim`.
        width: channels of the pyramid.

    References:
        Chen et al. 2023 (CLIP2Scene: towards label-efficient 3D scene understanding by CLIP).

    Example:
        >>> head = VoxelTexts(levels=(Level(4, (2, 2, 2)),), embed_dim=6, classes=3, width=8)
        >>> rows = Encoded(owner=torch.arange(1), size=(4, 8, 8), extra={"level[0]": torch.rand(1, 4, 2, 4, 4)})
        >>> [tuple(part.shape) for part in head(rows, "voxels").values()]
        [(1, 3, 4, 8, 8), (1, 6, 2, 4, 4), (1, 6, 2, 4, 4)]
    """

    name = "voxel_texts"
    gives = ("meaning", "place")
    texts: Tensor

    def __init__(
        self,
        *,
        levels: Annotated[Sequence[Level], FromModel("levels")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        classes: Annotated[int, Field(ge=1)],
        dim: Annotated[int, Field(ge=1)] | None = None,
        width: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__(levels)
        axes, dim = len(levels[0].stride), dim or embed_dim
        self.pyramid = Pyramid(levels, width)
        self.meaning, self.place = conv(axes, width, dim, 1), conv(axes, width, dim, 1)
        self.register_buffer("texts", torch.zeros(classes, dim))

    def draw(self, maps: list[Tensor], real: Tensor | None, encoded: Encoded) -> Mapping[str, Tensor]:
        """Return the two maps of vectors, of the finest level's size."""
        seen = self.pyramid(maps, real).relu()
        return {"_meaning": self.meaning(seen), "_place": self.place(seen)}

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return logits and both maps."""
        mask = encoded.mask if "mask" in self.reads else None
        real = None if mask is None else mask[:, None, :, None, None]
        drawn = self.draw([encoded.part(f"level[{i}]") for i in range(self.count)], real, encoded)
        texts = self.texts.clone().to(drawn["_meaning"])  # `note` writes into them between two passes
        logits = torch.einsum("rd...,kd->rk...", drawn["_meaning"], texts)
        full = logits if encoded.size is None else resize(logits, encoded.size)
        return {name: full, **{f"{name}{end}": values for end, values in drawn.items()}}

    @torch.no_grad()
    def note(self, texts: Tensor) -> None:
        """Keep the unit vectors of the texts, (K, D)."""
        self.texts.copy_(texts)
