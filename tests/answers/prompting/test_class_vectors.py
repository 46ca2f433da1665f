"""Zero-shot scores are their formula."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.answers.prompting.class_vectors import ZeroShotVectors, make_zero_shot
from medvlp.answers.prompting.recipe import class_vector
from medvlp.text.prompts import PromptSet

PROMPTS = (
    PromptSet("v", "effusion", ("effusion", "fluid"), ("no effusion", "dry"), ("{side} effusion", "{side} fluid")),
    PromptSet("v", "nodule", ("nodule", "a nodule"), ("no nodule",)),
)
CALLS: list[tuple[str, ...]] = []


def vector(text: str) -> np.ndarray:
    draws = np.random.Generator(np.random.Philox(sum(map(ord, text)))).normal(size=6)
    return draws / np.linalg.norm(draws)


def embed_text(texts: Sequence[str]) -> np.ndarray:
    CALLS.append(tuple(texts))
    return np.stack([vector(text) for text in texts])


def test_a_score_is_the_softmax_of_two_class_vectors() -> None:
    shot = make_zero_shot(PROMPTS, embed_text, scale=14.0)
    images = np.stack([vector("image one"), vector("image two")]).astype(np.float32)
    for i, image in enumerate(images):
        for f, prompts in enumerate(PROMPTS):
            sides = []
            for texts in (prompts.positive, prompts.negative):
                mean = sum(vector(text) for text in texts) / len(texts)
                sides.append(math.exp(14.0 * float(image @ mean) / math.sqrt(float(mean @ mean))))
            assert shot.scores(images)[i, f] == pytest.approx(sides[0] / sum(sides), abs=1e-7)


def test_each_distinct_prompt_is_embedded_once() -> None:
    CALLS.clear()
    make_zero_shot((*PROMPTS, PROMPTS[0]), embed_text, scale=1.0)
    distinct = sorted({t for p in PROMPTS for t in (*p.positive, *p.negative)})
    assert [list(call) for call in CALLS] == [distinct]


@given(st.floats(0.1, 1000), st.floats(0.1, 1000), st.integers(0, 1000))
def test_the_scale_changes_no_ranking_and_no_score_leaves_its_range(one: float, other: float, seed: int) -> None:
    draws = np.random.Generator(np.random.Philox(seed))
    images = draws.normal(size=(5, 6))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    a, b = (make_zero_shot(PROMPTS, embed_text, scale=s) for s in (one, other))
    margins = images @ (a.positive - a.negative).T
    for shot in (a, b):
        scores = shot.scores(images)
        assert ((scores >= 0) & (scores <= 1)).all()
        assert all((np.diff(scores[np.argsort(margins[:, f]), f]) >= 0).all() for f in range(2))


def test_swapping_prompts_gives_the_complement_and_the_direction_is_that_of_the_margin() -> None:
    swapped = [PromptSet(p.name, p.label, p.negative, p.positive) for p in PROMPTS]
    image = vector("image")[None]
    a, b = (make_zero_shot(p, embed_text, scale=5.0) for p in (PROMPTS, swapped))
    np.testing.assert_allclose(a.scores(image) + b.scores(image), 1, atol=1e-12)
    margin = float(image[0] @ a.direction("nodule"))
    assert a.scores(image)[0, 1] == pytest.approx(1 / (1 + math.exp(-5 * margin)))


def test_an_ensemble_is_the_unit_mean_and_opposites_have_none() -> None:
    np.testing.assert_allclose(class_vector(np.eye(2)), [0.5**0.5] * 2)
    assert not class_vector(np.array([[1.0, 0], [-1.0, 0]])).any()
    assert ZeroShotVectors(("a",), np.zeros((1, 2)), np.zeros((1, 2)), 3.0).scores(np.ones((1, 2))).item() == 0.5
