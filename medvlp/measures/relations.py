"""Relations of a picture against stated ones: recall among the surest, beside the most frequent relation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from medvlp.core.predictions import Predictions, RelationSet
from medvlp.core.sample import Sample
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import Records
from medvlp.data.views.relations import Relations as Reader
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.grounding.box_ap import box_iou
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.metric_row import mean_metric
from medvlp.evaluation.results import Result
from medvlp.measures._truth import drawn_in_file
from medvlp.text.relations import PRESENT

Words = tuple[str, str, str]
Prior = dict[str, list[tuple[float, Words]]]


class Relations(Measure):
    """Recall@K and mean recall@K: which stated triplets are among a picture's K surest.

    A triplet is found if all three words are right and, where an overlap is asked for, each of its two boxes overlaps a
    drawn box of its entity that much (intersection over union); an entity of which the picture has no box asks for
    none. Recall is the mean over pictures that state something; mean recall that of the predicates' own recalls, so
    that a rare one counts as much (Zellers et al. 2018; Tang et al. 2019).

    The control keeps the model's own subjects and their scores and gives each the relations that were most frequent of
    it in training: who does not beat it has learnt how often, not what is seen. The difference is paired.

    Box overlap is that of an entity's boxes alone, of stated triplets among the first K, by the first overlap above 0.

    Args:
        k: numbers of triplets.
        iou: overlaps; 0 asks for the words alone.
        file: statements by study, see the view `relations`; None: the report's.

    Note:
        What a report does not mention may be there: precision is not measured, and recall is of mentions.

    Example:
        >>> Relations().points
        ('recall', 'mean_recall')
    """

    reads: ClassVar[frozenset[str]] = frozenset({"relations"})
    points: ClassVar[tuple[str, ...]] = ("recall", "mean_recall")
    order: ClassVar[int] = 17

    def __init__(
        self,
        *,
        k: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (5, 1, 20),
        iou: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (0.0, 0.5),
        file: str | None = None,
    ) -> None:
        self.k, self.iou, self.file = k, iou, file

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        """Return ``recall`` and ``mean_recall`` at the first K and overlap, of the words that the answer used."""
        sets = said.relations or ()
        if not sets or ("text" not in cohort and self.file is None):
            return {}
        truth = self._truth(cohort, sets[0].entities, sets[0].predicates)
        table = self._table(sets, truth, cohort, self.k[0], self.iou[0])
        if not np.isfinite(table).any():
            return {}
        means = [np.nanmean(column) for column in table[:, 1:].T if np.isfinite(column).any()]
        return {"recall": float(np.nanmean(table[:, 0])), "mean_recall": float(np.nanmean(means))}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield one result for each answer that relates, and the control, where the data states relations."""
        if not evaluation.knows_patients:
            return
        split, manifest = evaluation.options.split, evaluation.judged.manifest
        for name, _, said in evaluation.giving("relations"):
            sets = said.relations or ()
            words = (sets[0].entities, sets[0].predicates) if sets else ((), ())
            truth = self._truth(manifest, *words)
            if not any(truth):
                continue
            by = "" if name == "relations" else f" ({name})"
            prior = self._prior(evaluation, words)
            others = None if prior is None else [with_prior(each, prior) for each in sets]
            rows: dict[bool, list[Any]] = {True: [], False: []}
            facts: dict[str, Any] = {"patients": manifest.column("id.patient").tolist(), **evaluation.facts}
            for k in self.k:
                for iou in self.iou:
                    at = f"@{k}" + (f" iou {iou:g}" if iou else "")
                    own = self._table(sets, truth, manifest, k, iou)
                    rows[True] += _rows(at, own, facts)
                    if others is not None:
                        other = self._table(others, truth, manifest, k, iou)
                        rows[False] += _rows(at, other, facts)
                        rows[True].append(mean_metric(f"recall_difference{at}", "prior", (own - other)[:, 0], **facts))
            rows[True] += self._boxed(sets, truth, manifest, facts)
            cases = {"id": manifest.column("id"), "patient_id": facts["patients"], "stated": [len(t) for t in truth]}
            for control, metrics in ((False, rows[True]), (True, rows[False])):
                if metrics:
                    table = self._table(others if control and others else sets, truth, manifest, self.k[0], self.iou[0])
                    yield Result(
                        metrics=tuple(metrics),
                        cases=pd.DataFrame({**cases, "recall": table[:, 0]}).assign(split=split),
                        name=f"{name}_prior" if control else name,
                        title=("Control: the most frequent relations of a finding" if control else "Stated relations")
                        + by,
                        role="control" if control else "model",
                    )

    def _truth(self, cohort: Manifest, entities: Sequence[str], predicates: Sequence[str]) -> list[list[Words]]:
        reader = Reader(labels=tuple(entities), predicates=tuple(predicates), file=self.file)
        records, found = Records(cohort), []
        for index in range(len(cohort)):
            matrix = reader.matrix(records.sample(index, paths=False))
            at = [] if matrix is None else (matrix == PRESENT).nonzero().tolist()
            found.append([(entities[s], predicates[p], entities[o]) for s, p, o in at])
        return found

    def _table(
        self, sets: Iterable[RelationSet], truth: Sequence[Sequence[Words]], cohort: Manifest, k: int, iou: float
    ) -> np.ndarray:
        """Return (N, 1 + P): recall of each picture, and of each of its predicates, NaN where it states none."""
        names = sorted({triplet[1] for some in truth for triplet in some})
        table, records = np.full((len(truth), 1 + len(names)), np.nan), Records(cohort)
        for index, (some, each) in enumerate(zip(truth, sets, strict=True)):
            if some:
                sample = records.sample(index, paths=False) if iou else None
                hits = np.array([recalled(each, triplet, k=k, iou=iou, sample=sample) for triplet in some], float)
                table[index, 0] = hits.mean()
                for place, name in enumerate(names, 1):
                    own = [triplet[1] == name for triplet in some]
                    table[index, place] = hits[own].mean() if any(own) else np.nan
        return table

    def _boxed(
        self, sets: Sequence[RelationSet], truth: Sequence[Sequence[Words]], cohort: Manifest, facts: dict[str, Any]
    ) -> Iterator[Any]:
        """Yield for each entity how often its box overlaps a drawn one, in the stated triplets that were found."""
        names = [name for name in sets[0].entities if f"boxes.{name}" in cohort]
        iou, k, records = next((each for each in self.iou if each), 0.0), self.k[0], Records(cohort)
        hits = np.full((len(truth), len(names)), np.nan)
        for index, (some, each) in enumerate(zip(truth, sets, strict=True)) if iou else ():
            sample, first = records.sample(index, paths=False), each.triplets[:k]
            pairs = [(words, each.boxes[first.index(words)].reshape(2, 4)) for words in some if words in first]
            for column, name in enumerate(names):
                drawn = drawn_in_file(sample, "boxes", name)
                own = [boxes[side] for words, boxes in pairs for side in (0, 1) if words[2 * side] == name]
                if own and drawn is not None and len(drawn):
                    hits[index, column] = np.mean([max(box_iou(box, one) for one in drawn) >= iou for box in own])
        for name, column in zip(names, hits.T, strict=True):
            if np.isfinite(column).any():
                yield mean_metric(f"box_overlap@{iou:g}", name, column, **facts)

    def _prior(self, evaluation: Evaluation, words: tuple[Sequence[str], Sequence[str]]) -> Prior | None:
        if "train" not in evaluation.splits - {evaluation.options.split}:
            return None
        return prior_of(self._truth(evaluation.prepared("train").manifest, *words))


