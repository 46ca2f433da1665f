"""From the words of a configuration to who is whose positive, and which pairs are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.objectives._facts import true_of
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
    """Return positives and exclusions of own rows, or of some of them; a positive is never excluded.

    Example:
        >>> import torch
        >>> image, text = "image/embedding", "text/embedding"
        >>> fields = {"text": ["a", "b", "A "], "id.patient": ["p", "p", "q"]}
        >>> ctx = Context.of({image: torch.eye(3), text: torch.eye(3)}, fields)
        >>> found = pairs(ctx, "same_report", "same_patient", rows=image, columns=text, text="text")
        >>> found.target.int().tolist(), found.exclude.int().tolist()
        ([[1, 0, 1], [0, 1, 0], [1, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    """
    where = {"rows": rows, "columns": columns, "text": text, "part": part}
    target = related(ctx, positives, **where)
    return Pairs(target, None if exclude == "none" else related(ctx, exclude, **where) & ~target)
