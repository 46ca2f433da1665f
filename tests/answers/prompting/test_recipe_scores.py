"""Recipes on a model: alone or together, a film has the same scores; places, doubts and fitted weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import medvlp
from medvlp.answers.asking.ask import ask_samples
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel, prompt_sets
from medvlp.answers.prompting.recipe_files import NamedRecipe, load_recipe
from medvlp.answers.prompting.recipe_scores import RecipeScores, single_prompt_scores, uncertain_scores
from medvlp.core.answers import Ask, Rows
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.table import FeatureTable
from medvlp.data.layouts.phantom import index
from medvlp.features.embed import embed_parts
from medvlp.text.prompts import PromptSet

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


@pytest.fixture(scope="module")
def model(tiny_run: Trained) -> VisionLanguageModel:
    return medvlp.load(tiny_run.bundle)


@pytest.fixture(scope="module")
def films(tiny_cohort: CohortSummary) -> list[Path]:
    manifest = index(tiny_cohort.root).where({"view_position": ["PA", "AP"]})
    return [tiny_cohort.root / str(manifest.record(i)["image"]) for i in range(6)]


def scores_by(model: VisionLanguageModel, recipe: NamedRecipe, films: list[Path]) -> np.ndarray:
    """Return (N, F) scores of a recipe."""
    answer = RecipeScores(recipe)
    said = ask_samples({"it": answer}, model.model, [model.sample(film, name=str(film)) for film in films])["it"]
    assert said.scores is not None
    return np.stack([said.scores[label] for label in answer.labels], axis=1)


@pytest.mark.parametrize(
    "name", ["zero_shot", "pair-softmax", "chexzero_v1", "ct_clip_v1", "biovil_v1", "medclip_5x200_v1"]
)
def test_files_scored_alone_and_together_agree_to_1e_6(
    model: VisionLanguageModel, films: list[Path], name: str
) -> None:
    recipe = load_recipe(name, own=prompt_sets(model.answers))
    together = scores_by(model, recipe, films)
    alone = np.concatenate([scores_by(model, recipe, [each]) for each in films])
    assert np.abs(together - alone).max() <= 1e-6
    assert np.abs(scores_by(model, recipe, films[::-1])[::-1] - together).max() <= 1e-6
    assert predict_files(model, films[:1], recipe=name)["recipe"] == name


def test_zero_shot_is_the_ensemble_of_the_bundle(model: VisionLanguageModel, films: list[Path]) -> None:
    recipe = load_recipe("zero_shot", own=prompt_sets(model.answers))
    expected = model.ask("zero_shot", films).scores
    assert expected is not None
    np.testing.assert_allclose(scores_by(model, recipe, films), np.stack(list(expected.values()), axis=1), atol=1e-12)


@pytest.mark.parametrize("name", ["chexzero_v1", "gloria_v1"])
def test_a_row_without_a_picture_has_no_score_and_changes_that_of_no_other(
    model: VisionLanguageModel, films: list[Path], name: str
) -> None:
    answer = RecipeScores(load_recipe(name))
    begun, seen = answer.begin(model.model, Ask()), model.embed_image(films[:3])
    tables = (
        FeatureTable(list("abcd")[: len(rows)], {"image/embedding": rows})
        for rows in (seen, np.insert(seen, 1, np.nan, 0))
    )
    whole, with_gap = (answer.answer(Rows(table), Ask(), begun).scores for table in tables)
    assert whole is not None
    assert with_gap is not None
    for label, values in whole.items():
        assert np.isnan(with_gap[label][1])
        np.testing.assert_array_equal(np.delete(with_gap[label], 1), values)


def test_a_score_of_the_batch_says_so(model: VisionLanguageModel, films: list[Path]) -> None:
    found = predict_files(model, films, recipe="gloria_v1")["results"]
    assert all("depend on the other images" in result["warnings"][-1] for result in found)
    quiet = predict_files(model, films, recipe="chexzero_v1")["results"]
    assert not any("depend on" in warning for result in quiet for warning in result["warnings"])
    with pytest.raises(DataError, match="score more images, or give statistics"):
        predict_files(model, films[:1], recipe="gloria_v1")


@pytest.mark.parametrize("name", ["gloria_local_v1", "medklip_v1", "carzero_v1"])
def test_a_recipe_that_the_model_cannot_serve_is_refused(
    model: VisionLanguageModel, films: list[Path], name: str
) -> None:
    with pytest.raises(ConfigError, match=rf"The recipe '{name}' reads .* and this model does not make it all"):
        predict_files(model, films[:2], recipe=name)


def test_places_doubts_and_single_prompts_are_their_formulas() -> None:
    draws = np.random.default_rng(0)
    known: dict[str, np.ndarray] = {}

    def embed(texts: object) -> np.ndarray:
        for text in texts:  # type: ignore[attr-defined]
            if text not in known:
                value = draws.normal(size=5)
                known[text] = value / np.linalg.norm(value)
        return np.stack([known[text] for text in texts])  # type: ignore[attr-defined]

    images = embed(["image"])
    each = PromptSet("v", "effusion", ("yes", "sure"), ("no",), ("{side} yes",), ("maybe",))
    single = single_prompt_scores(images, [each], embed, scale=3.0)["effusion"]
    near = {text: float(images[0] @ vector) for text, vector in known.items()}
    assert single["sure"][0] == pytest.approx(1 / (1 + math.exp(-3 * (near["sure"] - near["no"]))))
    uncertain = uncertain_scores(images, [each], embed, scale=3.0)["effusion"]
    mean = known["yes"] + known["sure"]
    up = [
        math.exp(3 * v)
        for v in (float(images[0] @ mean) / math.sqrt(mean @ mean), near["no"], float(images[0] @ known["maybe"]))
    ]
    assert uncertain[0] == pytest.approx(up[2] / sum(up))
    plain = PromptSet("v", "a", ("yes",), ("no",))
    assert uncertain_scores(images, [plain], embed, scale=1.0) == {}


def test_parts_of_texts_are_padded_alike_however_they_are_batched(model: VisionLanguageModel) -> None:
    texts = ["effusion", "There is a small left pleural effusion and no pneumothorax.", "clear"]
    together = embed_parts(model.model, "text", texts, ("embedding", "tokens", "mask"))
    single = embed_parts(model.model, "text", texts, ("embedding", "tokens", "mask"), batch=1)
    assert together["mask"].shape == single["mask"].shape == together["tokens"].shape[:2]
    assert np.array_equal(together["mask"], single["mask"])
    real = together["mask"]
    assert np.abs(together["tokens"][real] - single["tokens"][real]).max() < 1e-4
    np.testing.assert_allclose(together["embedding"], model.embed_text(texts), atol=1e-6)
