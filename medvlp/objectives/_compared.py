"""What CLIP and its kin are made of: a score of pictures and texts, both ways, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Score
from medvlp.core.registry import build
from medvlp.core.term import Term, Terms
from medvlp.objectives._rows import own_columns
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._targets import Exclusion, Paired, Pairs, Relation, pairs
from medvlp.objectives._tiles import by_tiles


class Compared(Paired):
    """What CLIP and SigLIP have in common: a score of pictures and texts, and who belongs to whom.

    Args:
        objective: name, for error sentences.
        image: view of the images.
        text: view of the texts.
        score: component of `models/scores`, with options or by its name alone.
        positives: which texts belong to an image, see `clip`.
        exclude: which of the others are left out, see `clip`.

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
        super().__init__(image=image, text=text, positives=positives, exclude=exclude)
        self.score_spec = {"name": score} if isinstance(score, str) else score
        self.score: Score = build("models/scores", self.score_spec, where=f"score of objective {objective!r}")

    def needs(self) -> frozenset[Key]:
        """What the score reads of both views, and the fields that tell who is the same."""
        read = keys(*(f"{view}/{part}" for view in (self.image, self.text) for part in self.score.reads))
        return super().needs() | read

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
        # Objectives share a score that is computed alike; one with parameters learns its own.
        learned = any(True for _ in self.score.parameters())
        name = f"scores of {rows} and {columns} by {id(self.score) if learned else self.score_spec}"
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
        name = f"pairs of {both} and {text} by {self.positives} without {self.exclude}"
        return ctx.once(name, made) if whole else made()

    def _single(self, ctx: Context, rows: str, columns: str) -> Tensor | None:
        """Return the only positive of each own row, (R,), where all samples differ and nothing is excluded."""
        if self.exclude != "none":
            return None
        both = {"rows": f"{rows}/{self.score.reads[0]}", "columns": f"{columns}/{self.score.reads[0]}"}
        text = next((view for view in (columns, rows) if view != self.image), self.text)
        name = f"own columns of {both} and {text} by {self.positives}"
        return ctx.once(name, lambda: own_columns(ctx, self.positives, **both, text=text))

    def _is_turned(self, rows: str, columns: str) -> bool:
        """Whether this is the second direction on one process, of the very rows that the first one compared."""
        return rows != self.image == columns and collectives.world_size() == 1
