"""What objectives have in common that teach a head to tell labels, of rows, of pixels or by boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective


class Labelled(Objective):
    """Base of objectives with K labels: a head kept in the bundle, and the answer that reads it.

    Args:
        objective: name, for error sentences.
        labels: K, each once.
        view: whose rows the head reads.
        part: name of the head.
        head: component of `models/heads` and its options, without its number of classes.
        more: classes beside the labels: a background.

    Attributes:
        field: kind of the fields that hold the truth.
        answer: component of `medvlp.answers`.
        asked: further options of it.

    Raises:
        ConfigError: without labels, if one stands twice, or for a head without name or that names its classes itself.
    """

    scope: Literal["batch", "sample"] = "sample"
    field: str = "label"
    answer: str = "findings"

    def __init__(
        self, *, objective: str, labels: Sequence[str], view: str, part: str, head: Mapping[str, Any], more: int = 0
    ) -> None:
        super().__init__()
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError(
                f"labels of objective {objective!r} are {list(labels)}: name each class once, at least one."
            )
        options = {key: value for key, value in head.items() if key != "name"}
        if not isinstance(head.get("name"), str) or "classes" in options:
            raise ConfigError(
                f"The head of objective {objective!r} is {dict(head)}: give the name of a head and its options, and "
                "leave out classes, which labels tell."
            )
        self.labels = tuple(labels)
        self.view, self.part = view, part
        self.head = HeadSpec(str(head["name"]), {**options, "classes": len(labels) + more}, keep=True)
        self.asked: dict[str, object] = {}

    @property
    def key(self) -> str:
        """Key of what the head gives."""
        return f"{self.view}/{self.part}"

    def needs(self) -> frozenset[Key]:
        """What the head gives, and the truth."""
        return keys(self.key, *(f"{self.field}.{label}" for label in self.labels))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The head."""
        return {self.part: self.head}

    def answers(self) -> Sequence[AnswerSpec]:
        """The answer `findings` (or another that the subclass names) for these labels."""
        return (AnswerSpec(self.answer, {"part": self.part, "labels": list(self.labels), **self.asked}),)
