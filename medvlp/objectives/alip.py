"""ALIP (Yang et al. 2023): report and caption both describe an image, and count by how well the three agree."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.term import Term, Terms
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._rows import sums_by_sample
from medvlp.objectives._targets import Exclusion, Relation
from medvlp.objectives._tiles import by_tiles


class Alip(Compared):
    r"""CLIP of images with reports and with captions, each pair weighted by adaptive gates.

    L = mean over i of w^s_i w^x_i CLIP_i(v, x) + mean over i of w^s_i w^c_i CLIP_i(v, c), CLIP_i being the mean of both
    directions' cross entropy. x is the report, c a caption that was made of the image otherwise. With S the cosines of
    a sample's own views and H their running means, all without gradient:

        g = exp(2 (S_xc - H_xc)),   w^s = min(g, 1)                                (language gate)
        w^x = exp(2 (S_xv - H_xv)) and w^c = exp(2 (S_cv - H_cv)) where g < 1, else 1    (description gate)

    So a report that says something else than the caption counts less, and of the two the one that fits the image
    counts more. H starts at 1 and follows the mean of each step's S over all processes, after the step; in the authors'
    code it does so before the step's weights are taken.

    Args:
        image, exclude: as in `clip`.
        text: view of the reports.
        caption: view of the captions, as the view ``captions`` writes them from labels.
        positives: which texts belong to an image; for captions their own equality counts.
        horizon: of the running means in samples; the default is the paper's 0.99 a step of 4,096 samples. Choose it far
            below the run's length: until then every weight is small.

    Returns:
        ``image_to_text``, ``text_to_image``, ``image_to_caption``, ``caption_to_image``, each at half weight. A sample
        that lacks one of the three has weight 1. Rows of one view and sample (sentences) are averaged for S.

    References:
        Yang et al. 2023 (ALIP), eq. 1-7.

    Note:
        Where captions are made of labels, a report that is right and says more than they do is taken for noise like one
        of another study; look at which reports have small weights before trusting a model trained so.

    Example:
        >>> objective, words = Alip(), ["clear", "effusion"]
        >>> rows = {str(key): torch.eye(2) for key in objective.needs() if key.part}
        >>> terms = objective(Context.of(rows, {"text": words, "text.caption": words}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # all agree: twice CLIP
        0.6265
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        caption: str = "text.caption",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        horizon: Annotated[float, Field(gt=0)] = 407_549.0,
    ) -> None:
        super().__init__(objective="alip", image=image, text=text, score="dot", positives=positives, exclude=exclude)
        self.caption, self.compared = caption, (text, caption)
        self.horizon = horizon
        self.expected: Tensor
        self.register_buffer("expected", torch.ones(3))  # H of report and caption, report and image, caption and image
        self._coming: tuple[Tensor, int] | None = None

    def needs(self) -> frozenset[Key]:
        """Embeddings of the three views, and the fields that tell who is the same."""
        return super().needs() | keys(f"{self.caption}/embedding")

    def forward(self, ctx: Context) -> Terms:
        """Return the four directions."""
        agreement = self._agreement(ctx)
        self._coming = agreement.nanmean(dim=1), ctx.samples_seen
        of_text, of_caption = self.weights(agreement)
        terms = {}
        for name, view, weight in (("text", self.text, of_text), ("caption", self.caption, of_caption)):
            terms[f"image_to_{name}"] = self._direction(ctx, self.image, view, weight).times(0.5)
            terms[f"{name}_to_image"] = self._direction(ctx, view, self.image, weight).times(0.5)
        return terms

    def weights(self, agreement: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight of each sample's pair of image and report, and of image and caption, (N,) each.

        Args:
            agreement: (3, N) cosines of report and caption, report and image, caption and image; NaN where unknown.
        """
        gate, of_text, of_caption = (2 * (agreement - self.expected[:, None])).exp()
        there = agreement.isfinite().all(dim=0)
        described, sample = there & (gate < 1), torch.where(there, gate.clamp(max=1), 1.0)
        return sample * torch.where(described, of_text, 1.0), sample * torch.where(described, of_caption, 1.0)

    @torch.no_grad()
    def after_step(self, samples_seen: int) -> None:
        """Let the running means follow the step's."""
        if self._coming is not None:
            means, before = self._coming
            gain = -math.expm1(-(samples_seen - before) / self.horizon)
            self.expected.copy_(
                torch.where(means.isfinite(), self.expected.lerp(means.to(self.expected), gain), self.expected)
            )
        self._coming = None

    def _agreement(self, ctx: Context) -> Tensor:
        """Return the cosines of every sample of the step, on all processes, (3, N); NaN where it lacks a view."""
        found = {view: f"{view}/embedding" for view in (self.text, self.caption, self.image)}
        count = max((int(ctx.all_owner(key).max()) + 1 for key in found.values() if len(ctx.all_owner(key))), default=0)
        # Detached, not under no_grad: the context keeps what it gathered, for the terms too.
        sums = (sums_by_sample(ctx.all(key).detach(), ctx.all_owner(key), count) for key in found.values())
        x, c, v = (total / rows[:, None] for total, rows in sums)  # NaN where a sample has none
        return torch.stack([(x * c).sum(dim=1), (x * v).sum(dim=1), (c * v).sum(dim=1)])

    def _direction(self, ctx: Context, rows: str, columns: str, weight: Tensor) -> Term:
        def term(scores: Tensor, part: slice, of_row: Tensor) -> Term:
            found = self._pairs(ctx, rows, columns, part)
            whole = contrast(scores, found.target, exclude=found.exclude, row_weight=of_row)
            # The paper's mean is over samples, not over weights: where little agrees, little is learnt.
            return Term(whole.sum, found.target.any(dim=1).sum().to(whole.count))

        of_row = weight[ctx.owner(f"{rows}/embedding")]
        return by_tiles(self._similarity(ctx, rows, columns), term, beside=[of_row])
