"""From the words of a configuration to who is whose positive, and which pairs are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective, Score
from medvlp.core.registry import build
from medvlp.core.term import Term, Terms
from medvlp.objectives._facts import true_of
from medvlp.objectives._own_columns import own_columns
from medvlp.objectives._similarity import Similarity, by_tiles
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
        ctx: the step.
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


class Compared(Objective):
    """What CLIP and SigLIP have in common: a score of pictures and texts, and who belongs to whom.

    Args:
        objective: name, for error sentences.
        image: view of the images.
        text: view of the texts.
        score: component of `models/scores`, with options or by its name alone.
        positives: which texts belong to an image.
        exclude: which of the others are left out.

    Attributes:
        two_way: whether it asks for both directions.
    """

    two_way = True

    def __init__(
        self,
        *,
        objective: str,
        image: str,
        text: str,
        score: str | dict[str, Any],
        positives: Relation,
        exclude: Exclusion,
    ) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.score_spec = {"name": score} if isinstance(score, str) else score
        self.score: Score = build("models/scores", self.score_spec, where=f"score of objective {objective!r}")
        self.positives: Relation = positives
        self.exclude: Exclusion = exclude

    def needs(self) -> frozenset[Key]:
        """What the score reads of both views, and the fields that tell who is the same."""
        read = keys(*(f"{view}/{part}" for view in (self.image, self.text) for part in self.score.reads))
        return read | needed_fields(self.positives, self.exclude, text=self.text)

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """What reads the facts of texts, where they are compared."""
        return ({"name": "facts", "field": self.text},) if "true_of" in (self.positives, self.exclude) else ()

    def heads(self) -> Mapping[str, HeadSpec]:
        """Heads that the score reads."""
        return self.score.heads()

    def answers(self) -> Sequence[AnswerSpec]:
        """What pictures and texts near each other can be asked; nothing of other views."""
        if parse_field(self.image).kind == "text" or parse_field(self.text).kind != "text":
            return ()
        return tuple(AnswerSpec(name, score=self.score_spec, module=self.score) for name in ("zero_shot", "retrieval"))

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions."""
        return {
            "image_to_text": self._one_way(ctx, self.image, self.text).times(0.5),
            "text_to_image": self._one_way(ctx, self.text, self.image).times(0.5),
        }

    def _one_way(self, ctx: Context, rows: str, columns: str) -> Term:
        """Return the term of own rows of one view against everybody's of the other."""
        raise NotImplementedError

    def between(self, ctx: Context, rows: str, columns: str) -> tuple[Similarity, Pairs]:
        """Return own rows of one view against everybody's of another, at the model's logit scale, and who is whose."""
        return self._similarity(ctx, rows, columns), self._pairs(ctx, rows, columns)

    def summed(self, ctx: Context, rows: str, columns: str, loss: Callable[..., Term]) -> Term:
        """Sum a loss over own rows of one view against everybody's of another, by tiles where there are many.

        Args:
            ctx: the step.
            rows: view of the rows.
            columns: view of the columns.
            loss: (scores, positives, exclude=) of some rows -> their term; positives are the one column of each row, or
                a mask.
        """
        single = self._single(ctx, rows, columns)

        def term(scores: Tensor, part: slice) -> Term:
            if single is not None:
                return loss(scores, single[part])
            found = self._pairs(ctx, rows, columns, part)
            return loss(scores, found.target, exclude=found.exclude)

        return by_tiles(self._similarity(ctx, rows, columns), term)

    def _similarity(self, ctx: Context, rows: str, columns: str) -> Similarity:
        if self._is_turned(rows, columns):
            return self._similarity(ctx, columns, rows).turned()
        own = {part: ctx[f"{rows}/{part}"] for part in self.score.reads}
        everybody = {part: ctx.all(f"{columns}/{part}") for part in self.score.reads}
        name = f"scores of {rows} and {columns} by {self.score_spec}"
        two_way = self.two_way and collectives.world_size() == 1
        return ctx.once(name, lambda: Similarity(own, everybody, self.score, ctx.scale, two_way=two_way))

    def _pairs(self, ctx: Context, rows: str, columns: str, part: slice = slice(None)) -> Pairs:
        read = self.score.reads[0]
        if self._is_turned(rows, columns) and part == slice(None):
            found = self._pairs(ctx, columns, rows)
            return Pairs(found.target.T, None if found.exclude is None else found.exclude.T)
        both = {"rows": f"{rows}/{read}", "columns": f"{columns}/{read}"}
        text = next((view for view in (columns, rows) if view != self.image), self.text)

        def made() -> Pairs:
            return pairs(ctx, self.positives, self.exclude, **both, text=text, part=part)

        whole = part == slice(None)  # a tile's are used once, and too many to keep
        return ctx.once(f"pairs of {both} by {self.positives} without {self.exclude}", made) if whole else made()

    def _single(self, ctx: Context, rows: str, columns: str) -> Tensor | None:
        """Return the only positive of each own row, (R,), where all samples differ and nothing is excluded."""
        if self.exclude != "none":
            return None
        both = {"rows": f"{rows}/{self.score.reads[0]}", "columns": f"{columns}/{self.score.reads[0]}"}
        text = next((view for view in (columns, rows) if view != self.image), self.text)
        name = f"own columns of {both} by {self.positives}"
        return ctx.once(name, lambda: own_columns(ctx, self.positives, **both, text=text))

    def _is_turned(self, rows: str, columns: str) -> bool:
        """Whether this is the second direction on one process, of the very rows that the first one compared."""
        return rows != self.image == columns and collectives.world_size() == 1
