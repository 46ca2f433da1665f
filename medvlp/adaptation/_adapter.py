"""What adapters of frozen features share: a grid of strengths, a choice on held-out patients, and an answer of a head.

An adapter fits one candidate for each entry of its grid. Which is taken, for each finding or for all of them together,
the AUROC on patients says that it was not fitted on: those of a validation table, or each fold's in turn, all pairs of
rows within a fold pooled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from medvlp.core.answers import FEATURES, Answer, Ask, ProbeTable, Rows, WordsMissingError
from medvlp.core.encoded import Encoded
from medvlp.core.errors import DataError
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Head, HeadSpec, Model
from medvlp.core.registry import build
from medvlp.evaluation.probe_tables import BOTH, both_tables, checked_features, checked_tables
from medvlp.statistics.metrics import FloatArray, auroc

Candidate = Mapping[str, np.ndarray]
"""Tensors of the adapter's head by name."""
Positive = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
"""What a grid tries: one or more numbers above 0."""
SCALE = 100.0
"""Of cosines, as CLIP's temperature ends."""
Epochs = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
"""Epochs after which something trained is tried; 0 is where it starts."""
_ROWS = 512  # that a head sees at a time: some compare each with every row that they remember


class Adapted(Answer):
    """Log-odds of findings by a head over features; the same head can be mounted on the model they came from.

    Args:
        labels: findings in the head's order.
        head: component of `medvlp.models.heads`.
        tensors: of that head.
        title: of the adapter.
        chosen: finding -> place in the adapter's grid.
        validation_auroc: of each on the patients that chose; NaN where they have one class only and the middle of the
            grid was taken.
        left_out: finding -> why there is none.
        refitted: whether the patients that chose are among those it was fitted on.
    """

    gives: ClassVar[frozenset[str]] = frozenset({"scores"})

    def __init__(
        self,
        labels: Sequence[str],
        head: str,
        tensors: Candidate,
        *,
        title: str,
        chosen: Mapping[str, int],
        validation_auroc: Mapping[str, float],
        left_out: Mapping[str, str],
        refitted: bool,
    ) -> None:
        self.labels = tuple(labels)
        self.head, self.tensors = head, tensors
        self.chosen, self.validation_auroc, self.left_out = chosen, validation_auroc, left_out
        self.refitted = refitted
        self.title = f"{title}, {BOTH}" if refitted else title

    def needs(self, model: Model) -> frozenset[Key]:
        """The features."""
        return keys(FEATURES)

    def log_odds(self, features: np.ndarray) -> FloatArray:
        """Return (N, L) of features (N, D).

        Raises:
            DataError: if they have another width than those it was fitted on, or are not finite.
        """
        return applied(self.head, self.tensors, checked_features(features, width_of(self.tensors)))

    def answer(self, rows: Rows, ask: Ask, begun: Any) -> Predictions:  # noqa: ANN401
        """Return the log-odds of all findings, or of those asked for."""
        found = self.log_odds(rows.table[FEATURES])
        wanted = ask.findings or self.labels
        scores = {label: found[:, i] for i, label in enumerate(self.labels) if label in wanted}
        return Predictions(tuple(rows.table.ids), scores=scores, notes=notes_of("No probe of", self.left_out))

    def spec(self, reads: str, *, stage: str = "tower") -> HeadSpec:
        """Return the head as a model mounts it over the part that the features are; `tensors` are its weights."""
        return HeadSpec(self.head, {"reads": reads, "stage": stage, **_sizes(self.tensors)}, keep=True)


@dataclass(frozen=True)
class Folded:
    """An adapter whose strength was chosen on all folds pooled.

    Attributes:
        answer: fitted on all rows with what was chosen.
        scores: finding -> (N,) of each row by the candidate that was chosen, fitted without the row's fold.
    """

    answer: Adapted
    scores: Mapping[str, FloatArray]


