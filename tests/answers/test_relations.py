"""Triplets in the file's pixels, surest first, each once; exclusive predicates and yes-or-no ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medvlp.answers.relations import Relations
from medvlp.core.answers import Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.registry import build
from medvlp.core.sample import Batch, ImageRecord, Sample
from medvlp.core.table import FeatureTable
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from tests.models.words import VISION

WORDS: dict[str, Any] = {"entities": ["effusion", "heart"], "predicates": ["at", "by"]}
PARTS = ("", "_subjects", "_objects", "_predicates")
RECORD = ImageRecord(seed=0, box=(0.0, -50.0, 200.0, 150.0), source=(100, 200))  # 200 x 100 pixels in a square view


@pytest.fixture(scope="module")
def model() -> TowerModel:
    bank = Bank(
        "relations", ("effusion", "heart", "at", "by"), torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    )
    made = build_model({"name": "vision", "vision": VISION}, tokenizer=None, banks={"relations": bank}, seed=2)
    options = {"labels": 2, "queries": 6, "width": 16, "layers": 2, "heads": 2, "feedforward": 16}
    assert isinstance(made, TowerModel)
    plan = Plan.of(keys(*(f"image/relations{part}" for part in PARTS)))
    made.mount({"relations": HeadSpec("relation_queries", options, keep=True)}, plan)
    return made.eval()


def test_triplets_are_products_of_three_probabilities_and_boxes_lie_in_the_file(model: TowerModel) -> None:
    pixels, answer = torch.rand(1, 32, 32), Relations(**WORDS)
    samples = (Sample("s", {"image": pixels}, {"image": RECORD}), Sample("t", {}))
    found = answer.answer(Rows(FeatureTable(["s", "t"], {}), samples), Ask(), answer.begin(model, Ask())).relations
    assert found is not None
    assert (len(found[1].scores), found[1].boxes.shape) == (0, (0, 8))
    with torch.no_grad():
        rows = model(Batch.of({"image": pixels[None]}), Plan.of(keys(*(f"image/relations{p}" for p in PARTS))))["image"]
    boxes, subjects, objects, verbs = (rows.part(f"relations{part}")[0] for part in PARTS)
    best: dict[tuple[str, str, str], tuple[float, int]] = {}
    for q in range(6):
        s, o = subjects[q].softmax(0)[:2], objects[q].softmax(0)[:2]
        for v, verb in enumerate(WORDS["predicates"]):
            words = WORDS["entities"][int(s.argmax())], verb, WORDS["entities"][int(o.argmax())]
            score = float(s.max() * o.max() * verbs[q, v].sigmoid())
            best[words] = max(best.get(words, (0.0, 0)), (score, q))
    assert set(found[0].triplets) == set(best)
    assert list(found[0].scores) == sorted(found[0].scores, reverse=True)
    assert (found[0].entities, found[0].predicates) == (tuple(WORDS["entities"]), tuple(WORDS["predicates"]))
    for words, score, own, box in zip(
        found[0].triplets, found[0].scores, found[0].subject_scores, found[0].boxes, strict=True
    ):
        value, q = best[words]
        assert score == pytest.approx(value)
        assert own == pytest.approx(float(subjects[q].softmax(0)[:2].max()))
        x, y, w, h = boxes[q, 4:].double().tolist()
        edges = (x - w / 2) * 200, (y - h / 2) * 200 - 50, (x + w / 2) * 200, (y + h / 2) * 200 - 50
        cut = [min(max(edge, 0), side) for edge, side in zip(edges, (200, 100, 200, 100), strict=True)]
        assert box[4:].tolist() == pytest.approx(cut, abs=1e-3)


def test_a_part_with_one_more_is_exclusive_and_its_last_is_no_relation() -> None:
    sure = torch.tensor([[9.0, 0.0, 0.0]])
    verbs = torch.tensor([[1.0, 2.0, 3.0]])
    query, scores, _, triplets = Relations(**WORDS)._chosen(sure, sure.roll(1, 1), verbs)
    shares = verbs[0].softmax(0)
    both = float(sure[0].softmax(0)[0]) ** 2
    assert triplets == (("effusion", "by", "heart"), ("effusion", "at", "heart"))
    assert scores.tolist() == pytest.approx([both * float(shares[1]), both * float(shares[0])])
    assert query.tolist() == [0, 0]
    assert len(Relations(**WORDS, most=1)._chosen(sure, sure, verbs)[3]) == 1


def test_it_is_built_again_from_what_it_releases_and_refuses_a_model_without_its_head(model: TowerModel) -> None:
    asked = Relations(**WORDS, most=7)
    assert build("answers", {"name": "relations", **asked.released()}, where="bundle").released() == asked.released()
    asked.check(model)
    with pytest.raises(ConfigError, match="cannot be computed"):
        Relations(**WORDS, part="others").check(model)
