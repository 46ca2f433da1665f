"""A measure of another package, found by its entry point, is made like one of this package's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml

from medvlp.core.predictions import Predictions
from medvlp.core.registry import available
from medvlp.data.manifest import Manifest
from medvlp.evaluation.results import load_result
from medvlp.measures import check_choice, chosen_measures, point_values
from medvlp.runs.evaluate import evaluate, load_evaluation
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
