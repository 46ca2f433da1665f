"""The configurations of public data sets: their names exist, and each judges a small tree in the layout of its set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medvlp.answers.prompting.recipe_files import load_recipe, recipe_names
from medvlp.core.registry import available
from medvlp.core.resources import resource_folder
from medvlp.data.cards import cards, load_card
from medvlp.evaluation.suite import suite_numbers
from medvlp.runs.evaluate import EvaluationRun, evaluate, load_evaluation
from medvlp.runs.grid.suite import is_suite, load_suite
from tests.config.benchmark_trees import TREES

if TYPE_CHECKING:
    from medvlp.runs.train import Trained

FOLDER = resource_folder("configs") / "evaluate"
# Questions and answers; phrases with boxes of one finding each; small copies of pictures that are in other sets.
NO_FINDINGS = {"vqa_rad", "slake", "ms_cxr", "medmnist"}
SETS = sorted({path.stem for path in FOLDER.glob("*.yaml")} & set(cards()) - {"phantom", *NO_FINDINGS})
SUITES = sorted(path.name for path in (FOLDER / "suites").glob("*.yaml"))
CANNOT_BE_ASKED = {"other_lesion", "other_disease"}


def test_every_public_data_set_with_a_layout_and_findings_has_one() -> None:
    of_sets = {name for name in cards() if load_card(name).layout in available("data/layouts")}
    assert set(SETS) == of_sets - NO_FINDINGS - {"phantom"}


def options_of(config: EvaluationRun, measure: str) -> dict[str, Any]:
    return config.evaluation.measures.get(measure) or {}


@pytest.mark.parametrize("name", SETS)
def test_what_it_names_is_there(name: str) -> None:
    config, card = load_evaluation(f"evaluate/{name}.yaml"), load_card(name)
    assert config.data.layout is not None
    assert config.data.layout["name"] == name
    split = config.data.split
    if split["name"] == "published":
        facts = card.splits[split["split"]]
        assert facts.rule != "none"
        assert config.evaluation.split in facts.options["names"]
    else:  # the release has none: all of it is the test
        assert card.splits["official"].rule == "none"
        assert split == {"name": "patient", "fractions": {"test": 1.0}}
    labels = {*card.labels, *(key for words in card.vocabularies.values() for key in words)}
    for sets in (options_of(config, "classification"), options_of(config, "recipes")):
        assert {each for findings in sets.get("label_sets", {}).values() for each in findings} <= labels
    asked = {each.label for name in options_of(config, "recipes")["recipes"] for each in load_recipe(name).prompts}
    assert set(card.labels) - asked <= CANNOT_BE_ASKED
    head = (FOLDER / f"{name}.yaml").read_text().split("\nmodel:")[0]
    assert f"medvlp evaluate evaluate/{name}.yaml model=RUN/bundle out=DIR data.root=FOLDER" in head


@pytest.mark.parametrize("name", SETS)
def test_its_usual_figure_and_ours_are_of_results_that_it_makes(name: str) -> None:
    config = load_evaluation(f"evaluate/{name}.yaml")
    recipes, own = options_of(config, "recipes"), options_of(config, "classification")
    made = {"zero_shot", *(f"zero_shot_{each}" for each in own.get("label_sets", {})), "retrieval", "grounding_*"}
    for name in (f"zero_shot_{recipe}" for recipe in recipes["recipes"]):
        made |= {name, *(f"{name}_{each}" for each in recipes.get("label_sets", {}))}
    made |= set() if config.evaluation.measures.get("probes", {}) is None else {"linear_probe"}
    assert {each.result for each in config.report} <= made
    assert any(each.usual for each in config.report)
    assert any(not each.usual for each in config.report)


def test_no_label_set_has_the_name_of_a_recipe() -> None:
    for name in SETS:
        config = load_evaluation(f"evaluate/{name}.yaml")
        for measure in ("classification", "recipes"):
            assert not set(options_of(config, measure).get("label_sets", {})) & set(recipe_names())


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_is_one_and_leaves_out_what_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a quick start made in the checkout is not there
    assert is_suite(f"evaluate/suites/{name}")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "MANIFEST.sha256").write_text("x")
    plan = load_suite(f"evaluate/suites/{name}", [f"model={tmp_path / 'bundle'}", f"out={tmp_path / 'out'}"])
    assert all(run.absent for run in plan.runs)


def test_every_set_is_in_a_suite(tmp_path: Path) -> None:
    from medvlp.config.yaml import load_tree

    runs = {Path(run["config"]).stem for name in SUITES for run in load_tree(f"evaluate/suites/{name}")["runs"]}
    assert runs == {*SETS, "phantom"}


OVERRIDES = {
    "rsna_pneumonia": ["data.split={name: patient, fractions: {train: 0.4, validate: 0.2, test: 0.4}}"],
    "pneumonia_kermany": ["data.near_images=false"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TREES))
def test_it_judges_a_tree_in_the_layout_of_its_set(name: str, tiny_run: Trained, tmp_path: Path) -> None:
    TREES[name](tmp_path / "data")
    words = [f"model={tiny_run.bundle}", f"out={tmp_path / 'out'}", f"data.root={tmp_path / 'data'}", "workers=1"]
    words += [f"data.cache={tmp_path / 'cache'}", "evaluation.resamples=100", "evaluation.min_positives=1"]
    words += ["evaluation.gallery=2", *OVERRIDES.get(name, [])]
    config = load_evaluation(f"evaluate/{name}.yaml", [*words, "evaluation.measures.grounding={cases: 2, sanity: 0}"])
    done = evaluate(config, page=name == "nih_chestxray14")  # the page takes most of the time
    assert done.page.is_file() == (name == "nih_chestxray14")
    results = {each: (result, "") for each, result in done.found.items()}
    numbers = suite_numbers(name, config.report, results, config.evaluation.split)
    missing = [each.wanted for each in numbers if each.row is None or each.row.value is None]
    # The tiny bundle's prompts share no finding with some sets, and its maps need its prompts.
    assert {each.result for each in missing} <= {"zero_shot", "grounding_*"}, missing
    judged = [each.row for each in numbers if each.row is not None and each.wanted.result.startswith("zero_shot_")]
    assert all(row.counts.n >= 8 for row in judged), judged


def test_a_release_without_patients_says_so_in_its_results(tiny_run: Trained, tmp_path: Path) -> None:
    TREES["chestx_det"](tmp_path / "data")
    words = [f"model={tiny_run.bundle}", f"out={tmp_path / 'out'}", f"data.root={tmp_path / 'data'}", "workers=1"]
    words += [f"data.cache={tmp_path / 'cache'}", "evaluation.resamples=100", "evaluation.gallery=0"]
    words += ["evaluation.measures.grounding=null"]
    found = evaluate(load_evaluation("evaluate/chestx_det.yaml", words), page=False).found
    sentence = "Patients are not known: each id counts as one, so intervals may be too narrow."
    assert all(sentence in result.caveats for result in found.values())
