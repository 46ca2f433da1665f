"""Boxes in the file's pixels, surest first, over a threshold; the weaker of two that overlap dropped where asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvlp.answers.boxes import Boxes
from medvlp.core.answers import Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.registry import build
from medvlp.core.sample import ImageRecord, Sample
from medvlp.core.table import FeatureTable
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.build import build_model
from tests.models.words import VISION


@pytest.fixture
def model() -> TowerModel:
    made = build_model({"name": "vision", "vision": VISION}, tokenizer=None, seed=2)
    options = {"classes": 2, "queries": 6, "width": 16, "layers": 2, "heads": 2, "feedforward": 16}
    plan = Plan.of(keys("image/boxes", "image/boxes_logits"))
    assert isinstance(made, TowerModel)
    made.mount({"boxes": HeadSpec("box_queries", options, keep=True)}, plan)
    return made


RECORD = ImageRecord(
    seed=0, box=(0.0, -50.0, 200.0, 150.0), source=(100, 200)
)  # a file of 200 x 100 pixels in a square view


def answer(model: TowerModel, asked: Boxes, *samples: Sample, findings: tuple[str, ...] = ()) -> Any:
    said = Ask(findings=findings)
    return asked.answer(Rows(FeatureTable([s.id for s in samples], {}), samples), said, asked.begin(model, said))


def test_boxes_are_those_of_the_queries_in_the_pixels_of_the_file(model: TowerModel) -> None:
    pixels = torch.rand(1, 32, 32)
    found = answer(
        model, Boxes(labels=["a", "b"], threshold=0.0), Sample("s", {"image": pixels}, {"image": RECORD})
    ).boxes[0]
    from medvlp.core.sample import Batch

    model.eval()
    with torch.no_grad():
        rows = model(Batch.of({"image": pixels[None]}), Plan.of(keys("image/boxes", "image/boxes_logits")))["image"]
    boxes, scores = rows.part("boxes")[0], rows.part("boxes_logits")[0].softmax(-1)[:, :2]
    assert len(found.scores) == 6
    assert list(found.scores) == sorted(found.scores, reverse=True)
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        query = int((scores.max(1).values - score).abs().argmin())
        assert score == pytest.approx(float(scores[query].max()))
        assert label == "ab"[int(scores[query].argmax())]
        x, y, w, h = boxes[query].double().tolist()
        edges = (x - w / 2) * 200, (y - h / 2) * 200 - 50, (x + w / 2) * 200, (y + h / 2) * 200 - 50
        cut = [min(max(edge, 0), side) for edge, side in zip(edges, (200, 100, 200, 100), strict=True)]
        assert box.tolist() == pytest.approx(cut, abs=1e-3)


def test_weak_boxes_are_not_told_and_only_labels_that_are_asked_for(model: TowerModel) -> None:
    sample = Sample("s", {"image": torch.rand(1, 32, 32)}, {"image": RECORD})
    every = answer(model, Boxes(labels=["a", "b"], threshold=0.0), sample).boxes[0]
    limit = float(every.scores[2])
    told = answer(model, Boxes(labels=["a", "b"], threshold=limit), sample, Sample("t", {}))
    assert told.boxes[0].scores.tolist() == every.scores[:2].tolist()
    assert (len(told.boxes[1].scores), told.boxes[1].boxes.shape) == (0, (0, 4))
    one = answer(model, Boxes(labels=["a", "b"], threshold=0.0), sample, findings=(every.labels[0],)).boxes[0]
    assert set(one.labels) == {every.labels[0]}
    with pytest.raises(ConfigError, match="This model was not taught 'c'"):
        answer(model, Boxes(labels=["a", "b"]), sample, findings=("c",))


def test_the_weaker_of_two_boxes_of_one_label_that_overlap_is_dropped() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.52, 0.5, 0.4, 0.4], [0.52, 0.5, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1]])
    logits = torch.tensor([[3.0, 0, 0], [2.0, 0, 0], [0, 2.0, 0], [2.5, 0, 0]])
    _, scores, classes = Boxes(labels=["a", "b"], nms=0.5)._chosen(boxes, logits, (10, 10))
    expected = logits.softmax(-1)[:, :2].max(-1).values
    torch.testing.assert_close(scores, expected[[0, 3, 2]])
    assert classes.tolist() == [0, 0, 1]


def test_an_answer_is_built_again_from_what_it_releases_and_a_model_without_its_head_is_refused(
    model: TowerModel,
) -> None:
    asked = Boxes(labels=["a", "b"], nms=0.4)
    assert build("answers", {"name": "boxes", **asked.released()}, where="bundle").released() == asked.released()
    asked.check(model)
    with pytest.raises(ConfigError, match="Need 'image/nodules' cannot be computed"):
        Boxes(labels=["a"], part="nodules").check(model)
