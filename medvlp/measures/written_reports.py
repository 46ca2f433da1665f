"""Written reports, by the findings that our own reader finds in them, beside reports that need no picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from medvlp.core.answers import Asks
from medvlp.core.predictions import Predictions
from medvlp.core.randomness import numpy_generator
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import mean_metric
from medvlp.evaluation.report_text import evaluate_reports, f1_difference
from medvlp.evaluation.results import Metric, Result
from medvlp.features.nearest import nearest
from medvlp.statistics.metrics import FloatArray
from medvlp.text.labels import label_report
from medvlp.text.mentions import sentences_of_image
from medvlp.text.ontology import vocabulary

_BLOCK_ROWS = 1024


class WrittenReports(Measure):
    """Micro F1 of findings between written report and the radiologist's, both read by rules (`evaluate_reports`).

    Three controls say what a report is worth that looked at no picture, or at another one: the training report that
    agrees best with the validation reports, given to everybody; the report of the training picture with the nearest
    features; and the model's own reports, each given to another patient. The model's result holds the paired
    differences from them, with intervals over patients. Each result also has ``rouge_l``, words in common with the
    radiologist's findings and impression, and where the model compares texts with pictures ``recall@5``: reports whose
    own picture is among the five that are nearest to their words (`medvlp.measures.written_reports`). A picture of
    which nothing was written counts as one of which nothing was said.

    Args:
        vocabulary: findings that count, see `medvlp.text.ontology`.
        controls: whether they are made; they need reports of other splits.

    Example:
        >>> cohort = Manifest.of({"id": ["a"], "text": ["Left effusion."]}, root=__import__("pathlib").Path("."))
        >>> WrittenReports().values(Predictions(("a",), text=("Effusion on the left.",)), cohort)
        {'f1': 1.0}
    """

    reads: ClassVar[frozenset[str]] = frozenset({"text"})
    asks: ClassVar[Asks | None] = "nothing"
    points: ClassVar[tuple[str, ...]] = ("f1",)
    order: ClassVar[int] = 40

    def __init__(self, *, vocabulary: str = "chexpert14", controls: bool = True) -> None:
        self.vocabulary = vocabulary
        self.controls = controls

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return ``f1``, over rows that a radiologist reported; what is left empty says nothing."""
        if "text" not in cohort or said.text is None:
            return {}
        rows = _reported(cohort)
        truth = self._present([str(text) for text in cohort.column("text")[rows]])
        wrote = self._present([said.text[row] for row in rows])
        total = truth.sum() + wrote.sum()
        return {"f1": float(2 * (truth & wrote).sum() / total)} if total else {}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield the reports of each answer that writes unasked, and the controls."""
        if "text" not in evaluation.manifest or not evaluation.knows_patients:
            return
        for name, answer, said in evaluation.giving("text"):
            if self.suits(answer) and said.text is not None:
                yield from self._result(evaluation, name, said.text)

    def _result(self, evaluation: Evaluation, name: str, written: Sequence[str]) -> Iterator[Result]:
        manifest = evaluation.judged.manifest
        rows = _reported(manifest)
        if evaluation.sees:  # nothing is written of a row without a picture
            table = evaluation.judged.table[evaluation.features]
            rows = np.array([row for row in rows if written[row].strip() or np.isfinite(table[row]).all()], dtype=int)
        if not len(rows):
            return
        references = [str(text) for text in manifest.column("text")[rows]]
        patients = manifest.column("id.patient")[rows].tolist()
        wrote = [written[row] for row in rows]
        measured = partial(evaluate_reports, references, patients=patients, wanted=self.vocabulary, **evaluation.facts)

        def whole(texts: Sequence[str], name: str, title: str) -> Result:
            result = measured(written=texts, name=name, title=title)
            more = _beside(evaluation, rows, references, texts, patients)
            return replace(result, metrics=(*result.metrics, *more))

        own = whole(wrote, name, "Written reports, read by rules")
        controls = dict(self._controls(evaluation, rows, wrote, patients)) if self.controls else {}
        made = {
            key: replace(whole(texts, f"{name}_{key}", f"Control: {title}"), role="control")
            for key, (title, texts) in controls.items()
        }
        rows_of = (
            f1_difference(own, control, patients, label=key, **evaluation.drawn) for key, control in made.items()
        )
        yield replace(own, metrics=(*own.metrics, *rows_of))
        yield from made.values()

    def _controls(
        self, evaluation: Evaluation, rows: np.ndarray, wrote: Sequence[str], patients: Sequence[str]
    ) -> Iterator[tuple[str, tuple[str, list[str]]]]:
        if len(set(patients)) > 1:
            order = _other_patients(patients, seed=evaluation.options.seed)
            yield "shuffled", ("reports of other patients' pictures", [wrote[other] for other in order])
        if "train" not in evaluation.splits - {evaluation.options.split}:
            return
        train = evaluation.part("train")
        texts = _texts(train.manifest)
        has_text = np.array([bool(text.strip()) for text in texts])
        if evaluation.validation is not None and has_text.any():
            chosen = [text for text in _texts(evaluation.validation.manifest) if text.strip()]
            if chosen:
                yield "constant", ("one report for everybody", [self._constant(texts, chosen)] * len(rows))
        if evaluation.sees:
            seen, known = (part.table[evaluation.features] for part in (evaluation.judged, train))
            usable = np.flatnonzero(np.isfinite(known).all(axis=1) & has_text)
            if len(usable):
                found = [texts[usable[at]] for at in _nearest(seen[rows], known[usable])]
                yield "nearest", ("report of the nearest training picture", found)

    def _constant(self, texts: Sequence[str], references: Sequence[str]) -> str:
        """Return the training report with the highest micro F1 against all validation reports."""
        distinct = list(dict.fromkeys(text for text in texts if text.strip()))
        own = self._present(distinct).astype(float)
        truth = self._present(references).astype(float)
        agreed = own @ truth.sum(axis=0)
        f1 = 2 * agreed / np.maximum(truth.sum() + len(truth) * own.sum(axis=1), 1)
        return distinct[int(f1.argmax())]

    def _present(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, K) bool, what each report says is present or may be."""
        chosen = vocabulary(self.vocabulary)
        labels = [label_report(text, chosen) for text in texts]
        return np.array([[each[label.key] in (1.0, -1.0) for label in chosen.labels] for each in labels], dtype=bool)


