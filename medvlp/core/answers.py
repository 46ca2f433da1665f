"""What a released model can be asked: the protocol of `medvlp.answers`, one file each, and of probes that make one.

An objective declares the answers it teaches (`Objective.answers`), as it declares heads. Validation, the choice of the
best checkpoint, thresholds and calibrations, evaluation, prediction, pages and demos loop over a bundle's answers and
know none by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, Plan
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.registry import options_of
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable

#: Column that the answer of a probe reads: features (N, D) as those that it was fitted on.
FEATURES = "vector.features"

#: What an answer wants to be told: nothing, findings or sentences to score, a question, a box.
Asks = Literal["nothing", "findings", "sentences", "question", "box"]


@dataclass(frozen=True)
class Ask:
    """What is asked of all rows, or of each; lists are kept as tuples, and one string as a tuple of it.

    Attributes:
        findings: of those that the answer knows; all where none is named.
        sentences: compared with every row.
        questions: one a row, or one for all.
        boxes: (x0, y0, x1, y1) in pixels of the file, one a row, or one for all.
        decoding: how words are chosen, of answers that are written; None: as the answer itself does.
    """

    findings: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    decoding: Decoding | None = None

    def __post_init__(self) -> None:
        for name in ("findings", "sentences", "questions"):
            words = getattr(self, name)
            words = (words,) if isinstance(words, str) or not isinstance(words, Iterable) else tuple(words)
            if odd := [each for each in words if not isinstance(each, str)]:
                raise DataError(f"{name} of an Ask are strings, and {odd[0]!r} is none: write it in words.")
            object.__setattr__(self, name, words)
        object.__setattr__(self, "boxes", tuple(map(tuple, self.boxes)))

    @classmethod
    def of(cls, given: Ask | None) -> Ask:
        """Return what was given, or nothing that is asked; what is no Ask is refused (DataError)."""
        if given is not None and not isinstance(given, Ask):
            raise DataError(f"What is asked is {given!r}, and no Ask: write it as Ask(questions=...), for example.")
        return given or cls()

    def rows(self, index: Sequence[int]) -> Ask:
        """Return what is asked of some rows.

        Example:
            >>> Ask(questions=("Which side?", "How large?")).rows([1]).questions
            ('How large?',)
        """
        questions = self.questions if len(self.questions) < 2 else tuple(self.questions[i] for i in index)
        boxes = self.boxes if len(self.boxes) < 2 else tuple(self.boxes[i] for i in index)
        return Ask(self.findings, self.sentences, questions, boxes, self.decoding)


@dataclass(frozen=True)
class Rows:
    """What an answer reads of N pictures.

    Attributes:
        table: a column for each key of `Answer.needs`, one row a picture.
        samples: the prepared samples themselves, where the answer `streams`: pixels, and the records that lead back to
            the file's own pixels.
    """

    table: FeatureTable
    samples: Sequence[Sample] = ()


class Answer(ABC):
    """One thing that a model can be asked; its constructor's options are what ``bundle.yaml`` keeps.

    Attributes:
        asks: what it must be told.
        gives: the parts of `Predictions` that it fills.
        title: its words for a page; empty: the name under which it is asked.
        streams: whether its rows are taken group by group, with their samples: for answers over pixels.
        most_pairs: pictures that it compares with as many texts of their own; more fill the memory. None: any number.
        labels: findings that it names in this order; empty where it has none.
        prompts: sets of `medvlp.text.prompts` by which it tells findings, where it compares with texts.
    """

    asks: ClassVar[Asks] = "nothing"
    gives: ClassVar[frozenset[str]] = frozenset()
    title: str = ""
    streams: ClassVar[bool] = False
    most_pairs: ClassVar[int | None] = None
    labels: tuple[str, ...] = ()
    prompts: tuple[Any, ...] = ()

    @abstractmethod
    def needs(self, model: Model) -> frozenset[Key]:
        """What a feature pass must collect; may be empty for an answer that streams."""

    def check(self, model: Model) -> None:
        """Refuse a model that cannot be asked this.

        Raises:
            ConfigError: naming what is missing.
        """
        model.check(Plan.of(self.needs(model)))

    def begin(self, model: Model, ask: Ask) -> Any:  # noqa: ANN401
        """Return what is made once for many rows (class vectors of prompts, a decoder); handed to `answer`."""
        return model

    @abstractmethod
    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:  # noqa: ANN401
        """Return the predictions for N rows.

        Args:
            rows: with the columns of `needs`.
            ask: what is asked.
            begun: what `begin` returned for this model and ask.
        """

    def margin(self, rows: Rows, model: Model, positive: Sequence[str], negative: Sequence[str]) -> np.ndarray:
        """Return (N,): how much nearer rows are to some texts than to others; of answers with `prompts`."""
        raise ConfigError(f"{type(self).__name__} compares with no texts: ask an answer that has prompts.")

    def look(
        self,
        model: Model,
        sample: Sample,
        begun: Any,  # noqa: ANN401
        asked: Sequence[tuple[str, str]],
    ) -> list[Map] | None:
        """Return where the scores of findings come from, a map each over the model's view of one picture.

        The picture is encoded once, however many are asked for.

        Args:
            model: the model.
            sample: prepared, with pixels.
            begun: what `begin` returned.
            asked: (finding, place) each; the place is one of those of its `pairs`, or empty.

        Returns:
            None where this answer, or this model, has no such map.
        """
        return None

    def taught_by(self, texts: Iterable[str], *, known: Collection[str] = ()) -> Answer:
        """Return this answer limited to findings that the training texts mention; unchanged if it uses no prompts.

        Args:
            texts: of training; read only as far as is needed.
            known: findings that are kept whatever the texts say.
        """
        return self

    def released(self) -> Mapping[str, object]:
        """Return the options from which a bundle rebuilds this answer: plain data, no file paths.

        Where an answer does not say otherwise they are its attributes with the names of its options.
        """
        options = {parameter.name: getattr(self, parameter.name) for parameter, _ in options_of(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


@dataclass(frozen=True)
class ProbeTable:
    """Frozen features with their labels and the columns of the cohort.

    Attributes:
        features: (N, D).
        labels: finding -> (N,): 1 present, 0 absent, -1 uncertain, NaN unknown; the last two take no part.
        patients: N names; no patient is in two tables.
    """

    features: np.ndarray
    labels: Mapping[str, np.ndarray]
    patients: Sequence[str]


class WordsMissingError(DataError):
    """A probe starts from words, and not every finding has a text vector."""


class Probe(Protocol):
    """A classifier on frozen features: tables in, an answer out; built by name from `medvlp.adaptation`."""

    def fit(self, train: ProbeTable, validation: ProbeTable, bank: Mapping[str, np.ndarray]) -> Answer:
        """Fit on `train`, choose on `validation`; the answer gives scores of rows with the column `FEATURES`.

        Args:
            train: rows that it is fitted to.
            validation: rows of other patients that its options are chosen on; with the chosen ones it may be fitted to
                both, and its title says so.
            bank: finding -> (D,) text vector, for probes that start from words; may be empty.

        Raises:
            DataError: if the tables do not fit together, or nothing can be fitted.
            WordsMissingError: if it starts from words, and not every finding has a text vector.
        """
        ...
