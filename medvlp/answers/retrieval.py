"""Retrieval: how near pictures are to texts, by the score that the model was trained with."""

from __future__ import annotations

from typing import Annotated, ClassVar

from medvlp.answers.prompting.text_scores import TextScores
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model, Score
from medvlp.core.registry import FromModel
from medvlp.models.scores.dot import Dot


class Retrieval(Answer):
    """Similarity of every row's picture with every row's own text, or with sentences that are asked for.

    Args:
        score: by which the model compares; given by the builder, the dot product where there is none.

    Raises:
        DataError: if so many rows are compared with their own texts that their similarities fill the memory.

    Example:
        >>> sorted(Retrieval().gives)
        ['embedding', 'similarity']
    """

    asks: ClassVar = "sentences"
    most_pairs: ClassVar[int] = 30_000  # 3.6 GB of numbers
    title = "Image and report retrieval"

    def __init__(self, *, score: Annotated[Score | None, FromModel("score")] = None) -> None:
        self.score = score or Dot()

    @property
    def gives(self) -> frozenset[str]:  # pyrefly: ignore
        """Similarities; of a score that is the dot product also the embedding."""
        return frozenset({"similarity", *(("embedding",) if self.score.cosine else ())})

    def needs(self, model: Model) -> frozenset[Key]:
        """What the score reads of pictures and texts, and the words."""
        views = (model.vision_kind, "text")
        return frozenset(Key(view, part) for view in views for part in self.score.reads) | keys("text")

    def check(self, model: Model) -> None:
        """Refuse a model that reads no texts."""
        if not model.reads_text:
            raise ConfigError("This model reads no texts, so nothing can be retrieved by them: leave that answer out.")
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> TextScores:
        """Take the model; texts are encoded when they are met."""
        return TextScores(model, self.score)

    def answer(self, rows: Rows, ask: Ask, begun: TextScores) -> Predictions:
        """Return similarities (N, M) with the sentences asked for, else with the rows' own texts."""
        table = rows.table
        texts = ask.sentences or tuple(str(text) for text in table.columns["text"])
        if ask.sentences:
            columns = begun.encoded(ask.sentences)
        elif len(table) > self.most_pairs:
            raise DataError(
                f"{len(table)} pictures against as many texts fill the memory: ask for {self.most_pairs} at a time."
            )
        else:
            columns = {part: table[f"text/{part}"] for part in self.score.reads}
        view = next(key.view for key in self.needs(begun.model) if key.part and key.view != "text")
        if not self.score.cosine:
            return Predictions(tuple(table.ids), similarity=begun.matrix(table, columns), compared=texts)
        seen = table[f"{view}/embedding"]
        return Predictions(tuple(table.ids), embedding=seen, similarity=seen @ columns["embedding"].T, compared=texts)