class Adapter(ABC):
    """A probe (see `medvlp.core.answers.Probe`) whose answer is a head over features.

    Attributes:
        title: words for a page.
        head: component of `medvlp.models.heads`.
        apart: tensors of the head with a row for each finding, by which findings choose their own candidates; where
            there are none, all findings choose one together, by the mean of their AUROCs.
        axes: options whose values are tried, all with all.
        needs_words: whether nothing can be fitted without text vectors.
        refit: whether the chosen candidate is fitted again on training and validation rows together.
    """

    title: ClassVar[str]
    head: ClassVar[str] = "linear"
    apart: ClassVar[tuple[str, ...]] = ("output.weight", "output.bias")
    axes: ClassVar[tuple[str, ...]] = ()
    needs_words: ClassVar[bool] = False
    refit: bool = True

    def grid(self, words: FloatArray | None) -> Sequence[Any]:
        """Return what is tried, in the order in which the first of equal ones is taken."""
        values = [getattr(self, axis) for axis in self.axes]
        return list(values[0]) if len(values) == 1 else list(product(*values))

    @abstractmethod
    def candidates(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[Any]
    ) -> list[Candidate]:
        """Fit one candidate for each entry of a grid.

        Args:
            rows: (N, D).
            labels: (N, K): 1 present, 0 absent, NaN unknown; a finding may have one class only, or none.
            words: (K, D) text vectors; None without.
            grid: some of `grid`.
        """

    def fit(self, train: ProbeTable, validation: ProbeTable, bank: Mapping[str, np.ndarray]) -> Adapted:
        """Fit on `train`, choose on `validation`, and unless `refit` is false fit on both.

        Raises:
            DataError: if the tables do not fit together, features are not finite, a patient is in both, or nothing can
                be fitted.
        """
        features, held_out = checked_tables(train, validation)
        names, labels, left_out = both_classes(train)
        words = self._words(names, bank)
        grid = self.grid(words)
        made = self.candidates(features, labels, words, grid)
        scores = [applied(self.head, each, held_out) for each in made]
        chosen, aurocs = self._choice(scores, _labels(validation, names), np.zeros(len(held_out), np.int64))
        if self.refit:
            both = both_tables(train, validation)
            made = self._again(checked_features(both.features, None), _labels(both, names), words, grid, chosen)
        return self._answer(names, made, chosen, aurocs, left_out, refitted=self.refit)

    def fit_folds(self, table: ProbeTable, folds: NDArray[np.int64], bank: Mapping[str, np.ndarray]) -> Folded:
        """Choose on the folds pooled, each scored by what was fitted on the others, and fit on all rows.

        Args:
            table: rows.
            folds: (N,), equal for all rows of a patient; of one fold nothing is chosen: the middle of the grid it is.
            bank: as for `fit`.

        Raises:
            DataError: if a patient is in two folds, features are not finite, or nothing can be fitted.
        """
        rows = checked_features(table.features, None)
        if len(np.unique(np.stack([folds.astype(str), np.asarray(table.patients, str)]), axis=1).T) != len(
            np.unique(np.asarray(table.patients, str))
        ):
            raise DataError("A patient is in two folds: draw folds of patients.")
        names, labels, left_out = both_classes(table)
        words = self._words(names, bank)
        grid = self.grid(words)
        scores = [np.zeros(labels.shape) for _ in grid]
        several = np.unique(folds)
        for fold in several if len(several) > 1 else ():
            inside = folds != fold
            for values, each in zip(scores, self.candidates(rows[inside], labels[inside], words, grid), strict=True):
                values[~inside] = applied(self.head, each, rows[~inside])
        chosen, aurocs = self._choice(scores, labels if len(several) > 1 else labels * np.nan, folds)
        made = self._again(rows, labels, words, grid, chosen)
        answer = self._answer(names, made, chosen, aurocs, left_out, refitted=True)
        return Folded(answer, {name: scores[chosen[k]][:, k].copy() for k, name in enumerate(names)})

    def _words(self, names: Sequence[str], bank: Mapping[str, np.ndarray]) -> FloatArray | None:
        there = bool(names) and all(name in bank for name in names)
        if self.needs_words and not there:
            raise WordsMissingError(
                f"{self.title} starts from words, and not every finding has a text vector: use another."
            )
        return np.stack([np.asarray(bank[name], dtype=np.float64) for name in names]) if there else None

    def _choice(
        self, scores: Sequence[FloatArray], labels: FloatArray, folds: NDArray[np.int64]
    ) -> tuple[list[int], list[float]]:
        """Return, for each finding, which candidate is taken and its AUROC; without both classes the middle and NaN."""
        values = np.array([_areas(each, labels, folds) for each in scores])
        known = np.flatnonzero(np.isfinite(values).all(axis=0))
        middle = len(scores) // 2
        if self.apart:
            chosen = [int(np.argmax(values[:, k])) if k in known else middle for k in range(labels.shape[1])]
        else:
            best = int(np.argmax(values[:, known].mean(axis=1))) if len(known) else middle
            chosen = [best] * labels.shape[1]
        return chosen, [float(values[at, k]) for k, at in enumerate(chosen)]

    def _again(
        self, rows: FloatArray, labels: FloatArray, words: FloatArray | None, grid: Sequence[Any], chosen: list[int]
    ) -> dict[int, Candidate]:
        """Fit those candidates again that were chosen."""
        used = sorted(set(chosen))
        return dict(zip(used, self.candidates(rows, labels, words, [grid[at] for at in used]), strict=True))

    def _answer(
        self,
        names: Sequence[str],
        made: Sequence[Candidate] | Mapping[int, Candidate],
        chosen: list[int],
        aurocs: list[float],
        left_out: Mapping[str, str],
        *,
        refitted: bool,
    ) -> Adapted:
        tensors = dict(made[chosen[0]])
        for name in self.apart:
            tensors[name] = np.stack([made[at][name][k] for k, at in enumerate(chosen)])
        return Adapted(
            names,
            self.head,
            tensors,
            title=self.title,
            chosen=dict(zip(names, chosen, strict=True)),
            validation_auroc=dict(zip(names, aurocs, strict=True)),
            left_out=left_out,
            refitted=refitted,
        )


