"""The table of methods names components, configurations and checks that are there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medvlp.core.component_words import method_words
from medvlp.core.components import chosen
from medvlp.core.methods import Method, methods
from medvlp.core.resources import resource

ROOT = Path(__file__).resolve().parents[2]
TOYS = json.loads((ROOT / "docs" / "results" / "method_toys.json").read_text(encoding="utf-8"))["tables"]["toys"][
    "rows"
]


@pytest.mark.parametrize("method", methods(), ids=lambda each: each.name)
def test_what_a_method_is_made_of_and_trained_by_is_shipped(method: Method) -> None:
    assert bool(method.parts) != bool(method.absent)
    assert all(len(chosen(part)) == 1 for part in method.parts)
    assert not method.config or resource("configs", method.config).is_file()
    assert method.paper, "its first component names no paper: give `paper`"


def test_every_objective_that_is_called_exact_has_its_cases() -> None:
    cases = {path.stem for path in (ROOT / "tests" / "objectives" / "cases").glob("*.py")}
    for method in methods():
        objectives = [part.partition("/")[2] for part in method.parts if part.startswith("objectives/")]
        assert ("exact" in method.checked) or not objectives, method.name
        assert set(objectives) <= cases


def test_what_a_method_gave_is_the_stored_difference_and_is_said_where_there_is_one() -> None:
    stored = ROOT / "docs" / "results" / "comparison.json"
    gains = json.loads(stored.read_text(encoding="utf-8"))["gains"] if stored.is_file() else {}
    assert all(each.gain == gains.get(each.config) for each in methods())
    filip = next(each for each in methods() if each.name == "FILIP")
    assert "beside CLIP" not in method_words([replace(filip, gain=None)])
    assert "AUROC -0.012 beside CLIP" in " ".join(method_words([replace(filip, gain=-0.0123)]).split())


def test_small_worlds_are_those_whose_results_are_stored() -> None:
    tried = {row[0] for row in TOYS}
    named = {part.rpartition("/")[2] for each in methods() for part in each.parts} | {
        Path(each.config).stem for each in methods()
    }
    for method in methods():
        if any(each.startswith("small world: ") for each in method.checked):
            assert tried & {Path(method.config).stem, *(part.rpartition("/")[2] for part in method.parts)}, method.name
    assert all(any(row.startswith(name) for name in named) for row in tried)


def test_how_small_worlds_came_out_is_said_of_all_worlds_of_a_method() -> None:
    outcome = {row[0]: row[-1] for row in TOYS}
    found = {each.name: each.checked for each in methods()}
    assert (outcome["degla"], outcome["degla_teacher"]) == ("no", "in every seed")
    assert "small world: not ahead and ahead in every seed" in found["DeGLA"]
    assert (outcome["clip_moe"], outcome["align"]) == ("in the mean", "no")  # "clip" of ALIGN's begins the first name
    assert "small world: not ahead" in found["ALIGN"]
    assert "small world: ahead in every seed" in found["FILIP"]
    words = " ".join(method_words([each for each in methods() if each.name == "FILIP"]).split())
    assert "equations, exact, small world: ahead in every seed" in words
    said = [each.partition("small world: ")[2] for checked in found.values() for each in checked]
    one = {"ahead in every seed", "ahead in the mean", "not ahead"}
    assert {part for each in said if each for part in each.split(" and ")} == one


def test_every_objective_belongs_to_a_method_or_to_none_of_the_literature() -> None:
    general = {"answer_question", "autoencode", "box_set", "classify", "class_prototypes", "focal", "ordinal"}
    named = {part.partition("/")[2] for each in methods() for part in each.parts if part.startswith("objectives/")}
    assert {entry.name for entry in chosen("objectives")} - named == general
