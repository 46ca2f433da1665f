"""What a model in training is told of its scores of findings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp.answers.findings import Findings
from medvlp.core.predictions import Predictions
from medvlp.data.manifest import Manifest
from medvlp.measures.classification import Classification, group_columns


def cohort(**labels: object) -> Manifest:
    columns = {f"label.{name}": values for name, values in labels.items()}
    return Manifest.of({"id": list("abcdef"), "text": [""] * 6, **columns}, root=Path())


def test_each_finding_is_measured_on_its_known_rows_and_the_macro_is_their_mean() -> None:
    generator = np.random.default_rng(0)
    scores = {name: generator.random(6) for name in ("edema", "mass", "hernia", "unlabelled")}
    scores["edema"][5] = np.nan  # its picture could not be read
    labels = {"edema": [1, 0, 1, 0, None, 1], "mass": [0, 1, -1, 0, 1, 1], "hernia": [0, 0, 0, -1, None, 0]}
    found = Classification().values(Predictions(tuple("abcdef"), scores=scores), cohort(**labels))
    edema, mass = [1, 0, 1, 0], [0, 1, 0, 1, 1]
    rows = [0, 1, 3, 4, 5]
    assert found["auroc/edema"] == pytest.approx(roc_auc_score(edema, scores["edema"][:4]))
    assert found["auroc/mass"] == pytest.approx(roc_auc_score(mass, scores["mass"][rows]))
    assert found["average_precision/mass"] == pytest.approx(average_precision_score(mass, scores["mass"][rows]))
    for metric in ("auroc", "average_precision"):
        assert found[f"{metric}/macro"] == np.mean([found[f"{metric}/edema"], found[f"{metric}/mass"]])
    # One class only, or no column: no number, not a wrong one.
    assert {name.partition("/")[2] for name in found} == {"edema", "mass", "macro"}


def test_a_positive_of_unknown_size_is_in_no_third() -> None:
    manifest = cohort(mass=[1, 1, 1, 1, 1, 0]).with_column("size.mass", [None, np.nan, 3.0, 9.0, 30.0, None])
    judged = SimpleNamespace(manifest=manifest)
    evaluation = SimpleNamespace(judged=judged, options=SimpleNamespace(groups=[]), labels=["mass"])
    thirds = [None, None, "1 small", "2 medium", "3 large", None]
    assert {name: each.tolist() for name, each in group_columns(evaluation).items()} == {"group:size@mass": thirds}


def test_without_any_known_finding_there_is_no_number() -> None:
    said = Predictions(tuple("abcdef"), scores={"edema": np.arange(6.0)})
    assert Classification().values(said, cohort(mass=[0, 1, 0, 1, 0, 1])) == {}
    assert Classification().values(said, cohort(edema=[0] * 6)) == {}


def test_an_answer_of_some_findings_is_not_grouped_by_the_size_of_others() -> None:
    """Whose labels its table lacks: a model of prompts and of a head for one finding could not be evaluated."""
    manifest = cohort(mass=[1, 1, 1, 0, 0, 0], edema=[0, 1, 0, 1, 0, 1])
    manifest = manifest.with_column("size.mass", [3.0, 9.0, 30.0, None, None, None])
    some, every = ({name: np.arange(6.0) for name in names} for names in (("edema",), ("edema", "mass")))
    said = [
        (name, Findings(labels=list(s)), Predictions(tuple("abcdef"), scores=s))
        for name, s in (("head", some), ("prompts", every))
    ]
    told: dict[str, set[str]] = {}
    evaluation: Any = SimpleNamespace(
        judged=SimpleNamespace(manifest=manifest), manifest=manifest, labels=["edema", "mass"], validation=None,
        options=SimpleNamespace(groups=[]), giving=lambda part: said,
        scores=lambda name, scores, title, *, groups, **more: told.update({name: set(groups)}),
    )  # fmt: skip
    list(Classification().run(evaluation))
    assert told == {"head": set(), "prompts": {"group:size@mass"}}
