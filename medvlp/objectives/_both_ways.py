"""Pictures and texts, and who belongs to whom; vectors that an objective made of pictures itself against texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import Key
from medvlp.core.protocols import Objective
from medvlp.core.term import Term
from medvlp.models.scores.dot import Dot
from medvlp.objectives._contrast import contrast
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._targets import Exclusion, Relation, needed_fields, pairs
from medvlp.objectives._tiles import by_tiles


class Paired(Objective):
    """Pictures and texts of which it is known who belongs to whom; arguments as of `Clip`."""

    def __init__(self, *, image: str, text: str, positives: Relation, exclude: Exclusion) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.positives: Relation = positives
        self.exclude: Exclusion = exclude

    def needs(self) -> frozenset[Key]:
        """The fields that tell who is the same."""
        return needed_fields(self.positives, self.exclude, text=self.text)

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """What reads the facts of texts, where they are compared."""
        return ({"name": "facts", "field": self.text},) if "true_of" in (self.positives, self.exclude) else ()

    def both_ways(self, ctx: Context, rows: Tensor, key: str, *, teach_text: bool = True) -> Mapping[str, Term]:
        """Contrast unit vectors that this objective made of own rows of a key with the embeddings of texts.

        Args:
            rows: (R, D), one of each own row of the key.
            key: whose owners and relations they have.
            teach_text: whether the texts get a gradient.

        Returns:
            ``image_to_text`` and ``text_to_image``, each at half weight.
        """
        words, related = f"{self.text}/embedding", (self.positives, self.exclude)
        own, everybody = ctx[words], ctx.all(words)
        own, everybody = (own, everybody) if teach_text else (own.detach(), everybody.detach())
        columns = ctx.gather(rows, ctx.owner(key)).values
        to_text = among(ctx, rows, everybody, *related, rows=key, columns=words, text=self.text)
        to_image = among(ctx, own, columns, *related, rows=words, columns=key, text=self.text)
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
