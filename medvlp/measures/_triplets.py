"""Whether a triplet was found, and what who knows only frequencies would have found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from medvlp.core.predictions import RelationSet
from medvlp.core.sample import Sample
from medvlp.evaluation.grounding.box_ap import box_iou
from medvlp.measures._truth import drawn_in_file

Words = tuple[str, str, str]
Prior = dict[str, list[tuple[float, Words]]]


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