def _areas(scores: FloatArray, labels: FloatArray, folds: NDArray[np.int64]) -> list[float]:
    """Return the AUROC of each finding over the pairs of rows within a fold, all folds pooled; NaN without any.

    Scores of two folds are of two fits: one whose training happened to have more positives scores everybody higher, and
    has fewer positives left to score. Pairs across folds would count that against whatever is weakly fitted.
    """
    found = []
    for k in range(labels.shape[1]):
        won = pairs = 0.0
        for fold in np.unique(folds):
            known = (folds == fold) & np.isfinite(labels[:, k])
            positives = int((labels[known, k] == 1).sum())
            count = positives * (int(known.sum()) - positives)
            won += count * auroc(labels[known, k], scores[known, k]) if count else 0.0
            pairs += count
        found.append(won / pairs if pairs else float("nan"))
    return found


def both_classes(table: ProbeTable) -> tuple[list[str], FloatArray, dict[str, str]]:
    """Return the findings with both classes, their labels (N, K), and why the others are left out."""
    names: list[str] = []
    left_out: dict[str, str] = {}
    for name, values in table.labels.items():
        there = {value for value in (0.0, 1.0) if (np.asarray(values) == value).any()}
        if len(there) == 2:
            names.append(name)
        else:
            left_out[name] = "no_negatives" if 1.0 in there else "no_positives"
    if not names:
        raise DataError("No finding has both classes among the training rows: give more patients or other labels.")
    return names, _labels(table, names), left_out


def notes_of(none: str, left_out: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence of each finding that was left out.

    Example:
        >>> notes_of("No probe of", {"mass": "no_positives"})
        ('No probe of mass: no positives in training.',)
    """
    return tuple(f"{none} {label}: {reason.replace('_', ' ')} in training." for label, reason in left_out.items())


def _labels(table: ProbeTable, names: Sequence[str]) -> FloatArray:
    values = np.stack([np.asarray(table.labels[name], dtype=np.float64) for name in names], axis=1)
    return np.where(np.isin(values, (0.0, 1.0)), values, np.nan)


def classes_of(labels: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return (known, present among the known) of one finding's labels (N,); None where a class is missing.

    Example:
        >>> known, present = classes_of(np.array([1.0, np.nan, 0.0]))
        >>> known.tolist(), present.tolist(), classes_of(np.array([1.0, np.nan]))
        ([True, False, True], [True, False], None)
    """
    known = np.isfinite(labels)
    present = labels[known] == 1
    return (known, present) if present.any() and not present.all() else None


def head_with(head: str, tensors: Candidate) -> Head:
    """Return a head in float64 that has these tensors and reads ``pooled``."""
    spec = {"name": head, **_sizes(tensors)}
    own: Head = build("models/heads", spec, where="adapter", given={"width": width_of(tensors)})
    own.double().load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in tensors.items()})
    return own


def applied(head: str, tensors: Candidate, rows: FloatArray) -> FloatArray:
    """Return (N, K) of a head with these tensors over rows (N, D), in float64, some rows at a time."""
    own = head_with(head, tensors)
    with torch.inference_mode():
        parts = [
            own(Encoded(owner=torch.arange(len(part)), pooled=part), "logits")["logits"]
            for part in torch.from_numpy(rows).split(_ROWS)
        ]
        return torch.cat(parts).numpy()


def width_of(tensors: Candidate) -> int:
    """Return D of the features that a head with these tensors reads."""
    return int(tensors["output.weight"].shape[1])


def _sizes(tensors: Candidate) -> dict[str, int]:
    """Return the options of a head that its tensors fix."""
    sizes = {"classes": len(tensors["output.weight"])}
    if "keys" in tensors:
        sizes["rows"] = len(tensors["keys"])
    if "down.weight" in tensors:
        sizes["hidden"] = len(tensors["down.weight"])
    return sizes
