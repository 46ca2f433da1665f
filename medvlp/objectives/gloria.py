"""GLoRIA's local term (Huang et al. 2021): each word looks for its regions; reports are told by what words find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._targets import Exclusion, Paired, Relation, pairs


class Gloria(Paired):
    r"""Images and reports pick each other out of the batch by the regions that each word of the report attends to.

    With v_n the projected image tokens (regions) and e_l the projected words,

        a_ln = softmax over n of g1 softmax over l of e_l . v_n          the regions of a word
        c_l  = sum_n a_ln v_n                                            what the word finds
        Z    = log sum_l exp(g2 cos(c_l, e_l))                           how well the report fits the image
        L    = 1/2 [ mean over images of contrast(g3 Z) + mean over reports of contrast(g3 Z^T) ],

    over the images and reports of all processes. This is the paper's local part; its global part is `clip` beside it.
    As in the published code words compete for a region first (the inner softmax, AttnGAN's); padding takes part in
    neither. Words are the text tower's tokens: pieces of words and the marks around a text, while that code adds up the
    pieces of a word and leaves out the mark at the end. Where all pairs are more than `tile` numbers they are made a
    few images at a time, and again in the backward pass: memory does not grow with images x reports x words x regions.

    Args:
        image: view of the images.
        text: view of the reports.
        attention: g1, sharpness of the attention over regions; 4 in the paper.
        words: g2, weight of the words that fit best; 5 in the paper.
        scale: g3; 10 in the paper.
        aggregate: ``sum``, as above; ``mean``: less the logarithm of the number of words, so that a long report is not
            nearer to every image because it is long.
        positives: which reports belong to an image, see `clip`.
        exclude: which of the others are left out.
        tile: cosines of words and regions formed at a time.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight.

    References:
        Huang et al. 2021 (GLoRIA), section 3.3; Xu et al. 2018 (AttnGAN), eq. 7 to 11.

    Note:
        Words that deny ("no effusion") must attend somewhere too, and what they attend to is not where the finding is:
        a map of a denied word is no evidence. Most words of a report ("the", "is seen") have no place at all.

    Example:
        >>> rows = {f"{view}/local": torch.eye(2)[:, None] for view in ("image", "text")}
        >>> rows |= {f"{view}/mask": torch.ones(2, 1) > 0 for view in ("image", "text")}
        >>> terms = Gloria(words=1, scale=1)(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # one token a side: `clip`
        0.3133
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        attention: Annotated[float, Field(gt=0)] = 4.0,
        words: Annotated[float, Field(gt=0)] = 5.0,
        scale: Annotated[float, Field(gt=0)] = 10.0,
        aggregate: Literal["sum", "mean"] = "sum",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        tile: Annotated[int, Field(ge=1)] = 2**22,
    ) -> None:
        super().__init__(image=image, text=text, positives=positives, exclude=exclude)
        self.attention, self.words, self.scale, self.aggregate = attention, words, scale, aggregate
        self.tile = tile

    def needs(self) -> frozenset[Key]:
        """Projected tokens of both views with their masks, and the fields that tell who is the same."""
        read = (f"{view}/{part}" for view in (self.image, self.text) for part in ("local", "mask"))
        return super().needs() | keys(*read)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projection of tokens; it stays in the bundle, where maps read it."""
        return {"local": HeadSpec("projection", {"reads": "tokens"}, keep=True)}

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions."""
        image, text = f"{self.image}/local", f"{self.text}/local"
        own = {key: (ctx[key], ctx[key.replace("/local", "/mask")]) for key in (image, text)}
        every = {key: (ctx.all(key), ctx.all(key.replace("/local", "/mask"))) for key in (image, text)}
        to_text = self._fit(*own[image], *every[text])
        single = every[image][0] is own[image][0]  # of one process, where the other direction is the same matrix
        to_image = (to_text if single else self._fit(*every[image], *own[text])).T
        terms = {}
        for name, scores, rows, columns in (
            ("image_to_text", to_text, image, text),
            ("text_to_image", to_image, text, image),
        ):
            found = pairs(ctx, self.positives, self.exclude, rows=rows, columns=columns, text=self.text)
            terms[name] = contrast(self.scale * scores, found.target, exclude=found.exclude).times(0.5)
        return terms

    def _fit(self, regions: Tensor, seen: Tensor, words: Tensor, real: Tensor) -> Tensor:
        """Return Z of images (R, N, D) and reports (C, L, D) with their masks, (R, C); 0 where a side has no token."""
        per_image = regions.shape[1] * words.shape[0] * words.shape[1]
        tiles = list(zip(*(t.split(max(1, self.tile // max(per_image, 1))) for t in (regions, seen)), strict=True))
        if len(tiles) == 1:
            return self._fit_some(regions, seen, words, real)
        return torch.cat([checkpoint(self._fit_some, *some, words, real, use_reentrant=False) for some in tiles])

    def _fit_some(self, regions: Tensor, seen: Tensor, words: Tensor, real: Tensor) -> Tensor:
        there = seen.any(dim=1)[:, None] & real.any(dim=1)
        hidden = ~(real | ~real.any(dim=1, keepdim=True))  # a side without any token is computed on its padding
        unseen = ~(seen | ~seen.any(dim=1, keepdim=True))
        near = torch.einsum("rnd,cld->rcln", regions, words)
        share = near.masked_fill(hidden[None, :, :, None], float("-inf")).softmax(dim=2)
        attention = (self.attention * share).masked_fill(unseen[:, None, None], float("-inf")).softmax(dim=3)
        found = torch.einsum("rcln,rnd->rcld", attention, regions)
        fit = self.words * torch.einsum("rcld,cld->rcl", unit(found), unit(words))
        total = fit.masked_fill(hidden, float("-inf")).logsumexp(dim=2)
        total = total - (~hidden).sum(dim=1).log() if self.aggregate == "mean" else total
        return torch.where(there, total, 0.0)
