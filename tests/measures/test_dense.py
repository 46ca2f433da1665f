"""Dice and average precision of a cohort, against loops by hand; what counts as a case and what does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medvlp.answers.boxes import Boxes
from medvlp.core.predictions import BoxSet, Mask, Predictions
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import runs_of
from medvlp.measures import point_values
from medvlp.measures.detection import Detection
from medvlp.measures.segmentation import Segmentation

IDS = tuple("abcde")


def cohort(**columns: list[Any]) -> Manifest:
    patients = {"id.patient": [f"p{name}" for name in IDS]}
    return Manifest.of({"id": list(IDS), "image": [f"{i}.png" for i in IDS], **patients, **columns}, root=Path())


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((10, 12), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_dice_is_that_of_the_drawn_cases_and_unknown_ones_count_nowhere() -> None:
    drawn = [rectangle(0, 0, 4, 4), rectangle(2, 2, 8, 6), None, rectangle(1, 1, 3, 3), None]
    said = [rectangle(0, 0, 4, 8), rectangle(3, 2, 9, 6), rectangle(0, 0, 2, 2), rectangle(5, 5, 6, 6), drawn[0]]
    runs = [None if mask is None else runs_of(mask) for mask in drawn]
    data = cohort(**{"mask.mass": runs, "label.mass": [1.0, 1.0, 0.0, 1.0, None]})  # c is known to be empty, e unknown
    masks = tuple({"mass": Mask.of(mask)} for mask in said if mask is not None)
    found = Segmentation().values(Predictions(IDS, masks=masks), data)
    by_hand = []
    for true, predicted in zip(drawn[:2] + drawn[3:4], said[:2] + said[3:4], strict=True):
        both = sum(bool(true[y, x] and predicted[y, x]) for y in range(10) for x in range(12))
        by_hand.append(2 * both / (true.sum() + predicted.sum()))
    assert found["dice/mass"] == pytest.approx(np.mean(by_hand))
    assert found["dice/macro"] == found["dice/mass"]
    table = Segmentation()._cases(Predictions(IDS, masks=masks), data)
    assert table["id"].tolist() == ["a", "b", "c", "d"]
    assert table["present"].tolist() == [True, True, False, True]


def boxes(*rows: tuple[float, float, float, float, float, str]) -> BoxSet:
    return BoxSet(
        np.array([row[:4] for row in rows]).reshape(-1, 4),
        np.array([row[4] for row in rows]),
        tuple(row[5] for row in rows),
    )


SAID = (
    boxes((0, 0, 10, 10, 0.9, "mass"), (0, 0, 10, 10, 0.8, "mass")),  # right; a second one of the same
    boxes((50, 50, 60, 60, 0.7, "mass")),  # beside it
    boxes((5, 5, 9, 9, 0.6, "mass")),  # nothing is there
    boxes((1, 0, 10, 10, 0.5, "mass")),  # right
    boxes((0, 0, 99, 99, 0.99, "mass")),  # nobody knows
)
TRUE: list[Any] = [[[0, 0, 10, 10]], [[0, 0, 10, 10]], [], [[0, 0, 10, 10]], None]


def test_average_precision_counts_false_boxes_of_cases_known_to_be_empty_and_none_of_unknown_ones() -> None:
    data = cohort(**{"boxes.mass": TRUE})
    found = Detection().values(Predictions(IDS, boxes=SAID), data)
    # In order of score: right, again, beside, none there, right; three are drawn.
    precisions = [1 / 1, 2 / 5]
    assert found["ap/mass"] == pytest.approx(sum(precisions) / 3)
    assert found["ap/macro"] == found["ap/mass"]


def test_the_overlap_that_chooses_a_checkpoint_is_the_one_that_is_asked_for() -> None:
    data, said = cohort(**{"boxes.mass": TRUE}), Predictions(IDS, boxes=SAID)
    options: dict[str, Any] = {"detection": {"iou": [0.95]}, "segmentation": None}
    found = point_values("boxes", Boxes(labels=["mass"]), said, data, options=options)
    assert found["boxes/ap/mass"] == Detection(iou=(0.95,)).values(said, data)["ap/mass"]
    assert found["boxes/ap/mass"] < Detection().values(said, data)["ap/mass"]


def test_findings_that_an_answer_does_not_name_are_no_miss_of_it() -> None:
    data = cohort(**{"boxes.mass": TRUE, "boxes.fracture": [[[0, 0, 5, 5]]] * 5})
    said = Predictions(IDS, boxes=SAID)
    answer = Boxes(labels=["mass"])
    found = point_values("boxes", answer, said, data)
    assert found == {
        f"boxes/{name}": value for name, value in Detection().values(said, data.without("boxes.fracture")).items()
    }
    assert found["boxes/ap/macro"] == found["boxes/ap/mass"]
    # A finding that it names and never tells is one.
    both = point_values("boxes", Boxes(labels=["mass", "fracture"]), said, data)
    assert both["boxes/ap/fracture"] == 0
    assert both["boxes/ap/macro"] == pytest.approx(found["boxes/ap/mass"] / 2)
    evaluation: Any = SimpleNamespace(
        knows_patients=True,
        model=SimpleNamespace(model=SimpleNamespace(vision_kind="image")),
        judged=SimpleNamespace(manifest=data),
        manifest=data,
        options=SimpleNamespace(split="test"),
        splits=frozenset({"test"}),
        giving=lambda part: [("boxes", answer, said)],
        drawn={"seed": 0, "resamples": 100},
        source={"recipe": "", "data": "", "synthetic": False},
    )
    (result,) = Detection(iou=(0.3,)).run(evaluation)
    assert [row.label for row in result.metrics] == ["mass", "macro"]
    assert result.find("ap@0.3", "macro").value == pytest.approx(found["boxes/ap/mass"])
