"""DreamLIP's local term (Zheng et al. 2024): each sentence gathers its own patches, and is told by what it gathered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._rows import first_of


class Dreamlip(Objective):
    r"""Sentences and the regions that they group pick each other out, among those of the same image too.

    With t_n the embedding of a sentence of an image and p_m its projected patches, all at unit length,

        g_n = unit(sum_m w_nm p_m),   w_n = grouping(t_n . p)
        L   = 1/2 [ mean over sentences of contrast(s t_n . g) + mean over sentences of contrast(s g_n . t) ],

    s the model's logit scale, over the sentences of all images and processes. The other sentences of the same report
    are negatives: nothing else makes the region of one sentence another than the next one's. An equal sentence of
    another image is left out. It is the paper's local part; its global part, in which every sentence is a positive of
    the image, is ``{name: clip, reading: each}`` beside it, with the rows that the view `sentences` makes by ``extra``;
    the authors' code compares an image with the n-th sentences alone, for each n.

    Args:
        image: view of the images.
        text: view of the sentences, one or several rows a sample.
        threshold: of `grouping`; the paper says 1 / patches, None.

    Returns:
        ``text_to_region`` and ``region_to_text``, each at half weight; a sentence without image adds nothing.

    References:
        Zheng et al. 2024 (DreamLIP), section 3.3; the grouping is SPARC's (Bica et al. 2024).

    Note:
        A sentence that denies a finding, or speaks of a former examination, has no region and is given one all the
        same. Two sentences that mean one thing in other words ("no effusion", "no pleural fluid") are negatives.

    Example:
        >>> rows = {"image/local": torch.eye(2)[:, None], "image/mask": torch.ones(2, 1) > 0}
        >>> terms = Dreamlip()(Context.of({**rows, "text/embedding": torch.eye(2)}, {"text": ["clear", "effusion"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # one patch an image: `clip`
        0.3133
    """

    def __init__(
        self, *, image: str = "image", text: str = "text", threshold: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
    ) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.threshold = threshold

    def needs(self) -> frozenset[Key]:
        """Projected patches with their mask, embeddings of the sentences, and their words."""
        return keys(f"{self.image}/local", f"{self.image}/mask", f"{self.text}/embedding", self.text)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection of patches; it stays in the bundle, where maps read it."""
        return {"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions."""
        patches, mask, text = f"{self.image}/local", f"{self.image}/mask", f"{self.text}/embedding"
        sentences, owner = ctx[text], ctx.owner(text)
        beside = first_of(ctx.owner(patches), owner)
        paired = beside >= 0
        # A row more, of nothing, for the sentences that have no image.
        tokens, real = (torch.cat([t, t.new_zeros(1, *t.shape[1:])]) for t in (unit(ctx[patches]), ctx[mask]))
        tokens, real = tokens[beside], real[beside]
        weights = grouping(torch.einsum("rd,rnd->rn", sentences, tokens), real, self.threshold)
        regions = unit(torch.einsum("rn,rnd->rd", weights, tokens))
        everybody = ctx.gather(regions, owner)
        known = ctx.gather(paired, owner).values
        target = ctx.own(text)
        equal = ctx.same(self.text, rows=text, columns=text) & (owner[:, None] != everybody.owner)
        options = {"exclude": equal | ~known, "row_weight": paired.to(sentences.dtype)}
        return {
            "text_to_region": contrast(ctx.scale(sentences @ everybody.values.T), target, **options).times(0.5),
            "region_to_text": contrast(ctx.scale(regions @ ctx.all(text).T), target, **options).times(0.5),
        }


def grouping(similarity: Tensor, real: Tensor, threshold: float | None = 0.0) -> Tensor:
    """Return how much of each patch a sentence takes, (R, N): not negative, a row sums to 1, 0 on padding.

    Similarities are stretched to 0..1 over a row's real patches; those below the threshold give 0; the rest is divided
    by its sum. Where all are equal every patch is taken alike; a row without real patch takes nothing.

    Args:
        similarity: (R, N).
        real: (R, N) bool.
        threshold: in [0, 1); None: 1 / number of real patches.

    Example:
        >>> grouping(torch.tensor([[0.1, 0.3, 0.5]]), torch.ones(1, 3, dtype=torch.bool), 0.6).tolist()
        [[0.0, 0.0, 1.0]]
    """
    low = similarity.masked_fill(~real, float("inf")).amin(dim=1, keepdim=True)
    high = similarity.masked_fill(~real, float("-inf")).amax(dim=1, keepdim=True)
    spread = high > low  # not where nothing is real: -inf > inf
    span = torch.where(spread, high - low, 1.0)
    stretched = torch.where(spread, (similarity - torch.where(spread, low, 0.0)) / span, 1.0)
    least = 1 / real.sum(dim=1, keepdim=True).clamp(min=1) if threshold is None else threshold
    drawn = torch.where(real & (stretched >= least), stretched, 0.0)
    return drawn / drawn.sum(dim=1, keepdim=True).clamp(min=1e-12)
