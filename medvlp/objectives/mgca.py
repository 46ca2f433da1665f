"""MGCA's token level (Wang et al. 2022): words and patches of one study find themselves again through each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._rows import first_of


class Mgca(Objective):
    r"""Bidirectional cross-attention alignment of the tokens of an image and of its report.

    With e_l the words and v_n the patches of one study, projected and at unit length,

        c_l = unit(sum_n softmax_n(e_l . v_n / t) v_n)                   what a word sees
        L_words = mean over pairs of sum_l w_l 1/2 [CE(e_l . c / t, l) + CE(c_l . e / t, l)],

    where each word tells its own context from those of the other words of the same report, and the reverse; L_patches
    is the same with words and patches exchanged, and L = 1/2 (L_words + L_patches). Nothing is compared across studies,
    so the term costs next to nothing. It is the middle one of MGCA's three levels: `clip` is the instance level and
    `sinkhorn_prototypes` the disease level; the paper's weights are 1, 0.7 and 0.5, those of its published command
    line 1, 1 and 1; its code adds the directions of the first two levels up, of which this takes the mean, so that
    there the third counts half as much beside them. As in that code the attention has no matrices of its own. Otherwise
    than there padding is no negative of a word, contexts have unit length in vision transformers too, and words are the
    text tower's tokens: that code adds up the pieces of a word and leaves out the mark in front of a text.

    Args:
        image: view of the images.
        text: view of the reports; each of several rows of a sample is aligned with its image.
        temperature: t, of the attention and of the cross entropies; 0.1 in the paper.
        weights: w, which sum to 1 over the real tokens of a row: ``uniform``; ``attention``: how much the class token
            attends to each in the last layer, mean over heads, cut to its 10th and 90th percentile, as in the paper
            (for towers whose first query is a class token).

    Returns:
        ``words`` and ``patches``, each at half weight; a text without image or real token adds nothing.

    Raises:
        ConfigError: for weights by attention if the image tower has no class token.

    References:
        Wang et al. 2022 (MGCA), eq. 4 to 7.

    Note:
        Words of a report are told apart though many say the same or nothing of the image ("no", "is", "lungs" twice),
        and so are patches of healthy lung that all look alike: keep its weight below that of `clip`.

    Example:
        >>> rows = {f"{view}/local": torch.eye(2)[None] for view in ("image", "text")}
        >>> rows |= {f"{view}/mask": torch.ones(1, 2) > 0 for view in ("image", "text")}
        >>> terms = Mgca(temperature=1.0)(Context.of(rows, {"text": ["left effusion"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)
        0.4399
    """

    scope = "sample"

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        weights: Literal["uniform", "attention"] = "uniform",
    ) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.temperature = temperature
        self.weights = weights
        self._parts = ("local", "mask") if weights == "uniform" else ("local", "mask", "attention")

    def needs(self) -> frozenset[Key]:
        """Projected tokens of both views with their masks, and the attention where it weighs."""
        return keys(*(f"{view}/{part}" for view in (self.image, self.text) for part in self._parts))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection of tokens; it stays in the bundle, where maps read it."""
        return {"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}

    def forward(self, ctx: Context) -> Terms:
        """Return the two sides."""
        beside = first_of(ctx.owner(f"{self.image}/local"), ctx.owner(f"{self.text}/local"))
        paired = beside >= 0
        words = [values[paired] for values in self._side(ctx, self.text)]
        patches = [values[beside[paired]] for values in self._side(ctx, self.image)]
        return {"words": self._aligned(words, patches), "patches": self._aligned(patches, words)}

    def _side(self, ctx: Context, view: str) -> list[Tensor]:
        """Return the unit tokens (R, N, D), which are real (R, N), and their weights (R, N)."""
        tokens, real = unit(ctx[f"{view}/local"]), ctx[f"{view}/mask"]
        weight = real.to(tokens.dtype)
        if self.weights == "attention":
            given = ctx[f"{view}/attention"]
            if view == self.image and given.shape[2] == given.shape[3]:
                raise ConfigError(
                    "Objective 'mgca' weighs patches by the class token's attention, and this image tower has no class "
                    "token: set weights to uniform."
                )
            weight = _clipped(given[:, -1, 0].detach().to(tokens.dtype), real)
        return [tokens, real, weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)]

    def _aligned(self, own: list[Tensor], other: list[Tensor]) -> Term:
        """Return the term of one side's tokens, found through the other side's."""
        (tokens, real, weight), (seen, there, _) = own, other
        blank = ~there & there.any(dim=1, keepdim=True)  # a side without any token is computed on its padding
        attention = (tokens @ seen.mT / self.temperature).masked_fill(blank[:, None], float("-inf")).softmax(dim=2)
        scores = tokens @ unit(attention @ seen).mT / self.temperature
        weight = (weight * there.any(dim=1, keepdim=True)).flatten()
        rows, length = real.shape
        target = torch.arange(length, device=real.device).repeat(rows)
        exclude = (~real)[:, None].expand(rows, length, length).flatten(0, 1)
        found, finds = (
            contrast(z.flatten(0, 1), target, exclude=exclude, row_weight=weight) for z in (scores, scores.mT)
        )
        return Term((found.sum + finds.sum) / 4, found.count)  # half their mean: both count the same pairs


def _clipped(attention: Tensor, real: Tensor) -> Tensor:
    """Return attention (R, N) within the 10th and 90th percentile of a row's real tokens; 0 on the others."""
    if not len(attention):  # of no rows there is no quantile
        return attention
    known = attention.masked_fill(~real, float("nan"))
    low, high = (known.nanquantile(q, dim=1, keepdim=True) for q in (0.1, 0.9))
    return attention.clamp(low, high).masked_fill(~real, 0.0)
