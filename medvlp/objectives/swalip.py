"""SwALIP (Fini et al. 2023): which reports an image is like is asked as another view of the same image answered it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._sinkhorn import sinkhorn


class SwaLip(Objective):
    r"""CLIP whose target is the assignment of images to reports that the samples' other views give, in equal shares.

    With v_i and t_j the embeddings of image view i and text view j, i' and j' the other views of the same samples,
    S_ij = v_i t_j^T over the rows of all processes and Q_ij = sinkhorn(S_ij / epsilon), without gradient,

        L = mean over i, j of 1/2 [ CE(s S_ij, Q_i'j') + CE(s S_ij^T, Q'_i'j') ],

    Q' that of the transposed matrix and s the model's logit scale. Reports that mean the same share an image, so an
    equal report is no pure negative. It is added to CLIP's loss at weight 0.2. (The variant with learned prototypes is
    `sinkhorn_prototypes` with ``assigners: [image, text]``, ``prototypes: 3000``, ``temperature: 0.1``.)

    Args:
        images: two views of the images, with one row a sample each.
        texts: one or two views of the texts.
        part: that is compared: ``embedding``, or a head's rows (which are not scaled to unit length again).
        epsilon: see `sinkhorn`.
        iterations: see `sinkhorn`.

    Returns:
        ``IMAGE_to_TEXT`` and ``TEXT_to_IMAGE`` for each pair of views, weighted so that their values add up to L.

    Raises:
        ConfigError: for another number of views, or if two views are of different samples.

    References:
        Fini et al. 2023, section 3; Caron et al. 2020 (SwAV), algorithm 1.

    Note:
        Equal shares ask that every report of a step gets as much as any other: a step in which most films are normal
        spreads them over all reports, so it stays a small addition.

    Example:
        >>> len(SwaLip(images=["image", "image.strong"], texts=["text"]).needs())
        3
    """

    def __init__(
        self,
        *,
        images: Sequence[str] = ("image.strong", "image.second"),
        texts: Sequence[str] = ("text.strong", "text.second"),
        part: str = "embedding",
        epsilon: Annotated[float, Field(gt=0)] = 0.05,
        iterations: Annotated[int, Field(ge=1)] = 3,
    ) -> None:
        super().__init__()
        if len(set(images)) != 2 or len(images) != 2 or len(texts) not in (1, 2) or len(set(texts)) < len(texts):
            raise ConfigError(
                f"Objective 'swalip' swaps two views of images and of texts, not {', '.join((*images, *texts))}: name "
                "two image views and one or two text views."
            )
        self.images = tuple(images)
        self.texts = tuple(texts)
        self.part = part
        self.epsilon = epsilon
        self.iterations = iterations

    def needs(self) -> frozenset[Key]:
        """What is compared, of all views."""
        return keys(*(f"{view}/{self.part}" for view in (*self.images, *self.texts)))

    def forward(self, ctx: Context) -> Terms:
        """Return the directions of each pair of views."""
        terms, share = {}, 1 / (2 * len(self.images) * len(self.texts))
        for i, image in enumerate(self.images):
            for j, text in enumerate(self.texts):
                others = self.images[-1 - i], self.texts[-1 - j]
                for (a, b), (a_other, b_other) in (((image, text), others), ((text, image), others[::-1])):
                    scores = ctx.scale(ctx[f"{a}/{self.part}"] @ self._all(ctx, b).T)
                    target = self._shares(ctx, a_other, b_other, like=(a, b))
                    terms[f"{a}_to_{b}"] = contrast(scores, target).times(share)
        return terms

    @torch.no_grad()
    def _shares(self, ctx: Context, rows: str, columns: str, *, like: tuple[str, str]) -> Tensor:
        """Return the assignment of own rows of a view to everybody's of another, (R, C)."""
        for view, other in zip((rows, columns), like, strict=True):
            if not torch.equal(ctx.all_owner(f"{view}/{self.part}"), ctx.all_owner(f"{other}/{self.part}")):
                raise ConfigError(
                    f"Objective 'swalip' swaps {view!r} and {other!r}, and their rows are of different samples: let "
                    "the views of the data make one row of each for every sample."
                )
        scores = self._all(ctx, rows) @ self._all(ctx, columns).T
        shares = sinkhorn(scores, epsilon=self.epsilon, iterations=self.iterations)
        return shares[ctx.own(f"{rows}/{self.part}")]

    def _all(self, ctx: Context, view: str) -> Tensor:
        return ctx.all(f"{view}/{self.part}")
