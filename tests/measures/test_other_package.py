"""A measure of another package, found by its entry point, is made like one of this package's own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml

from medvlp.config.evaluate import evaluate, load_evaluation
from medvlp.core import registry
from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.evaluation.results import load_result
from medvlp.measures import check_choice, chosen_measures, point_values

if TYPE_CHECKING:
    from medvlp.config.train import Trained
    from medvlp.phantom.cohort import CohortSummary

CODE = '''
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Metric, Result


class MeanScore(Measure):
    """Mean of the scores of a finding."""

    reads = frozenset({"scores"})
    points = ("mean_score",)
    order = 5

    def __init__(self, *, finding: str = "effusion") -> None:
        self.finding = finding

    def values(self, said, cohort):
        return {f"mean_score/{self.finding}": float(said.scores[self.finding].mean())}

    def run(self, evaluation):
        for name, _, said in evaluation.giving("scores"):
            (value,) = self.values(said, evaluation.judged.manifest).values()
            row = Metric(metric="mean_score", label=self.finding, value=value, n=len(said.ids), patients=1)
            yield Result(name=f"{name}_mean_score", metrics=(row,), recipe=evaluation.recipe, data="")


__all__ = ["MeanScore"]
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another distribution on the path, as an installer leaves it."""
    (tmp_path / "their_measures.py").write_text(CODE)
    facts = tmp_path / "their_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[medvlp.measures]\nmean_score = their_measures:MeanScore\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    caches = (registry.available, registry.component, registry.schema)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("installed")
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
@pytest.mark.usefixtures("installed")
def test_it_judges_a_bundle(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    others = [name for name in registry.available("measures") if name not in ("mean_score", "classification")]
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
