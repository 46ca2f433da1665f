"""LightCLIP (Nie et al. 2023), its first term: negatives share a part of the target, as alike as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.schedules import Number, ends_of, value_at
from medvlp.core.term import Term
from medvlp.objectives._compared import Compared
from medvlp.objectives._contrast import contrast
from medvlp.objectives._targets import Exclusion, Relation
from medvlp.objectives._tiles import by_tiles


class LightClip(Compared):
    r"""CLIP with softened targets, the mean of both directions.

    With z the scaled scores of a row, P and N its positives and negatives,

        L = mean over rows of CE(softmax(z), y),   y_P = (1 - alpha) / |P|,   y_N = alpha softmax_N(z),

    where y carries no gradient, so a negative that looks like the row is not pushed away as far as one that does not.
    alpha may grow over the run, because likeness means little at its start; at 0 this is `clip`.

    LightCLIP's other terms are components of their own: the score ``bipartite`` matches tokens, `masked_words` fills in
    words. The paper's schedule of alpha and weighting of negatives could not be read; these are the plainest that agree
    with its description.

    Args:
        image, text, positives, exclude: as in `clip`.
        score: component of `models/scores`, with options or by its name alone; ``bipartite`` gives the second term.
        alpha: the negatives' share of the target, in [0, 1), or a ramp of it in samples.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight. A row without a negative keeps a whole positive.

    Raises:
        ConfigError: if alpha leaves [0, 1).

    References:
        Nie et al. 2023 (LightCLIP), instance-level alignment.

    Note:
        Softening believes the model about which reports are alike, and a model that does not yet hear "no" believes a
        negated report to be the most alike: let alpha begin at 0, and leave out what is true of a picture (`exclude`).

    Example:
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)}
        >>> terms = LightClip(alpha=0.2)(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> round(sum(term.value() for term in terms.values()).item(), 4)  # 0.3133 + 0.2
        0.5133
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        alpha: Number = 0.1,
    ) -> None:
        super().__init__(
            objective="lightclip", image=image, text=text, score=score, positives=positives, exclude=exclude
        )
        for end in ends_of(alpha):
            if not 0 <= end < 1:
                raise ConfigError(f"alpha of objective 'lightclip' is {end}: use a number in [0, 1).")
        self.alpha = alpha

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        alpha = value_at(self.alpha, ctx.samples_seen)

        def term(z: Tensor, part: slice) -> Term:
            found = self._pairs(ctx, rows, columns, part)
            negative = ~found.target if found.exclude is None else ~found.target & ~found.exclude
            return contrast(z, softened(z, found.target, negative, alpha), exclude=found.exclude)

        return by_tiles(self._similarity(ctx, rows, columns), term)


@torch.no_grad()
def softened(scores: Tensor, positive: Tensor, negative: Tensor, alpha: float) -> Tensor:
    """Return the target of each row: 1 - alpha for its positives alike, alpha for its negatives by their scores.

    Args:
        scores: (R, C), scaled.
        positive: bool (R, C); a row without any gets zeros.
        negative: bool (R, C); a row without any gives its positives everything.
        alpha: share of the negatives.

    Returns:
        (R, C), rows sum to 1 or 0.

    Example:
        >>> scores, own = torch.tensor([[9.0, 1.0, 1.0]]), torch.tensor([[True, False, False]])
        >>> softened(scores, own, ~own, 0.2).tolist()
        [[0.800000011920929, 0.10000000149011612, 0.10000000149011612]]
    """
    own = positive.to(scores.dtype)
    count = own.sum(dim=1, keepdim=True)
    others = alpha * negative.any(dim=1, keepdim=True).to(scores.dtype)
    likeness = torch.where(negative, scores, torch.finfo(scores.dtype).min).softmax(dim=1) * negative
    return torch.where(count > 0, (1 - others) * own / count.clamp(min=1) + others * likeness, 0.0)
