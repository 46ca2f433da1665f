"""Recall of stated relations by hand, with and without boxes, and the control that knows only how often."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medvlp.answers.relations import Relations as Answered
from medvlp.core.predictions import Predictions, RelationSet
from medvlp.data.manifest import Manifest
from medvlp.measures import point_values
from medvlp.measures.relations import Relations, prior_of, with_prior

ENTITIES = ("effusion", "nodule", "left_pleural_space", "right_pleural_space", "left_upper_lobe")
LEFT = ("effusion", "located_at", "left_pleural_space")
RIGHT = ("effusion", "located_at", "right_pleural_space")
NODULE = ("nodule", "located_at", "left_upper_lobe")
REPORTS = [
    "Left pleural effusion. Nodule in the left upper lobe.",
    "Bilateral pleural effusions.",
    "No effusion.",
    None,
]


def found(*rows: tuple[tuple[str, str, str], float, list[float]]) -> RelationSet:
    boxes = np.array([[*box, *box] for _, _, box in rows], float).reshape(-1, 8)
    scores = np.array([score for _, score, _ in rows])
    return RelationSet(boxes, scores, scores, tuple(row[0] for row in rows), ENTITIES, ("located_at",))


SETS = (
    found((RIGHT, 0.9, [0, 0, 9, 9]), (LEFT, 0.8, [0, 0, 10, 10]), (NODULE, 0.1, [5, 5, 6, 6])),
    found((LEFT, 0.9, [50, 50, 60, 60])),
    found((LEFT, 0.9, [0, 0, 1, 1])),
    found((NODULE, 0.9, [0, 0, 1, 1])),
)


def cohort(**columns: list[Any]) -> Manifest:
    ids = list("abcd")
    named = {"id": ids, "image": [f"{i}.png" for i in ids], "id.patient": ids, "text": REPORTS}
    return Manifest.of({**named, **columns}, root=Path())


DRAWN = {
    "boxes.effusion": [[[0, 0, 10, 10]], [[0, 0, 10, 10]], None, None],
    "boxes.nodule": [[[40, 40, 50, 50]], None, None, None],
}


@pytest.mark.parametrize(
    ("k", "iou", "each"),
    [
        (1, 0.0, [0.0, 0.5]),  # a: its first is wrong; b: one of two sides
        (2, 0.0, [0.5, 0.5]),
        (3, 0.0, [1.0, 0.5]),
        (3, 0.5, [0.5, 0.0]),  # the nodule's box and b's are beside; places have no boxes and ask for none
    ],
)
def test_recall_by_hand_over_pictures_that_state_something(k: int, iou: float, each: list[float]) -> None:
    measure = Relations(k=(k,), iou=(iou,))
    values = measure.values(Predictions(tuple("abcd"), relations=SETS), cohort(**DRAWN))
    assert values == {"recall": pytest.approx(np.mean(each)), "mean_recall": pytest.approx(np.mean(each))}


def test_mean_recall_is_of_the_pictures_that_state_a_predicate() -> None:
    """The first picture states where, the second of what: one is found and the other is not (Tang et al. 2019)."""
    truth = [[LEFT], [("effusion", "part_of", "nodule")]]
    table = Relations()._table(SETS[:2], truth, cohort().take([0, 1]), 5, 0.0)
    assert np.array_equal(table, [[1, 1, np.nan], [0, np.nan, 0]], equal_nan=True)


def test_an_answer_that_never_names_a_finding_misses_it() -> None:
    """The words are all that might have been told, not those that were."""
    only = tuple(found((LEFT, 0.9, [0, 0, 10, 10])) for _ in range(4))
    values = Relations(k=(5,), iou=(0.0,)).values(Predictions(tuple("abcd"), relations=only), cohort())
    assert values["recall"] == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_the_prior_is_the_frequency_of_what_was_stated_of_a_subject() -> None:
    truth = [[LEFT, NODULE], [LEFT, RIGHT], [LEFT], []]
    prior = prior_of(truth)
    assert prior["effusion"] == [(1.0, LEFT), (pytest.approx(1 / 3), RIGHT)]
    made = with_prior(SETS[0], prior)
    assert made.triplets == (LEFT, RIGHT, NODULE)
    assert made.scores.tolist() == pytest.approx([0.9, 0.3, 0.1])  # the surest effusion is that of the first triplet
    assert made.boxes[0, :4].tolist() == [0, 0, 9, 9]
    assert made.boxes[1, 4:].tolist() == [0, 0, 9, 9]  # the box that was found of the right side
    assert with_prior(SETS[0], {}).triplets == ()


def test_it_chooses_the_best_of_a_run() -> None:
    answer = Answered(entities=list(ENTITIES), predicates=["located_at"])
    values = point_values("relations", answer, Predictions(tuple("abcd"), relations=SETS), cohort())
    assert values["relations/recall"] == pytest.approx(0.75)
    assert Relations().values(Predictions(("a",), relations=SETS[:1]), cohort().without("text").take([0])) == {}


def test_an_evaluation_has_the_answer_the_control_and_their_paired_difference() -> None:
    answer = Answered(entities=list(ENTITIES), predicates=["located_at"])
    said, judged = Predictions(tuple("abcd"), relations=SETS), cohort(**DRAWN)
    evaluation: Any = SimpleNamespace(
        knows_patients=True,
        options=SimpleNamespace(split="test"),
        judged=SimpleNamespace(manifest=judged),
        splits=frozenset({"train", "test"}),
        prepared=lambda split: SimpleNamespace(manifest=judged),
        giving=lambda part: [("relations", answer, said)],
        facts={"seed": 0, "resamples": 20, "split": "test"},
    )
    own, control = Relations(k=(2,), iou=(0.0, 0.5)).run(evaluation)
    assert (own.name, control.name, control.role) == ("relations", "relations_prior", "control")
    # The effusions of this training are twice left and once right: of a the control finds the left one, of b too.
    assert own.find("recall@2", "all").value == pytest.approx(0.5)
    assert control.find("recall@2", "all").value == pytest.approx((0.5 + 1.0) / 2)
    assert own.find("recall_difference@2", "prior").value == pytest.approx(0.5 - 0.75)
    # Of the two first triplets of a one is stated, and its box is the drawn one; that of b lies beside.
    overlap = own.find("box_overlap@0.5", "effusion")
    assert (overlap.value, overlap.counts.n) == (pytest.approx((1 + 0) / 2), 2)
    assert [row.label for row in own.metrics if row.metric.startswith("box_overlap")] == [
        "effusion"
    ]  # found, and drawn
    assert own.cases is not None
    assert own.cases["stated"].tolist() == [2, 2, 0, 0]
