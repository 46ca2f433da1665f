"""Zero-shot scores against the formula written out, by the dot product and by late interaction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from medvlp.answers.zero_shot import ZeroShot
from medvlp.core.answers import Ask, Rows
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable
from medvlp.features.embed import embed, embed_parts, logit_scale
from medvlp.models.build import build_model
from medvlp.models.scores.late_interaction import LateInteraction
from tests.answers.tiny import encoded, late, said_of, small_model, table_of
from tests.models.words import DUAL, images

PROMPTS: list[dict[str, Any]] = [
    {"name": "v", "label": "effusion", "positive": ["effusion", "much fluid"], "negative": ["no effusion at all"]},
    {"name": "v", "label": "nodule", "positive": ["a nodule"], "negative": ["no nodule", "clear"]},
]


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def blind(table: FeatureTable, row: int) -> FeatureTable:
    """The same rows, of which one has no picture."""
    columns = {name: np.array(table[name], dtype=np.float32) for name in table.columns}
    for values in columns.values():
        values[row] = np.nan
    return FeatureTable(table.ids, columns)


def test_by_the_dot_product_it_is_the_margin_of_two_unit_means(model: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS)
    table = table_of(model, answer.needs(model))
    said = said_of(answer, model, table)
    assert said.scores is not None
    assert list(said.scores) == list(answer.labels) == ["effusion", "nodule"]
    for each in PROMPTS:
        for row, image in enumerate(table["image/embedding"].astype(np.float64)):
            sides = []
            for texts in (each["positive"], each["negative"]):
                mean = np.mean([one["embedding"].astype(np.float64) for one in encoded(model, texts, "embedding")], 0)
                sides.append(float(image @ mean / np.linalg.norm(mean)))
            expected = sigmoid(logit_scale(model) * (sides[0] - sides[1]))
            assert said.scores[each["label"]][row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("score", [None, LateInteraction()])
def test_of_positive_prompts_alone_it_is_their_own_score(model: Any, score: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS, positive_only=True, score=score)
    assert answer.released()["positive_only"] is True
    table = table_of(model, answer.needs(model))
    said = said_of(answer, model, table).scores
    other = ZeroShot(
        prompts=[{**each, "negative": ["something else"]} for each in PROMPTS], positive_only=True, score=score
    )
    assert said is not None
    for each in PROMPTS:
        np.testing.assert_array_equal(said[each["label"]], said_of(other, model, table).scores[each["label"]])  # type: ignore[index]
        for row in range(len(table)):
            if score is None:
                texts = [one["embedding"] for one in encoded(model, each["positive"], "embedding")]
                near = np.mean([float(table["image/embedding"][row] @ text) for text in texts])
            else:
                image = {part: table[f"image/{part}"][row] for part in ("local", "mask")}
                near = np.mean(
                    [np.mean(late(image, text)) for text in encoded(model, each["positive"], "local", "mask")]
                )
            assert said[each["label"]][row] == pytest.approx(sigmoid(logit_scale(model) * near), abs=1e-5)


def test_by_late_interaction_it_is_the_mean_over_prompts_of_the_mean_over_tokens(model: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS, score=LateInteraction())
    assert {str(key) for key in answer.needs(model)} == {"image/local", "image/mask"}
    table = table_of(model, answer.needs(model))
    said = said_of(answer, model, table)
    assert said.scores is not None
    for each in PROMPTS:
        texts = [encoded(model, each[side], "local", "mask") for side in ("positive", "negative")]
        for row in range(len(table)):
            image = {part: table[f"image/{part}"][row] for part in ("local", "mask")}
            yes, no = (np.mean([np.mean(late(image, text)) for text in side]) for side in texts)
            expected = sigmoid(logit_scale(model) * (yes - no))
            assert said.scores[each["label"]][row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("score", [None, LateInteraction()])
def test_one_finding_asked_for_has_the_score_that_it_has_among_all(model: Any, score: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS, score=score)
    table = table_of(model, answer.needs(model))
    whole, some = (said_of(answer, model, table, ask).scores for ask in (Ask(), Ask(findings=("nodule",))))
    assert whole is not None
    assert some is not None
    assert list(some) == ["nodule"]
    np.testing.assert_allclose(some["nodule"], whole["nodule"], rtol=1e-6)


@pytest.mark.parametrize("score", [None, LateInteraction()])
def test_a_row_without_a_picture_has_no_score_and_the_others_keep_theirs(model: Any, score: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS, score=score)
    table = table_of(model, answer.needs(model))
    whole, some = (said_of(answer, model, each).scores for each in (table, blind(table, 1)))
    assert whole is not None
    assert some is not None
    for label, values in some.items():
        assert np.isnan(values).tolist() == [False, True, False, False]
        np.testing.assert_allclose(np.delete(values, 1), np.delete(whole[label], 1), rtol=1e-6)


@pytest.mark.parametrize("score", [None, LateInteraction()])
def test_a_margin_is_that_of_the_score_without_its_scale(model: Any, score: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS, score=score)
    table = table_of(model, answer.needs(model))
    said = said_of(answer, model, table)
    assert said.scores is not None
    margin = answer.margin(Rows(table), model, PROMPTS[0]["positive"], PROMPTS[0]["negative"])
    expected = [math.log(p / (1 - p)) / logit_scale(model) for p in said.scores["effusion"]]
    assert margin == pytest.approx(expected, abs=1e-5)


def test_a_map_by_late_interaction_sums_to_the_margin_times_the_tokens(model: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS, score=LateInteraction())
    pixels = images(1, seed=5)[0]
    looked = answer.look(model, Sample("a", {"image": pixels}), answer.begin(model, Ask()), [("effusion", "")])
    assert looked is not None
    looked = looked[0].values
    parts = embed_parts(model, "image", [pixels], ("local", "mask"))
    table = FeatureTable(["a"], {f"image/{name}": values for name, values in parts.items()})
    assert looked.size == parts["mask"].sum()
    margin = answer.margin(Rows(table), model, PROMPTS[0]["positive"], PROMPTS[0]["negative"])
    assert float(looked.sum()) == pytest.approx(float(margin[0]) * looked.size, abs=1e-5)
    texts = [encoded(model, PROMPTS[0][side], "local", "mask") for side in ("positive", "negative")]
    image = {name: values[0] for name, values in parts.items()}
    near, far = (np.mean([late(image, text) for text in side], axis=0) for side in texts)
    np.testing.assert_allclose(looked.reshape(-1), near - far, atol=1e-5)


def test_a_map_by_the_dot_product_sums_to_the_margin(model: Any) -> None:
    """Of a tower whose tokens are averaged: what each adds to the cosine with the direction."""
    answer = ZeroShot(prompts=PROMPTS)
    pixels = images(1, seed=5)[0]
    looked = answer.look(model, Sample("a", {"image": pixels}), answer.begin(model, Ask()), [("nodule", "")])
    assert looked is not None
    looked = looked[0].values
    table = FeatureTable(["a"], {"image/embedding": embed(model, "image", [pixels])})
    margin = answer.margin(Rows(table), model, PROMPTS[1]["positive"], PROMPTS[1]["negative"])
    assert float(looked.sum()) == pytest.approx(float(margin[0]), abs=1e-4)


@pytest.mark.parametrize("score", [None, LateInteraction()])
def test_all_maps_of_a_picture_are_made_of_one_pass_and_are_those_made_alone(model: Any, score: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS, score=score)
    sample, begun = Sample("a", {"image": images(1, seed=5)[0]}), answer.begin(model, Ask())
    asked = [(label, "") for label in answer.labels]
    alone = [answer.look(model, sample, begun, [each]) for each in asked]
    passes: list[int] = []
    watch = model.towers["image"].register_forward_hook(lambda *_: passes.append(1))
    together = answer.look(model, sample, begun, asked)
    watch.remove()
    assert len(passes) == 1
    assert len(asked) > 1
    for one, each in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one[0].values, each.values)


def test_without_pixels_or_of_stacks_there_is_no_map(model: Any) -> None:
    answer = ZeroShot(prompts=PROMPTS)
    assert answer.look(model, Sample("a", {"text": "x"}), answer.begin(model, Ask()), [("effusion", "")]) is None


def test_released_options_build_it_again() -> None:
    answer = ZeroShot()
    again = ZeroShot(**answer.released())  # type: ignore[arg-type]
    assert again.prompts == answer.prompts
    assert again.released() == answer.released()


def test_a_model_without_words_and_prompts_that_are_none_are_refused() -> None:
    vision = build_model({"name": "vision", "vision": DUAL["vision"]}, tokenizer=None)
    with pytest.raises(ConfigError, match="reads no texts, so it cannot be asked zero-shot: leave"):
        ZeroShot().check(vision)
    with pytest.raises(ConfigError, match=r"A set of prompts has name, label, positive, .*: .*'lable'"):
        ZeroShot(prompts=[{"name": "v", "lable": "edema", "positive": ["a"], "negative": ["b"]}])
    told = {"name": "v", "label": "edema", "positive": ["a"], "negative": ["b"]}
    # A text without its list would be asked letter by letter.
    for wrong in ({"positive": "a"}, {"negative": "no a"}, {"sided": "{side} a"}, {"positive": []}, {"negative": [3]}):
        with pytest.raises(ConfigError, match=r"The prompts of 'edema' are no lists of texts: write positive: \[one"):
            ZeroShot(prompts=[{**told, **wrong}])
    with pytest.raises(UserError, match=r"no configs file 'zero_shot/none\.yaml'"):
        ZeroShot(prompts="zero_shot/none.yaml")


def test_the_answer_does_not_train(model: Any) -> None:
    """Modes are put back: asking in the middle of training changes nothing of it."""
    answer = ZeroShot(prompts=PROMPTS, score=LateInteraction())
    model.train()
    try:
        answer.begin(model, Ask())
        assert model.training
    finally:
        model.eval()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not torch.is_inference_mode_enabled()
