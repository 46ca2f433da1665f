"""Vectors that an objective made of pictures itself, against texts, both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.term import Term
from medvlp.models.scores.dot import Dot
from medvlp.objectives._contrast import contrast
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._targets import Exclusion, Relation, pairs
from medvlp.objectives._tiles import by_tiles


def both_ways(
    ctx: Context, rows: Tensor, key: str, *, text: str, positives: Relation, exclude: Exclusion, teach_text: bool = True
) -> Mapping[str, Term]:
    """Contrast unit vectors that an objective made of own rows of a key with the embeddings of texts, as `clip` does.

    Args:
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
    to_text = among(ctx, rows, everybody, positives, exclude, rows=key, columns=words, text=text)
    to_image = among(ctx, own, columns, positives, exclude, rows=words, columns=key, text=text)
    return {"image_to_text": to_text.times(0.5), "text_to_image": to_image.times(0.5)}


def among(
    ctx: Context,
    own: Tensor,
    everybody: Tensor,
    positives: Relation,
    exclude: Exclusion,
    *,
    rows: str,
    columns: str,
    text: str,
    scale: Callable[[Tensor], Tensor] | None = None,
    label_smoothing: float = 0.0,
) -> Term:
    """Contrast vectors of own rows of a key with vectors of everybody's of another, by tiles where there are many.

    Args:
        own: (R, D).
        everybody: (C, D).
        positives: as in `clip`.
        exclude: as in `clip`.
        rows: key of the rows.
        columns: key of the columns.
        text: the text field that relations compare.
        scale: of the cosines; None: the model's logit scale.
        label_smoothing: as in `contrast`.
    """

    def term(scores: Tensor, part: slice) -> Term:
        found = pairs(ctx, positives, exclude, rows=rows, columns=columns, text=text, part=part)
        return contrast(scores, found.target, exclude=found.exclude, label_smoothing=label_smoothing)

    return by_tiles(Similarity(own, everybody, Dot(), ctx.scale if scale is None else scale), term)
