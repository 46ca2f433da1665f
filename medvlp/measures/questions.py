"""Answers to questions about a picture, against the answers of a data set."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd

from medvlp.core.answers import Asks
from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import mean_metric
from medvlp.evaluation.results import Result

_TRUTH = "text.answer"


class Questions(Measure):
    """Exact match of answers (case, articles and punctuation aside), of closed and open questions apart.

    The column ``answer_type`` tells which are closed (VQA-RAD, Lau et al. 2018, has choices such as "left" among them),
    where it does not a true answer of yes or no. Open ones are also measured by the F1 of words, as SQuAD does
    (Rajpurkar et al. 2016). The control answers each kind of question with the most frequent training answer; the
    differences of accuracy from it, of all questions (``usual``) and of each kind (``usual/closed``), are paired.

    Example:
        >>> root = __import__("pathlib").Path(".")
        >>> cohort = Manifest.of({"id": ["a"], "text.question": ["Effusion?"], "text.answer": ["Yes"]}, root=root)
        >>> Questions().values(Predictions(("a",), text=("yes.",)), cohort)
        {'accuracy': 1.0, 'accuracy/closed': 1.0}
    """

    reads: ClassVar[frozenset[str]] = frozenset({"text"})
    asks: ClassVar[Asks | None] = "question"
    points: ClassVar[tuple[str, ...]] = ("accuracy",)
    order: ClassVar[int] = 45

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return ``accuracy``, and of closed and open questions where there are some."""
        if _TRUTH not in cohort or said.text is None:
            return {}
        table = _table(cohort, list(said.text))
        parts = {"": table, "/closed": table[table["closed"]], "/open": table[~table["closed"]]}
        return {f"accuracy{name}": float(part["right"].mean()) for name, part in parts.items() if len(part)}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the answers to questions, and the most frequent answers; nothing where no true answer is known."""
        manifest = evaluation.judged.manifest
        if _TRUTH not in manifest or not evaluation.knows_patients:
            return
        if manifest.arrow(_TRUTH).null_count == len(manifest):
            return
        for name, answer, said in evaluation.giving("text"):
            if not self.suits(answer) or said.text is None:
                continue
            table, guessed = _table(manifest, list(said.text)), None
            if "train" in evaluation.splits - {evaluation.options.split}:
                usual, words = _usual(evaluation.manifest.split_of("train")), [""] * len(manifest)
                there, _, kinds = _asked(manifest)
                for row, closed in zip(there.tolist(), kinds, strict=True):
                    words[row] = usual.get(closed, "")
                guessed = _table(manifest, words)
            yield _result(evaluation, name, "Questions", table, guessed)
            if guessed is not None:
                made = _result(evaluation, f"{name}_usual", "Control: most frequent answers", guessed, None)
                yield replace(made, role="control")


def plain_words(text: str) -> str:
    """Return an answer without case, punctuation, articles and superfluous space.

    What consists of nothing else keeps it: the choice "A" and the sign "+" are answers.

    Example:
        >>> plain_words("The Left lung.")
        'left lung'
    """
    words = re.sub(r"[^\w\s]", " ", text.lower()).split() or text.lower().split()
    return " ".join([word for word in words if word not in ("a", "an", "the")] or words)


def token_f1(one: str, other: str) -> float:
    """Return the F1 of the words that two plain answers share.

    Example:
        >>> round(token_f1("left lung", "left lower lung"), 2)
        0.8
    """
    ours, theirs = Counter(one.split()), Counter(other.split())
    shared = sum((ours & theirs).values())
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def _table(cohort: Manifest, said: list[str]) -> pd.DataFrame:
    """Return one row a question that has an answer."""
    there, truths, closed = _asked(cohort)
    plain = [(truth, plain_words(said[i])) for i, truth in zip(there, truths, strict=True)]
    return pd.DataFrame(
        {
            "id": cohort.column("id")[there],
            "patient_id": cohort.column("id.patient")[there] if "id.patient" in cohort else "",
            "closed": closed,
            "right": [float(one == other) for one, other in plain],
            "token_f1": [token_f1(one, other) for one, other in plain],
        }
    )


def _asked(cohort: Manifest) -> tuple[np.ndarray, list[str], list[bool]]:
    """Return which questions have an answer, that answer, and whether it is of a closed question."""
    there = np.flatnonzero([isinstance(text, str) and bool(text.strip()) for text in cohort.column(_TRUTH)])
    truths = [plain_words(text) for text in cohort.column(_TRUTH)[there]]
    kinds = cohort.column("answer_type")[there] if "answer_type" in cohort else [None] * len(there)
    known = {"CLOSED": True, "OPEN": False}
    closed = [known.get(str(kind).upper(), truth in ("yes", "no")) for kind, truth in zip(kinds, truths, strict=True)]
    return there, truths, closed


def _usual(train: Manifest) -> dict[bool, str]:
    """Return the most frequent training answer of closed and of open questions."""
    _, truths, closed = _asked(train)
    kinds = {kind: Counter(t for t, own in zip(truths, closed, strict=True) if own == kind) for kind in (True, False)}
    return {closed: counted.most_common(1)[0][0] for closed, counted in kinds.items() if counted}


def _result(evaluation: Evaluation, name: str, title: str, table: pd.DataFrame, other: pd.DataFrame | None) -> Result:
    rows = []
    for label, part in (("all", table), ("closed", table[table["closed"]]), ("open", table[~table["closed"]])):
        for metric, column in (("accuracy", "right"), ("token_f1", "token_f1")):
            if len(part) and (metric == "accuracy" or label == "open"):
                values, patients = part[column].to_numpy(dtype=float), part["patient_id"].astype(str).tolist()
                rows.append(mean_metric(metric, label, values, patients, **evaluation.facts))
                if other is not None and metric == "accuracy":
                    less, of = values - other[column].to_numpy()[part.index], "usual" + f"/{label}" * (label != "all")
                    rows.append(mean_metric("accuracy_difference", of, less, patients, **evaluation.facts))
    return Result(name=name, title=title, metrics=tuple(rows), cases=table.assign(split=evaluation.options.split))
