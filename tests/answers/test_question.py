"""Questions: models that know their pictures by heart answer them, of a list or in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.answers.question import Question
from medvlp.core.answers import Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable
from medvlp.features.feature_pass import feature_pass
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.task import Task, make_plan
from tests.models.words import DUAL, VIT, images
from tests.training.world import FLOAT32

EFFUSION, SIDE = "is there an effusion ?", "on which side is it ?"
ASKED = (EFFUSION, EFFUSION, SIDE, SIDE)
TRUTH = ("yes", "no", "left lung", "right lung")
WORDS = train_wordpiece([*ASKED, *TRUTH] * 3, vocab_size=128, max_length=16)
LIST = ["no", "yes", "left lung", "right lung"]
CLOSED: dict[str, Any] = {"name": "answer_question", "answers": LIST, "width": 32}
OPEN = {"name": "caption", "question": "text.question", "width": 32, "layers": 1, "heads": 2}
BILINEAR = {**CLOSED, "classifier": {"name": "bilinear_question", "dropout": 0}, "loss": "binary"}
ROUTED = {**BILINEAR, "closed": 2, "classifier": {"name": "conditional_question", "glimpses": 2, "dropout": 0}}


def batch() -> Batch:
    # Pictures 0 and 2, and 1 and 3, are the same: only the question tells what is meant.
    pictures = images(2, 32)[[0, 1, 0, 1]]
    both = [f"{q} {a}" for q, a in zip(ASKED, TRUTH, strict=True)]
    return Batch.of({"image": pictures, "text": both, "text.question": list(ASKED), "text.answer": list(TRUTH)})


def learned(spec: dict[str, Any]) -> tuple[Any, Question]:
    model: Any = build_model({**DUAL, "vision": {**VIT, "image_size": 32}}, tokenizer=WORDS, seed=3)
    objective = build("objectives", spec, where="x")
    model.mount(dict(objective.heads()), make_plan({"a": objective}, {}))
    task = Task(model=model, objectives={"a": objective}, states={}, seed=0, chunks=1, precision=FLOAT32)
    optimiser = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        task.backward(batch(), {"a": 1.0}, samples_seen=0)
        optimiser.step()
    (declared,) = objective.answers()
    answer = build("answers", {"name": declared.name, **declared.options}, where="x")
    answer.check(model)
    return model, build("answers", {"name": "question", **answer.released()}, where="x")


@pytest.mark.parametrize(
    "spec",
    [CLOSED, pytest.param(BILINEAR, marks=pytest.mark.slow), pytest.param(ROUTED, marks=pytest.mark.slow), OPEN],
    ids=["list", "bilinear", "routed", "written"],
)
def test_the_same_picture_is_answered_as_it_was_asked_also_from_a_bundle(spec: dict[str, Any], tmp_path: Path) -> None:
    model, answer = learned(spec)
    rows = Rows(feature_pass(model, [batch()], answer.needs(model)))
    begun = answer.begin(model, Ask())
    said = answer.answer(rows, Ask(questions=ASKED), begun)
    assert said.text == TRUTH
    save_bundle(tmp_path / "bundle", Bundle(model, WORDS, [{"name": "read", "size": 32}]))
    again: Any = load_bundle(tmp_path / "bundle").model
    from_bundle = answer.answer(rows, Ask(questions=ASKED), answer.begin(again, Ask()))
    assert from_bundle.text == TRUTH
    for text, shares in (said.scores or {}).items():
        assert np.array_equal(shares, (from_bundle.scores or {})[text])
    assert set(said.parts()) == answer.gives
    assert answer.answer(rows, Ask(questions=(EFFUSION,)), begun).text == ("yes", "no", "yes", "no")
    column = rows.table[answer.reads].copy()
    column[0] = np.nan
    gone = answer.answer(Rows(FeatureTable(rows.table.ids, {answer.reads: column})), Ask(questions=ASKED), begun)
    assert gone.text == ("", *TRUTH[1:])
    if said.scores is not None:
        shares = np.stack([said.scores[text] for text in LIST], axis=1)
        assert np.allclose(shares.sum(axis=1), 1)
        assert [LIST[i] for i in shares.argmax(axis=1)] == list(TRUTH)
        assert np.isnan([values[0] for values in gone.scores.values()]).all()
    blank = answer.answer(rows, Ask(questions=("", " ", *ASKED[2:])), begun)  # nothing is asked of two
    assert blank.text == ("", "", *TRUTH[2:])
    assert all(np.isnan(values).tolist() == [True, True, False, False] for values in (blank.scores or {}).values())
    with pytest.raises(ConfigError, match="3 questions about 4 pictures: ask one of all, or each its own"):
        answer.answer(rows, Ask(questions=ASKED[:3]), begun)


def test_heads_of_another_list_are_refused() -> None:
    spec = {**DUAL, "heads": {"question": {"name": "question_classifier", "answers": 3}}}
    model: Any = build_model(spec, tokenizer=WORDS, seed=3)
    with pytest.raises(ConfigError, match=r"'question' does not classify 2 answers: list the answers that"):
        Question(answers=["yes", "no"]).check(model)


def test_words_of_an_answer_are_chosen_as_it_was_asked() -> None:
    model, answer = learned(OPEN)
    table = feature_pass(model, [batch()], answer.needs(model))
    told = {}
    for name, decoding in (("none", None), ("hot", Decoding(temperature=50.0, seed=1))):
        ask = Ask(questions=ASKED, decoding=decoding)
        told[name] = answer.answer(Rows(table), ask, answer.begin(model, ask)).text
    assert told["none"] == TRUTH
    assert told["hot"] != TRUTH
    blank = Ask(questions=("", " ", *ASKED[2:]), decoding=Decoding(temperature=50.0, seed=1))
    assert answer.answer(Rows(table), blank, answer.begin(model, blank)).text == ("", "", *told["hot"][2:])


@pytest.mark.parametrize("order", [("report", "question"), ("question", "report")])
def test_an_answer_and_a_report_of_one_picture_are_both_told(order: tuple[str, str]) -> None:
    """A decoder that writes both (two captions that share a head), whichever objective stood first."""
    made, _ = learned(OPEN)
    stored = {name: StoredAnswer(name, name, {"head": "captioner", "reads": "image/tokens"}) for name in order}
    read = [{"name": "read", "size": 32, "bits": 32}]
    model = VisionLanguageModel(Bundle(made, WORDS, read, answers=tuple(stored.values())))
    pixels = np.random.default_rng(0).random((32, 32))
    seen = model.prepare(pixels)
    report, answer = model.ask("report", pixels).text, model.ask("question", pixels, Ask(questions=(SIDE,))).text
    assert report is not None
    assert answer is not None
    assert report != answer
    (result,) = predict_files(model, [seen], question=f" {SIDE} ")["results"]
    assert (result["text"], result["answers"]["report"]["text"]) == (answer[0], report[0])
    (result,) = predict_files(model, [seen], question=" ")["results"]  # nothing is asked
    assert (result["text"], "answers" in result) == (report[0], False)
