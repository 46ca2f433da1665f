"""From the words of a configuration to who is whose positive, and which pairs are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, Score
from medvlp.objectives._contrast import Similarity
from medvlp.objectives._facts import true_of
from medvlp.text.facts import KNOWN, stated_field

__all__ = [
    "Exclusion",
    "Pairs",
    "Relation",
    "compared",
    "needed_fields",
    "needed_views",
    "pairs",
    "related",
    "similarity",
]

# What makes a text a positive of an image. `true_of`: an equal report, or a text of which every fact is confirmed by
# the image's own report or labels.
Relation = Literal["own", "same_study", "same_report", "shared_labels", "true_of"]
# What takes a pair that is no positive out of the loss: a patient's other studies are hardly negatives.
Exclusion = Literal["none", "same_study", "same_report", "same_patient", "shared_labels", "true_of"]

_FIELDS = {"same_study": "id.study", "same_patient": "id.patient"}


@dataclass(frozen=True)
class Pairs:
    """Own rows against everybody's columns.

    Attributes:
        target: bool (R, C), positives.
        exclude: bool (R, C), neither positive nor negative; None excludes nothing.
    """

    target: Tensor
    exclude: Tensor | None


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


def needed_views(*relations: str, text: str) -> tuple[Mapping[str, object], ...]:
    """Views that make what relations compare, beside what the data have."""
    return ({"name": "facts", "field": text},) if "true_of" in relations else ()


def related(ctx: Context, relation: str, *, rows: str, columns: str, text: str) -> Tensor:
    """Whether own rows and everybody's columns are related, bool (R, C); a sample is always related to itself.

    Args:
        ctx: the step.
        relation: a word of `Relation` or `Exclusion`, "none" excepted.
        rows: key of the rows.
        columns: key of the columns.
        text: the field whose equality, row by row, makes the same report, white space and case aside; of ``text`` the
            same whole report does too, whatever views have left of it.
    """
    if relation == "shared_labels":
        return ctx.shared_labels(rows=rows, columns=columns)
    if relation == "true_of":
        equal = related(ctx, "same_report", rows=rows, columns=columns, text=text)
        return equal | true_of(ctx, rows=rows, columns=columns, text=text)
    report = "report" if text == "text" else text
    what = {"own": "sample", "same_study": "study", "same_patient": "patient", "same_report": report}[relation]
    return ctx.same(what, rows=rows, columns=columns)


def pairs(ctx: Context, positives: Relation, exclude: Exclusion, *, rows: str, columns: str, text: str) -> Pairs:
    """Return positives and exclusions; a positive is never excluded.

    Example:
        >>> import torch
        >>> from medvlp.core.parts import Part
        >>> from medvlp.core.keys import parse_key
        >>> from medvlp.core.sample import Batch
        >>> parts = {parse_key(f"{v}/embedding"): Part(torch.eye(3), torch.arange(3)) for v in ("image", "text")}
        >>> ctx = Context(parts=parts, batch=Batch.of({"text": ["a", "b", "A "], "id.patient": ["p", "p", "q"]}))
        >>> found = pairs(
        ...     ctx, "same_report", "same_patient", rows="image/embedding", columns="text/embedding", text="text"
        ... )
        >>> found.target.int().tolist(), found.exclude.int().tolist()
        ([[1, 0, 1], [0, 1, 0], [1, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    """
    target = related(ctx, positives, rows=rows, columns=columns, text=text)
    if exclude == "none":
        return Pairs(target, None)
    return Pairs(target, related(ctx, exclude, rows=rows, columns=columns, text=text) & ~target)


def compared(image: str, text: str, score: Mapping[str, Any], module: Score) -> tuple[AnswerSpec, ...]:
    """Return what a model can be asked whose pictures and texts a score was taught to compare; nothing of other views.

    Example:
        >>> from medvlp.models.scores.dot import Dot
        >>> [spec.name for spec in compared("image", "text", {"name": "dot"}, Dot())]
        ['zero_shot', 'retrieval']
        >>> compared("text.findings", "text.impression", {"name": "dot"}, Dot())
        ()
    """
    if parse_field(image).kind == "text" or parse_field(text).kind != "text":
        return ()
    return tuple(AnswerSpec(name, score=score, module=module) for name in ("zero_shot", "retrieval"))


def similarity(ctx: Context, score: Score, rows: str, columns: str) -> Similarity:
    """Own rows of one view against everybody's rows of another, at the model's logit scale."""
    own = {part: ctx[f"{rows}/{part}"] for part in score.reads}
    everybody = {part: ctx.all(f"{columns}/{part}") for part in score.reads}
    return Similarity(own, everybody, score, ctx.scale)
