"""Each zero-shot recipe equals its formula written out, and no score knows who lies beside the image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.answers.prompting.recipe import Given, Recipe, class_vector, dots
from medvlp.answers.prompting.recipe_files import NamedRecipe
from medvlp.answers.prompting.recipe_scores import RecipeScores
from medvlp.answers.recipes.prompt_max_zscore import PromptMaxZscore
from medvlp.core.answers import Ask, Rows
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import available, build
from medvlp.core.table import FeatureTable
from medvlp.text.prompts import PromptSet

PROMPTS = (
    PromptSet("v", "effusion", ("effusion", "fluid"), ("no effusion", "dry", "sharp angles")),
    PromptSet("v", "nodule", ("nodule",), ("no nodule",)),
    PromptSet("v", "edema", ("edema", "congestion", "wet lungs"), ("no edema",)),
)
LABELS = [each.label for each in PROMPTS]
SPECS: dict[str, dict[str, object]] = {
    "pair_softmax": {},
    "prompt_ensemble": {"weights": {"effusion": [0.25, 0.75]}},
    "prompt_max_zscore": {"statistics": {label: [0.1, 0.5] for label in LABELS}},
    "multiclass_softmax": {},
    "sigmoid": {},
    "query_softmax": {"queries": {"edema": "oedema"}},
    "xattn_sim": {},
    "organ_query": {"organs": {"effusion": "lung", "nodule": "lung", "edema": "heart"}},
}


def recipe(name: str, **options: object) -> Recipe:
    return build("answers/recipes", {"name": name, **SPECS[name], **options}, where="recipe")


def stored(seed: int, count: int = 7, width: int = 24) -> Given:
    draws = np.random.default_rng(seed)
    words = tuple(sorted({text for each in PROMPTS for text in (*each.positive, *each.negative)}))

    def units(*shape: int) -> np.ndarray:
        values = draws.normal(size=(*shape, width)).astype(np.float32)
        return values / np.linalg.norm(values, axis=-1, keepdims=True)

    real = draws.random((count, 5)) < 0.7
    real[:, 0] = True
    said = draws.random((len(words), 4)) < 0.6
    said[:, 1] = True
    return Given(
        PROMPTS,
        {
            "embedding": units(count),
            "local": units(count, 5),
            "mask": real,
            "existence": draws.normal(size=(count, 4, 2)).astype(np.float32),
            "organs": units(count, 2),
        },
        words,
        {"embedding": units(len(words)), "local": units(len(words), 4), "mask": said},
        scale=14.0,
        bias=-3.0,
        names={"existence": ("nodule", "mass", "effusion", "oedema"), "organs": ("heart", "lung")},
    )


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.astype(float) @ b.astype(float) / math.sqrt(float(a.astype(float) @ a) * float(b.astype(float) @ b)))


def mean_of(given: Given, texts: tuple[str, ...], weights: tuple[float, ...] | None = None) -> np.ndarray:
    rows = given.text("embedding", texts).astype(float)
    total = sum(
        w * row / math.sqrt(float(row @ row)) for w, row in zip(weights or [1.0] * len(rows), rows, strict=True)
    )
    return np.asarray(total)


def expit(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def by_hand(name: str, given: Given, image: int, prompts: PromptSet) -> float:
    """One score, by the formula of its recipe, in plain loops."""
    v = given.images["embedding"][image].astype(float)
    s = given.scale
    if name == "pair_softmax":
        pairs = [(p, n) for p in prompts.positive for n in prompts.negative]
        values = []
        for p, n in pairs:
            up, down = (math.exp(s * float(v @ given.text("embedding", (t,))[0])) for t in (p, n))
            values.append(up / (up + down))
        return sum(values) / len(values)
    if name == "prompt_ensemble":
        weights = (0.25, 0.75) if prompts.label == "effusion" else None
        length = math.sqrt(float(v @ v))
        up, down = (
            math.exp(s * length * cosine(v, mean_of(given, texts, w)))
            for texts, w in ((prompts.positive, weights), (prompts.negative, None))
        )
        return up / (up + down)
    if name == "multiclass_softmax":
        values = [math.exp(s * math.sqrt(float(v @ v)) * cosine(v, mean_of(given, p.positive))) for p in PROMPTS]
        return values[LABELS.index(prompts.label)] / sum(values)
    if name == "sigmoid":
        return expit(s * math.sqrt(float(v @ v)) * cosine(v, mean_of(given, prompts.positive)) + -3.0)
    if name == "query_softmax":
        query = {"effusion": 2, "nodule": 0, "edema": 3}[prompts.label]
        no, yes = (math.exp(float(each)) for each in given.images["existence"][image, query])
        return yes / (no + yes)
    if name == "organ_query":
        organ = given.images["organs"][image, {"effusion": 1, "nodule": 1, "edema": 0}[prompts.label]].astype(float)
        length = math.sqrt(float(organ @ organ))
        up, down = (
            math.exp(s * length * cosine(organ, mean_of(given, texts)))
            for texts in (prompts.positive, prompts.negative)
        )
        return up / (up + down)
    tokens = [
        t.astype(float) for t, m in zip(given.images["local"][image], given.images["mask"][image], strict=True) if m
    ]
    if name == "xattn_sim":
        values = []
        for text in prompts.positive:
            t = given.text("embedding", (text,))[0].astype(float)
            weight = [math.exp(cosine(x, t) / 0.1) for x in tokens]
            context = sum(w / sum(weight) * x / math.sqrt(float(x @ x)) for w, x in zip(weight, tokens, strict=True))
            values.append(expit(s * cosine(np.asarray(context), t)))
        return sum(values) / len(values)
    assert name == "prompt_max_zscore"
    best = -math.inf
    for text in prompts.positive:
        words = [
            w.astype(float)
            for w, m in zip(given.text("local", (text,))[0], given.text("mask", (text,))[0], strict=True)
            if m
        ]
        share = [[math.exp(cosine(r, w)) for w in words] for r in tokens]
        share = [[value / sum(row) for value in row] for row in share]
        local = -math.inf
        for at, w in enumerate(words):
            weight = [math.exp(4.0 * row[at]) for row in share]
            context = sum(a / sum(weight) * r / math.sqrt(float(r @ r)) for a, r in zip(weight, tokens, strict=True))
            local = max(local, cosine(np.asarray(context), w))
        best = max(best, (local + cosine(v, given.text("embedding", (text,))[0])) / 2)
    return (best - 0.1) / 0.5


def test_every_recipe_is_checked_here() -> None:
    assert set(available("answers/recipes")) == set(SPECS)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_recipe_equals_its_formula_by_hand(name: str) -> None:
    given = stored(0)
    scores = recipe(name).scores(given)
    assert scores.shape == (7, 3)
    for image in range(7):
        for at, prompts in enumerate(PROMPTS):
            assert scores[image, at] == pytest.approx(by_hand(name, given, image, prompts), abs=1e-9)


def taken(given: Given, rows: np.ndarray) -> Given:
    return replace(given, images={part: value[rows] for part, value in given.images.items()})


@pytest.mark.parametrize("name", sorted(SPECS))
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 70))
def test_scores_are_bit_for_bit_the_same_permuted_and_split(name: str, seed: int, count: int, width: int) -> None:
    given, own = stored(seed, count, width), recipe(name)
    assert not own.batch_dependent
    whole = own.scores(given)
    order = np.random.default_rng(seed).permutation(count)
    assert np.array_equal(own.scores(taken(given, order)), whole[order])
    cut = count // 3
    parts = [own.scores(taken(given, part)) for part in (np.arange(cut), np.arange(cut, count)) if len(part)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(own.scores(taken(given, np.array([count - 1]))), whole[-1:])


def test_a_z_score_of_the_batch_says_so_and_depends_on_it_in_no_order() -> None:
    given, own = stored(1), PromptMaxZscore()
    assert own.batch_dependent
    whole = own.scores(given)
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(whole.std(axis=0), 1, atol=1e-12)
    order = np.array([3, 1, 0, 6, 5, 2, 4])
    assert np.array_equal(own.scores(taken(given, order)), whole[order])
    assert not np.allclose(own.scores(taken(given, np.arange(4))), whole[:4])
    with pytest.raises(DataError, match="mean and deviation from the 1 images that are scored together"):
        own.scores(taken(given, np.array([0])))


def test_single_prompts_of_one_make_the_pair_and_the_ensemble_one_recipe() -> None:
    given = stored(2)
    single = replace(given, prompts=tuple(PromptSet("v", p.label, p.positive[:1], p.negative[:1]) for p in PROMPTS))
    np.testing.assert_allclose(
        recipe("pair_softmax").scores(single), recipe("prompt_ensemble", weights=None).scores(single), atol=1e-7
    )


def test_equal_weights_are_no_weights_and_wrong_ones_are_refused() -> None:
    rows = np.eye(3)
    np.testing.assert_allclose(class_vector(rows, [2.0, 2.0, 2.0]), class_vector(rows), atol=1e-15)
    for weights in ([1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0]):
        with pytest.raises(ConfigError, match="There are 3 prompts and the weights"):
            class_vector(rows, weights)


def test_what_a_recipe_cannot_score_is_refused_in_a_sentence() -> None:
    given = stored(3)
    without = replace(given, images={}, bias=None)
    with pytest.raises(DataError, match="reads the images' 'embedding', but there is nothing"):
        recipe("pair_softmax").scores(without)
    with pytest.raises(DataError, match="adds the model's logit bias, which this one has not"):
        recipe("sigmoid").scores(replace(given, bias=None))
    with pytest.raises(DataError, match="'existence' has no query 'edema'"):
        recipe("query_softmax", queries={}).scores(given)
    with pytest.raises(DataError, match="'edema' has the organ None, the head gives heart, lung"):
        recipe("organ_query", organs={"effusion": "lung", "nodule": "lung"}).scores(given)
    organs = given.images["organs"].copy()
    organs[0, 0] = np.nan
    answer = RecipeScores(NamedRecipe("own", recipe("organ_query"), PROMPTS, {}, ""))
    with pytest.raises(DataError, match="The heart was not found in 1 of 7 images"):
        answer.answer(Rows(FeatureTable(list("abcdefg"), {"image/organs": organs})), Ask(), ("image", given))
    elsewhere = recipe("organ_query", organs=dict.fromkeys(LABELS, "lung"))
    lost = replace(given, images={"organs": organs})
    np.testing.assert_array_equal(elsewhere.scores(lost), elsewhere.scores(given))
    with pytest.raises(DataError, match="compares classes and has 1"):
        recipe("multiclass_softmax").scores(replace(given, prompts=PROMPTS[:1]))
    with pytest.raises(DataError, match="no statistics of 'nodule'"):
        recipe("prompt_max_zscore", statistics={"effusion": [0, 1]}).scores(given)
    with pytest.raises(DataError, match="a deviation that is not above 0"):
        recipe("prompt_max_zscore", statistics={label: [0, 0] for label in LABELS}).scores(given)
    broken = {**given.images, "embedding": given.images["embedding"] * np.float32("nan")}
    with pytest.raises(DataError, match="holds NaN or infinite values"):
        recipe("pair_softmax").scores(replace(given, images=broken))
    with pytest.raises(DataError, match="has no embedding: embed every text"):
        recipe("pair_softmax").scores(replace(given, words=("x",) * len(given.words)))


def test_dots_refuse_widths_that_differ() -> None:
    with pytest.raises(DataError, match="the same width"):
        dots(np.zeros((2, 3)), np.zeros((2, 4)))
