"""A configuration changes, adds and removes measures, and a faulty option is told by its path."""

from __future__ import annotations

from typing import Any

import pytest

from medvlp.core.errors import ConfigError
from medvlp.core.registry import available, component
from medvlp.measures import chosen_measures

NEVER_UNASKED = {"geometry", "recipes", "uncertain_prompts", "few_shot", "attributes", "robustness"}
NEVER_UNASKED |= {"attacks", "blind_pairs", "shape_texture", "linking"}


def names(**spec: Any) -> list[str]:
    known = {component("measures", name): name for name in available("measures")}
    return [known[type(measure)] for measure in chosen_measures(spec)]  # pyrefly: ignore


def test_unnamed_usual_measures_are_made_in_their_order() -> None:
    usual = names()
    assert usual == names(**{name: {} for name in reversed(usual)})
    assert usual[0] == "classification"
    assert not NEVER_UNASKED & set(usual)
    assert set(usual) | NEVER_UNASKED == set(available("measures"))


def test_an_entry_changes_adds_or_removes() -> None:
    assert set(names(retrieval=None)) == set(names()) - {"retrieval"}
    assert set(names(few_shot={"draws": 3})) == {*names(), "few_shot"}
    assert names(robustness=None) == names()
    sentences = next(m for m in chosen_measures({"sentences": {"studies": 7}}) if type(m).__name__ == "Sentences")
    assert sentences.studies == 7  # pyrefly: ignore


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"retreival": {}}, "evaluation.measures has no measure named 'retreival': did you mean 'retrieval'"),
        ({"retreival": None}, "evaluation.measures has no measure named 'retreival': did you mean 'retrieval'"),
        ({"sentences": {"study": 3}}, "evaluation.measures.sentences.study is not a known key: did you mean 'studies'"),
        (
            {"sentences": {"studies": 0}},
            "evaluation.measures.sentences.studies is 0: input should be greater than or equ",
        ),
        (
            {"classification": {"label_sets": {"five": "edema"}}},
            r"classification.label_sets.five is 'edema': input sho",
        ),
        ({"recipes": {}}, "evaluation.measures.recipes.recipes is missing: give it a value"),
        (
            {"recipes": {"recipes": []}},
            r"evaluation.measures.recipes.recipes is \[\]: tuple should have at least 1 item",
        ),
        ({"uncertain_prompts": {}}, "evaluation.measures.uncertain_prompts.recipes is missing: give it a value"),
        (
            {"few_shot": {"draws": 1}},
            "evaluation.measures.few_shot.draws is 1: input should be greater than or equal to 2",
        ),
        (
            {"few_shot": {"shots": [0]}},
            r"evaluation.measures.few_shot.shots\[0\] is 0: input should be greater than or equal",
        ),
        ({"attributes": {}}, "evaluation.measures.attributes.columns is missing: give it a value"),
        (
            {"robustness": {"cases": 0}},
            "evaluation.measures.robustness.cases is 0: input should be greater than or equal",
        ),
        ({"robustness": {"factors": ["darkr"]}}, "There is no factor 'darkr': did you mean 'darker'"),
        (
            {"robustness": {"min_positives": 0}},
            "evaluation.measures.robustness.min_positives is 0: input should be great",
        ),
        (
            {"grounding": {"cases": 0}},
            "evaluation.measures.grounding.cases is 0: input should be greater than or equal",
        ),
        (
            {"grounding": {"sanity": -1}},
            "evaluation.measures.grounding.sanity is -1: input should be greater than or eq",
        ),
        (
            {"grounding": {"most_pixels": 0}},
            "evaluation.measures.grounding.most_pixels is 0: input should be greater th",
        ),
        (
            {"grounding": {"maps": [{"name": "grad_camm"}]}},
            "There is no features/maps component named 'grad_camm': did you mean 'grad_cam'",
        ),
        (
            {"probes": {"probes": ["linear", "knnn"]}},
            "There is no adaptation component named 'knnn': did you mean 'knn'",
        ),
        (
            {"probes": {"probes": [{"name": "knn", "neighbour": [3]}]}},
            r"evaluation.measures.probes.probes\[0\].neighbour is not a known key: did you mean 'neighbours'",
        ),
        (
            {"probes": {"probes": ["knn", {"name": "knn"}]}},
            "evaluation.measures.probes.probes names 'knn' twice: name ea",
        ),
        (
            {"probes": {"probes": []}},
            "evaluation.measures.probes.probes is empty: set evaluation.measures.probes to null",
        ),
    ],
)
def test_what_is_faulty_is_told_by_its_path(spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        chosen_measures(spec)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"named 'x'.*sentences\.studies is 0.*few_shot\.draws is 1"):
        chosen_measures({"x": {}, "sentences": {"studies": 0}, "few_shot": {"draws": 1}})