def _beside(
    evaluation: Evaluation, rows: np.ndarray, references: Sequence[str], texts: Sequence[str], patients: Sequence[str]
) -> Iterator[Metric]:
    """Yield what is measured of reports that are not read: words in common, and the pictures that they find."""
    # No picture tells a report's headers, history and technique, which a report of training has too.
    references, texts = ([" ".join(sentences_of_image(text)) or text for text in some] for some in (references, texts))
    common = np.array([rouge_l(one, other) for one, other in zip(references, texts, strict=True)])
    yield mean_metric("rouge_l", "reports", common, patients, **evaluation.facts)
    if evaluation.compares:
        pictures = evaluation.judged.table[evaluation.features][rows]
        found = finds_own(evaluation.model.embed_text(texts), pictures, patients, k=5)
        yield mean_metric("recall@5", "reports", found, patients, **evaluation.facts)


def _reported(manifest: Manifest) -> np.ndarray:
    return np.flatnonzero([bool(text.strip()) for text in _texts(manifest)])


def _texts(manifest: Manifest) -> list[str]:
    return [text if isinstance(text, str) else "" for text in manifest.column("text")]


def _nearest(seen: np.ndarray, known: np.ndarray) -> list[int]:
    rows, columns = (each / np.linalg.norm(each, axis=1, keepdims=True).clip(1e-12) for each in (seen, known))
    return nearest(torch.from_numpy(rows), torch.from_numpy(columns), 1).rows[:, 0].tolist()


def _other_patients(patients: Sequence[str], *, seed: int) -> list[int]:
    """Return for each row a row of another patient: patients in a random circle, each takes rows of the next."""
    names = list(dict.fromkeys(patients))
    order = [names[i] for i in numpy_generator(seed, 0, "other patients").permutation(len(names))]
    after = {one: order[(i + 1) % len(order)] for i, one in enumerate(order)}
    rows = {name: [i for i, patient in enumerate(patients) if patient == name] for name in names}
    place = {row: at for some in rows.values() for at, row in enumerate(some)}
    return [rows[after[patient]][place[row] % len(rows[after[patient]])] for row, patient in enumerate(patients)]


def rouge_l(reference: str, written: str) -> float:
    """Return ROUGE-L: the F1 of the longest common subsequence of words.

    P = LCS / words written, R = LCS / words of the reference, F = 2 P R / (P + R) (Lin 2004, eq. 2 to 4 with beta 1).

    Example:
        >>> rouge_l("small left pleural effusion", "left effusion")
        0.6666666666666666
    """
    one, other = (re.findall(r"\w+", text.lower()) for text in (reference, written))
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for i, each in enumerate(other):
            row.append(before[i] + 1 if word == each else max(before[i + 1], row[i]))
    return 2 * row[-1] / (len(one) + len(other)) if one and other else 0.0


def finds_own(reports: FloatArray, pictures: FloatArray, patients: Sequence[str], *, k: int) -> FloatArray:
    """Return (S,) 1 where a report's own picture is among the k nearest to it, 0 elsewhere.

    Other pictures of the same patient take no part; of pictures that are as near the own one comes last.

    Args:
        reports: (S, D) unit embeddings of written reports.
        pictures: (S, D) unit embeddings of their pictures.
        patients: (S,).
        k: how many are looked at.

    Example:
        >>> near = np.array([[1.0, 0.0], [1.0, 0.0]])
        >>> finds_own(near, np.array([[1.0, 0.0], [0.0, 1.0]]), ["p", "q"], k=1).tolist()
        [1.0, 0.0]
    """
    _, person = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    distinct, back = np.unique(pictures, axis=0, return_inverse=True)  # a product rounds equal columns by their place
    found = [np.zeros(0)]
    for start in range(0, len(reports), _BLOCK_ROWS):  # never all products at once
        rows = slice(start, start + _BLOCK_ROWS)
        scores = np.take(reports[rows] @ distinct.T, back.ravel(), axis=1)
        own = scores.diagonal(offset=start)[:, None]
        nearer = (scores >= own) & (person[rows, None] != person)
        found.append((nearer.sum(axis=1) < k).astype(float))
    return np.concatenate(found)