def _rows(at: str, table: np.ndarray, facts: dict[str, Any]) -> list[Any]:
    return [
        mean_metric(f"recall{at}", "all", table[:, 0], **facts),
        mean_metric(f"mean_recall{at}", "macro", table[:, 1:], **facts),
    ]


def recalled(found: RelationSet, triplet: Words, *, k: int, iou: float, sample: Sample | None) -> bool:
    """Whether a triplet is among the first `k` of a picture, with boxes that overlap drawn ones where `iou` is above 0.

    Example:
        >>> found = RelationSet(np.zeros((1, 8)), np.ones(1), np.ones(1), (("effusion", "located_at", "pleura"),))
        >>> recalled(found, ("effusion", "located_at", "pleura"), k=1, iou=0.0, sample=None)
        True
    """
    if triplet not in found.triplets[:k]:
        return False
    if not iou or sample is None:
        return True
    boxes = found.boxes[found.triplets.index(triplet)].reshape(2, 4)
    drawn = (drawn_in_file(sample, "boxes", triplet[at]) for at in (0, 2))
    return all(
        some is None or not len(some) or max(box_iou(box, one) for one in some) >= iou
        for box, some in zip(boxes, drawn, strict=True)
    )


def prior_of(truth: Iterable[Sequence[Words]]) -> Prior:
    """Return how often each relation of a subject was stated in the pictures that state one of it, most first.

    Example:
        >>> prior_of([[("nodule", "located_at", "left")], [("nodule", "located_at", "left")]])["nodule"][0][0]
        1.0
    """
    pictures = [list(dict.fromkeys(some)) for some in truth]
    count = Counter(triplet for some in pictures for triplet in some)
    of = Counter(subject for some in pictures for subject in {triplet[0] for triplet in some})
    found: Prior = {}
    for triplet, number in sorted(count.items(), key=lambda each: (-each[1], each[0])):
        found.setdefault(triplet[0], []).append((number / of[triplet[0]], triplet))
    return found


def with_prior(found: RelationSet, prior: Prior) -> RelationSet:
    """Return the same subjects with the relations that were most frequent of them, by score times frequency.

    A subject keeps its surest box; an object has the surest box that was found of it anywhere, or none (NaN).
    """
    subjects: dict[str, tuple[float, np.ndarray]] = {}
    objects: dict[str, np.ndarray] = {}
    for (subject, _, other), score, box in zip(found.triplets, found.subject_scores, found.boxes, strict=True):
        if subject not in subjects or score > subjects[subject][0]:
            subjects[subject] = float(score), box[:4]
        objects.setdefault(other, box[4:])
    none = np.full(4, np.nan)
    made = [
        (score * share, score, triplet, np.concatenate([box, objects.get(triplet[2], none)]))
        for subject, (score, box) in subjects.items()
        for share, triplet in prior.get(subject, ())
    ]
    made.sort(key=lambda each: -each[0])
    scores, own, triplets, boxes = zip(*made, strict=True) if made else ((), (), (), ())
    numbers = np.array(boxes).reshape(-1, 8), np.array(scores), np.array(own)
    return RelationSet(*numbers, tuple(triplets), found.entities, found.predicates)
