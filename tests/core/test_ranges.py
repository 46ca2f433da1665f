"""An option outside its range is refused by name, before a run has read anything with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvlp.config.tree import EvaluationConfig, checked
from medvlp.core.components import KINDS
from medvlp.core.errors import ConfigError
from medvlp.core.registry import available, build, fill, schema
from medvlp.core.schedules import Ramp
from medvlp.models.encoders._timm import channel_statistic


@pytest.mark.parametrize(
    ("folder", "spec", "option"),
    [
        ("objectives", {"name": "dino", "teacher_temperature": 0}, "teacher_temperature"),
        ("objectives", {"name": "dino", "teacher_temperature": {"start": 0.04, "end": -1, "until": 9}}, "is -1"),
        ("objectives", {"name": "ibot", "teacher_temperature": 0}, "teacher_temperature"),
        ("objectives", {"name": "dice_ce", "labels": ["a"], "window": [0, 8, 8]}, "window"),
        ("answers", {"name": "segmentation", "labels": ["a"], "window": [8, -1, 8]}, "window"),
        ("answers/recipes", {"name": "pair_softmax", "scale": -1.0}, "scale"),
        ("answers/recipes", {"name": "xattn_sim", "scale": 0}, "scale"),
        ("answers/recipes", {"name": "prompt_max_zscore", "sharpness": -4}, "sharpness"),
        ("measures", {"name": "detection", "iou": []}, "iou"),
        ("measures", {"name": "detection", "iou": [1.5]}, "iou"),
        ("measures", {"name": "relations", "k": [0]}, "k"),
        ("measures", {"name": "relations", "iou": [-0.5]}, "iou"),
        ("measures", {"name": "blind_pairs", "by": "quantile", "alike": -0.5}, "alike -0.5"),
        ("adaptation", {"name": "residual", "hidden": 0}, "hidden"),
        ("adaptation", {"name": "residual", "rate": -1e-3}, "rate"),
        ("adaptation", {"name": "tip_tuned", "rate": 0}, "rate"),
        ("adaptation", {"name": "grip", "rate": -0.1}, "rate"),
        ("adaptation/attacks", {"name": "pgd", "step": -1}, "step"),
        ("data/views", {"name": "resample", "size": 0}, "size"),
        ("data/views", {"name": "read", "resize": -1}, "resize"),
        ("data/splits", {"name": "stratified", "seed": -1}, "seed"),
        ("data/splits", {"name": "kfold", "seed": -1}, "seed"),
        ("data/splits", {"name": "ids", "stored": "s.json", "by": "id.patient"}, "leave out column, by and repeat"),
        ("data/layouts", {"name": "csv", "columns": {}, "key_file": "secret"}, "none are made: set pseudonymise"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: str, spec: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        build(folder, spec, where="here", given={"manifest": None, "root": Path(), "progress": None})


@pytest.mark.parametrize("folder", sorted({kind.folder for kind in KINDS.values()}))
def test_no_component_takes_true_for_the_number_1(folder: str) -> None:
    for name in available(folder):
        options = schema(folder, name).model_fields
        whole = not any(option.is_required() for option in options.values())
        for key, option in options.items():
            if whole and type(option.default) in (int, float):
                with pytest.raises(ConfigError, match=rf"(?s)here\.{key} is True: input should be"):
                    fill(folder, {"name": name, key: True}, where="here")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"name": "classify", "labels": ["a", "b"], "exclusive": True, "uncertain": {"a": 0.5}}, "and no share"),
        ({"name": "classify", "labels": ["a", "b"], "exclusive": True, "blank": 0.1}, "and no share"),
        ({"name": "cacr", "form": "rbf", "prior": 0.1}, "of the form 'rbf' has no repulsion and no prior"),
        ({"name": "cacr", "temperature": 0.1}, "of the form 'euclidean' has no temperature"),
        ({"name": "caption", "decoder": {"name": "limber"}, "layers": 3}, "are of its own decoder: leave them out"),
    ],
)
def test_an_option_that_another_makes_idle_is_refused(spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build("objectives", spec, where="here")


@pytest.mark.parametrize("std", [[0.0], [0.2, -0.1, 0.2]])
def test_pixels_are_divided_by_numbers_above_0(std: list[float]) -> None:
    with pytest.raises(ConfigError, match="and pixels are divided by it: use more than 0"):
        channel_statistic(std, (0.25,), channels=len(std), name="std")


def test_a_recipe_says_itself_what_becomes_of_denials() -> None:
    with pytest.raises(ConfigError, match="positive_only of answer 'zero_shot' is of its own formula"):
        build("answers", {"name": "zero_shot", "positive_only": True, "recipe": {"name": "sigmoid"}}, where="here")


def test_a_ramp_arrives_behind_where_it_begins() -> None:
    with pytest.raises(ValueError, match="a ramp that begins at 100 samples cannot have arrived at 50"):
        Ramp(start=0.0, end=1.0, begin=100, until=50)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"points": ["sens_0.9"]}, "There is no rule 'sens_0.9' for an operating point: use youden"),
        ({"points": ["sensitivity_90"]}, "'sensitivity_90' asks for 90: a share above 0 up to 1"),
        ({"prevalences": [5]}, r"prevalences\[0\] is 5: input should be less than 1"),
        ({"decoding": "beam=4"}, "decoding is 'beam=4': .* has no option 'beam': did you mean 'beams'"),
    ],
)
def test_what_an_evaluation_is_asked_is_known_to_make_sense_before_a_run(tree: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        checked(EvaluationConfig, tree, source="")
