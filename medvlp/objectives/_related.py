"""Objectives over stated relations: what they are told and need, and the answer that reads their head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, Objective
from medvlp.objectives._pairs import Pairs, pairs_of


class Related(Objective):
    """Base of objectives over stated relations: their words, their boxes, and the pairs of a head `relation_queries`.

    Args:
        objective: name, for error sentences.
        labels: E entities.
        predicates: P.
        drawn: entities that have boxes; None: all.
        file: see the view `relations`.
        pairs: key of the head's boxes.

    Raises:
        ConfigError: for words that stand twice, or `drawn` that are none of them.
    """

    scope: Literal["batch", "sample"] = "sample"
    field = "vector.relations"

    def __init__(
        self,
        *,
        objective: str,
        labels: Sequence[str],
        predicates: Sequence[str],
        drawn: Sequence[str] | None,
        file: str | None,
        pairs: str,
    ) -> None:
        super().__init__()
        for words in (labels, predicates):
            if not words or len(set(words)) < len(words):
                raise ConfigError(f"Objective {objective!r} has the words {list(words)}: name each once, at least one.")
        self.objective, self.file, self.pairs = objective, file, pairs
        self.labels, self.predicates = tuple(labels), tuple(predicates)
        self.drawn = self.labels if drawn is None else tuple(drawn)
        if not set(self.drawn) <= set(labels):
            raise ConfigError(f"Objective {objective!r} draws {list(self.drawn)}, which are not all among its labels.")

    def needs(self) -> frozenset[Key]:
        """What the head of pairs gives, the matrix of statements and the boxes."""
        given = (f"{self.pairs}{part}" for part in ("", "_subjects", "_objects", "_predicates"))
        return keys(*given, self.field, *(f"boxes.{label}" for label in self.drawn))

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """What reads the statements."""
        words = {"labels": list(self.labels), "predicates": list(self.predicates)}
        return ({"name": "relations", **words, "file": self.file},)

    def answer(self, *, by: str | None = None, alias: str = "") -> AnswerSpec:
        """Return the answer `relations`, with predicates by a part."""
        words = {"entities": list(self.labels), "predicates": list(self.predicates)}
        return AnswerSpec("relations", {**words, "part": self.pairs.rpartition("/")[2], "by": by}, alias=alias)

    def found(self, ctx: Context) -> list[Tensor]:
        """Return boxes, logits of subjects and of objects, and those of predicates; of more or fewer: ConfigError."""
        found = [ctx[f"{self.pairs}{part}"] for part in ("", "_subjects", "_objects", "_predicates")]
        if found[3].shape[2] != len(self.predicates):
            raise ConfigError(
                f"Objective {self.objective!r} names {len(self.labels)} entities and {len(self.predicates)} predicates "
                f"and its head's bank has {len(self.labels) + found[3].shape[2]} texts: give each one, in their order."
            )
        return found

    def truths(self, ctx: Context) -> list[Pairs | None]:
        """Return the stated pairs of each own row; None where nothing is known of it."""
        words = {"labels": self.labels, "drawn": self.drawn, "predicates": len(self.predicates)}
        return pairs_of(ctx, self.pairs, field=self.field, name=self.objective, **words)  # pyrefly: ignore
