"""Recipes by name: every file is whole, polarity is right, and faults are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medvlp.answers.prompting.recipe_files import load_recipe, recipe_names
from medvlp.core.errors import ConfigError
from medvlp.core.registry import available
from medvlp.core.resources import resource_folder
from medvlp.text.labels import label_report
from medvlp.text.prompts import PromptSet

FILES = sorted((resource_folder("configs") / "zero_shot" / "recipes").glob("*.yaml"))
OWN = [PromptSet("v", "effusion", ("effusion",), ("no effusion",))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_named_versioned_and_hashed_by_what_it_says(path: Path) -> None:
    made = load_recipe(path.stem)
    assert made.name == path.stem
    assert path.stem.rsplit("_v", 1)[1].isdigit()
    assert made.hash == load_recipe(path).hash
    assert made.recipe.batch_dependent is (made.recipe.name == "prompt-max-zscore")
    labels = [each.label for each in made.prompts]
    assert len(labels) == len(set(labels)) >= 5


def test_every_component_has_a_file() -> None:
    assert {load_recipe(path).spec["name"] for path in FILES} == set(available("answers/recipes"))
    assert len({load_recipe(path).hash for path in FILES}) == len(FILES)
    assert {"chexzero_v1", "pair-softmax", "zero_shot"} <= set(recipe_names())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_positive_prompt_affirms_and_a_negative_one_denies(path: Path) -> None:
    for each in load_recipe(path).prompts:
        for text in (*each.positive, *each.negative, *each.uncertain):
            assert "{" not in text
            assert "no no " not in f"{text.lower()} "
        if each.label == "no_finding":
            for text in each.positive:
                assert label_report(text, "chexpert14")["no_finding"] != 0.0
            assert not any(text.lower().startswith("no ") for text in each.negative)
        else:
            assert not any(text.lower().startswith(("no ", "there is no ")) for text in each.positive)
            assert any(re.search(r"\b(?:no|not)\b", text.lower()) for text in each.negative)


def test_a_component_takes_the_models_own_prompts_and_zero_shot_is_their_ensemble() -> None:
    assert load_recipe("pair-softmax", own=OWN).prompts == tuple(OWN)
    assert load_recipe("zero_shot", own=OWN).recipe.name == "prompt-ensemble"
    with pytest.raises(ConfigError, match="'sigmoid' has no prompts and the model brings none"):
        load_recipe("sigmoid")


def test_the_hash_moves_with_an_option_and_with_a_prompt() -> None:
    base = load_recipe("pair-softmax", own=OWN)
    other = load_recipe("pair-softmax", own=[PromptSet("v", "effusion", ("effusion.",), ("no effusion",))])
    assert len({base.hash, other.hash, load_recipe("prompt-ensemble", own=OWN).hash}) == 3


HEAD = "name: x\nabout: y\nrecipe: {name: pair_softmax}\n"
SET = "prompts: zero_shot/cxr_findings_v1.yaml\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: [", "cannot be read"),
        (HEAD.replace("name: x", "name: ../x", 1) + SET, "name is '../x'"),
        (f"{HEAD}prompt: z", "prompt is not a known key: did you mean 'prompts'"),
        (HEAD.replace("pair_softmax", "pair_softmaxx") + SET, "did you mean 'pair_softmax'"),
        (f"{HEAD}{SET}findings: {{a: [a]}}", "has prompts and templates or findings: keep one"),
        (
            HEAD + "templates: {positive: ['{finding}'], negative: ['no {finding}']}\nfindings: {no_finding: [none]}",
            "deny 'no_finding' by a template, and it is itself a denial",
        ),
        (
            HEAD + "templates: {positive: ['{size} {finding}'], negative: ['no {finding}']}\nfindings: {mass: [mass]}",
            "'mass' has no words for {size}",
        ),
    ],
)
def test_a_faulty_file_is_refused_in_a_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert sentence in str(caught.value)


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no recipe 'chexzero_v2': did you mean 'chexzero_v1'"):
        load_recipe("chexzero_v2")
