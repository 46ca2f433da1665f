"""Long-CLIP (Zhang et al. 2024): the long report fits the image, the short one the image's main components alone."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import promoted
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term, Terms
from medvlp.objectives._compared import Compared
from medvlp.objectives._targets import Exclusion, Relation, among


class LongClip(Compared):
    r"""CLIP of image and long text, and CLIP of a coarse image and short text (primary component matching).

    L = CLIP(v, t_long) + w CLIP(v', t_short), each the mean of its two directions with smoothed labels, and

        v' = mean + (v - mean) P,   P the projector on the first k principal components of everybody's v.

    A summary speaks of the few things by which most images differ, so only these are compared with it. v' is not
    brought back to unit length. The authors take the components of each process by itself. With no more than k + 1
    images in a step v' is v: let the batch be larger than 33. Stretch the text tower's positions first, by the surgery
    ``stretch_positions``.

    Args:
        image, positives, exclude: as in `clip`.
        text: view of the long texts.
        short: view of the short texts: the impression, which the data view ``{name: sections, sections: [impression],
            to: text.short}`` makes; a sample without one takes part in the first term only.
        components: k, 32 in the paper.
        short_weight: w, 1 in the authors' code; an older path of it has 0.1.
        label_smoothing: as in `contrast`.

    Returns:
        ``image_to_text``, ``text_to_image``, ``image_to_short``, ``short_to_image``, whose values add up to L.

    References:
        Zhang et al. 2024 (Long-CLIP), section 3.3; weights and smoothing as in the authors' code.

    Note:
        Findings are the long text and the impression the short one. An impression that says only what is new, or
        "unchanged", is no summary of the image and teaches that coarse images mean it.

    Example:
        >>> three = ("image", "text", "text.short")
        >>> rows = {f"{view}/embedding": torch.eye(2) for view in three}
        >>> fields = {"text": ["effusion on the left", "clear lungs"], "text.short": ["effusion", "normal"]}
        >>> terms = LongClip(label_smoothing=0.0)(Context.of(rows, fields))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # two images: twice `clip`
        0.6265
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        short: str = "text.short",
        components: Annotated[int, Field(ge=1)] = 32,
        short_weight: Annotated[float, Field(ge=0)] = 1.0,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
    ) -> None:
        both: dict[str, Any] = {"positives": positives, "exclude": exclude}
        super().__init__(objective="long_clip", image=image, text=text, score="dot", **both)
        self.short, self.components, self.compared = short, components, (text, short)
        self.short_weight = short_weight
        self.label_smoothing = label_smoothing

    def needs(self) -> frozenset[Key]:
        """Embeddings of the images and of both texts, and the fields that tell who is the same."""
        return super().needs() | keys(f"{self.short}/embedding")

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions of both terms."""
        key = f"{self.image}/embedding"
        everybody = ctx.all(key)
        fine = self._both(ctx, everybody, self.text)
        coarse = self._both(ctx, main_components(everybody, self.components), self.short)
        terms = dict(zip(("image_to_text", "text_to_image"), (t.times(0.5) for t in fine), strict=True))
        weight = 0.5 * self.short_weight
        return terms | dict(zip(("image_to_short", "short_to_image"), (t.times(weight) for t in coarse), strict=True))

    def _both(self, ctx: Context, images: Tensor, text: str) -> tuple[Term, Term]:
        """Contrast everybody's images (C, D) with the texts of a view, both ways."""
        image, words = f"{self.image}/embedding", f"{text}/embedding"
        loss = partial(among, ctx, text=text, label_smoothing=self.label_smoothing)
        related = {"positives": self.positives, "exclude": self.exclude}
        to_text = loss(images[ctx.own(image)], ctx.all(words), **related, rows=image, columns=words)
        return to_text, loss(ctx[words], images, **related, rows=words, columns=image)


def main_components(rows: Tensor, count: int) -> Tensor:
    """Project rows (B, D) on the mean and their first principal components, (B, D).

    The gradient is that of the components too, and finite where rows are equal, as that of a decomposition is not.

    Example:
        >>> rows = torch.tensor([[3.0, 1.0], [-3.0, 1.0], [0.0, 4.0]])
        >>> main_components(rows, 1).tolist()
        [[3.0, 2.0], [-3.0, 2.0], [0.0, 2.0]]
    """
    if count >= min(len(rows) - 1, rows.shape[1]):
        return rows
    wide = promoted(rows)
    mean = wide.mean(dim=0)
    centred = wide - mean
    spread = centred.T @ centred
    # A model that diverged is the guard's to tell of, from the loss.
    return mean + centred @ _Projector.apply(spread, count) if bool(spread.isfinite().all()) else rows


class _Projector(torch.autograd.Function):
    """The projector (D, D) on the eigenvectors of the `count` largest eigenvalues of a symmetric matrix.

    dP = sum over i within and j without of (u_i u_j^T + u_j u_i^T) (u_i^T dC u_j) / (l_i - l_j): torch's own gradient
    of `eigh`, less the pairs of one side, which cancel and are 0 / 0 where two eigenvalues are equal.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, count: int) -> Tensor:  # noqa: ANN401
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        ctx.count = count
        return vectors[:, -count:] @ vectors[:, -count:].T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401  # pyrefly: ignore
        values, vectors = ctx.saved_tensors
        rest, main = vectors[:, : -ctx.count], vectors[:, -ctx.count :]
        gap = values[-ctx.count :, None] - values[None, : -ctx.count]
        distinct = gap > 1e-12 * values[-1].abs()
        coupled = main.T @ (grads[0] + grads[0].T) @ rest
        half = main @ torch.where(distinct, coupled / torch.where(distinct, gap, 1.0), 0.0) @ rest.T
        return (half + half.T) / 2, None
