"""Vectors that an objective made of pictures itself, against texts, both ways."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.term import Term
from medvlp.objectives._contrast import contrast
from medvlp.objectives._targets import Exclusion, Relation, pairs


def both_ways(
    ctx: Context,
    rows: Tensor,
    key: str,
    *,
    text: str,
    positives: Relation,
    exclude: Exclusion,
    teach_text: bool = True,
) -> Mapping[str, Term]:
    """Contrast unit vectors that an objective made of own rows of a key with the embeddings of texts, as `clip` does.

    Args:
        ctx: the step.
        rows: (R, D), one of each own row of the key.
        key: whose owners and relations they have.
        text: view of the texts.
        positives: as in `clip`.
        exclude: as in `clip`.
        teach_text: whether the texts get a gradient.

    Returns:
        ``image_to_text`` and ``text_to_image``, each at half weight.
    """
    words = f"{text}/embedding"
    own, everybody = ctx[words], ctx.all(words)
    own, everybody = (own, everybody) if teach_text else (own.detach(), everybody.detach())
    columns = ctx.gather(rows, ctx.owner(key)).values
    found = {}
    for name, scores, (first, second) in (
        ("image_to_text", rows @ everybody.T, (key, words)),
        ("text_to_image", own @ columns.T, (words, key)),
    ):
        related = pairs(ctx, positives, exclude, rows=first, columns=second, text=text)
        found[name] = contrast(ctx.scale(scores), related.target, exclude=related.exclude).times(0.5)
    return found
