"""A measure of another package, found by its entry point, is made like one of this package's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from medvlp.core.errors import ConfigError
from medvlp.core.predictions import Predictions
from medvlp.core.registry import available
from medvlp.data.manifest import Manifest
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result, load_result
from medvlp.measures import check_choice, chosen_measures, first_choice, point_values
from medvlp.runs.evaluate import evaluate, load_evaluation, results_of
from tests.messages import messages
from tests.plugins import installed

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


@pytest.fixture(autouse=True)
def package() -> Iterator[None]:
    with installed("mean_score", mean_score="measures mean_score:MeanScore"):
        yield


def test_it_is_chosen_takes_options_and_measures_a_model_in_training() -> None:
    measures = chosen_measures({"mean_score": {"finding": "edema"}})
    assert (type(measures[0]).__name__, measures[0].finding) == ("MeanScore", "edema")  # pyrefly: ignore
    from medvlp.answers.findings import Findings

    answer = Findings(labels=["effusion"])
    check_choice("mine/mean_score/effusion", {"mine": answer})
    said = Predictions(("a", "b"), scores={"effusion": np.array([0.25, 0.75])})
    cohort = Manifest.of({"id": ["a", "b"], "text": ["", ""]}, root=Path())
    assert point_values("mine", answer, said, cohort) == {"mine/mean_score/effusion": 0.5}


class Needy(Measure):
    """One that cannot be without an option, and is not usual."""

    reads = frozenset({"scores"})
    points = ("needy",)
    usual = False

    def __init__(self, *, finding: str) -> None:
        self.finding = finding

    def values(self, said: Predictions, cohort: Manifest) -> dict[str, float]:
        return {f"needy/{self.finding}": 1.0}

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        yield from ()


def test_one_that_cannot_be_without_options_measures_who_gives_them_and_nobody_else() -> None:
    from medvlp.answers.findings import Findings

    answers = {"mine": Findings(labels=["effusion"])}
    said = Predictions(("a", "b"), scores={"effusion": np.array([0.25, 0.75])})
    cohort = Manifest.of({"id": ["a", "b"], "text": ["", ""]}, root=Path())
    options = {"needy": {"finding": "effusion"}}
    with installed(aa_needy=f"measures {__name__}:Needy", needy=f"measures {__name__}:Needy"):
        assert "mine/needy/effusion" not in point_values("mine", answers["mine"], said, cohort)
        assert point_values("mine", answers["mine"], said, cohort, options=options)["mine/needy/effusion"] == 1
        check_choice("mine/needy/effusion", answers, options=options)
        with pytest.raises(ConfigError, match="'mine' is measured by no 'needy' while training"):
            check_choice("mine/needy/effusion", answers)
        # What is not usual, or comes later in the order of measures, does not choose unasked.
        everything = {**options, "aa_needy": {"finding": "effusion"}, "mean_score": None}
        assert first_choice(answers, ["label.effusion"], options=everything) == "mine/mean_score/macro"


class Unasked(Needy):
    """One that is not usual, and needs no option."""

    def __init__(self) -> None:
        super().__init__(finding="effusion")


def test_one_that_is_not_usual_measures_training_only_where_it_is_named() -> None:
    from medvlp.answers.findings import Findings

    said = Predictions(("a", "b"), scores={"effusion": np.array([0.25, 0.75])})
    cohort = Manifest.of({"id": ["a", "b"], "text": ["", ""]}, root=Path())
    with installed(unasked=f"measures {__name__}:Unasked"):
        for options, named in (({}, False), ({"unasked": None}, False), ({"unasked": {}}, True)):
            found = point_values("mine", Findings(labels=["effusion"]), said, cohort, options=options)
            assert ("mine/needy/effusion" in found) is named


class Climbing(Measure):
    """One whose result would be written elsewhere."""

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        yield Result(name="findings/climbs", metrics=())


class Unfinished(Measure):
    """One that forgot to give what it made."""

    def run(self, evaluation: Evaluation) -> Any:
        Result(name="unfinished", metrics=())


class Returned(Measure):
    """One that returns its result and does not yield it."""

    def run(self, evaluation: Evaluation) -> Any:
        return Result(name="returned", metrics=(), recipe="", data="")


class Tables(Measure):
    """One that yields what is no result."""

    def run(self, evaluation: Evaluation) -> Iterator[Any]:
        yield {"mean_score": 0.5}


class Twice(Measure):
    """One that yields two results of one name, of which one would be lost."""

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        for recipe in ("first", "second"):
            yield Result(name="twice", metrics=(), recipe=recipe, data="")


def test_results_have_the_names_of_files_and_each_its_own() -> None:
    evaluation: Any = SimpleNamespace(marked=lambda result: result)
    with pytest.raises(ConfigError, match="Climbing names a result 'findings/climbs': give it that of a file"):
        results_of([Climbing()], evaluation)
    for measure, kind in ((Unfinished(), "NoneType"), (Returned(), "Result"), (Tables(), "dict")):
        told = rf"^{type(measure).__name__}\.run gives {kind}: let it yield Results\.$"
        with pytest.raises(ConfigError, match=told):
            results_of([measure], evaluation)
    with messages() as told:
        assert results_of([Twice()], evaluation)["twice"].recipe == "second"
    assert told == ["Two results are named 'twice': that of Twice is kept."]


@pytest.mark.slow
def test_it_judges_a_bundle(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    others = [name for name in available("measures") if name not in ("mean_score", "classification")]
    tree = {
        "model": str(tiny_run.bundle),
        "out": str(tmp_path / "out"),
        "workers": 1,
        "data": {"root": str(tiny_cohort.root), "layout": "phantom", "where": {"view_position": ["PA", "AP"]}},
        "evaluation": {
            "resamples": 100,
            "min_positives": 1,
            "gallery": 0,
            "measures": {"mean_score": {"finding": "edema"}, **dict.fromkeys(others)},
        },
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(tree))
    found = evaluate(load_evaluation(tmp_path / "e.yaml")).found
    own = next(iter(found))
    assert own.endswith("_mean_score")
    name = own.removesuffix("_mean_score")
    kept = load_result(tmp_path / "out" / "results" / f"{own}.json", cases=False)
    cases = found[name].cases
    assert cases is not None
    judged = cases[cases["split"] == "test"]
    assert kept.find("mean_score", "edema").value == pytest.approx(judged["score:edema"].mean())
