"""Who is whose positive and which pairs are left out, by a configuration's words; pictures and texts so paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term
from medvlp.models.scores.dot import Dot
from medvlp.objectives._contrast import contrast
from medvlp.objectives._facts import true_of
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._tiles import by_tiles
from medvlp.text.facts import KNOWN, stated_field

# What makes a text a positive of an image. `true_of`: an equal report, or a text of which every fact is confirmed by
# the image's own report or labels.
Relation = Literal["own", "same_study", "same_report", "shared_labels", "true_of"]
# What takes a pair that is no positive out of the loss: a patient's other studies are hardly negatives.
Exclusion = Literal["none", "same_study", "same_report", "same_patient", "shared_labels", "true_of"]

_FIELDS = {"same_study": "id.study", "same_patient": "id.patient"}


@dataclass(frozen=True)
class Pairs:
    """Own rows against everybody's columns."""

    target: Tensor  # bool (R, C), positives
    exclude: Tensor | None  # bool (R, C), neither positive nor negative; None excludes nothing


def needed_fields(*relations: str, text: str) -> frozenset[Key]:
    """Batch fields that relations compare; shared labels take whatever label fields the batch has.

    Example:
        >>> sorted(map(str, needed_fields("same_report", "same_patient", text="text.impression")))
        ['id.patient', 'text.impression']
    """
    fields = {_FIELDS[relation] for relation in relations if relation in _FIELDS}
    if "true_of" in relations:
        fields |= {text, KNOWN, stated_field(text)}
    return keys(*sorted(fields | ({text} if "same_report" in relations else set())))


def related(ctx: Context, relation: str, *, rows: str, columns: str, text: str, part: slice = slice(None)) -> Tensor:
    """Whether own rows and everybody's columns are related, bool (R, C); a sample is always related to itself.

    Args:
        relation: a word of `Relation` or `Exclusion`, "none" excepted.
        rows: key of the rows.
        columns: key of the columns.
        text: the field whose equality, row by row, makes the same report, white space and case aside; of ``text`` the
            same whole report does too, whatever views have left of it.
        part: some of the own rows.
    """
    if relation == "shared_labels":
        return ctx.shared_labels(rows=rows, columns=columns, part=part)
    if relation == "true_of":
        equal = related(ctx, "same_report", rows=rows, columns=columns, text=text, part=part)
        return equal | true_of(ctx, rows=rows, columns=columns, text=text, part=part)
    report = "report" if text == "text" else text
    what = {"own": "sample", "same_study": "study", "same_patient": "patient", "same_report": report}[relation]
    return ctx.same(what, rows=rows, columns=columns, part=part)


def pairs(
    ctx: Context,
    positives: Relation,
    exclude: Exclusion,
    *,
    rows: str,
    columns: str,
    text: str,
    part: slice = slice(None),
) -> Pairs:
    """Return positives and exclusions of own rows, or of some of them; a positive is never excluded."""
    where = {"rows": rows, "columns": columns, "text": text, "part": part}
    target = related(ctx, positives, **where)
    return Pairs(target, None if exclude == "none" else related(ctx, exclude, **where) & ~target)


class Paired(Objective):
    """Pictures and texts of which it is known who belongs to whom; arguments as of `Clip`."""

    def __init__(self, *, image: str, text: str, positives: Relation, exclude: Exclusion) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.compared: tuple[str, ...] = (text,)  # views of texts; a subclass may compare more than one
        self.positives: Relation = positives
        self.exclude: Exclusion = exclude

    def needs(self) -> frozenset[Key]:
        """The fields that tell who is the same."""
        return frozenset().union(*(needed_fields(self.positives, self.exclude, text=text) for text in self.compared))

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """What reads the facts of texts, where they are compared."""
        asked = "true_of" in (self.positives, self.exclude)
        return tuple({"name": "facts", "field": text} for text in self.compared) if asked else ()

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
