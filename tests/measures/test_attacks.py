"""What an attack takes away is counted against what was right, and the report of robustness puts it beside the rest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.predictions import Predictions
from medvlp.core.sample import Sample
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.measures import chosen_measures
from medvlp.measures._attack_rows import Embedded, finding_rows, recall_rows, thresholds_of
from medvlp.measures.attacks import Attacks, surrogate_of
from medvlp.runs.evaluate import evaluate, load_evaluation

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

DRAWN = {"seed": 0, "resamples": 50}


def rows_of(seen: Embedded, moved: Embedded, reports: list[str]) -> dict[tuple[str, str], float | None]:
    people = [f"P{at}" for at in range(len(reports))]
    return {(r.metric, r.label): r.value for r in recall_rows(seen, moved, reports, people, **DRAWN)}


def test_recalls_fall_by_what_was_found_and_lost() -> None:
    eye, reports = np.eye(12), [f"report {at}" for at in range(12)]
    clean = Embedded(eye, eye)
    same = rows_of(clean, clean, reports)
    assert set(same.values()) == {0.0}
    # Against everything: the own report comes last.
    away = rows_of(clean, Embedded(-eye, eye), reports)
    assert away["recall_difference@5", "image_to_report"] == pytest.approx(-1.0)
    assert away["attack_success", "image_to_report"] == away["attack_success", "report_to_image"] == 1.0
    # What was never found cannot be lost.
    none = rows_of(Embedded(-eye, eye), clean, reports)
    assert none["attack_success", "image_to_report"] is None
    assert none["recall_difference@5", "report_to_image"] == pytest.approx(1.0)


def test_equal_reports_answer_one_another() -> None:
    eye = np.eye(12)
    turned = np.roll(eye, 1, axis=0)
    found = rows_of(Embedded(eye, eye), Embedded(turned, eye), ["the same"] * 12)
    assert set(found.values()) == {0.0}


def test_success_counts_decisions_that_were_right_and_its_intervals_are_over_patients() -> None:
    clean = pd.DataFrame(
        {
            "patient_id": ["a", "a", "b", "b", "c", "d"],
            "label:x": [1.0, 1.0, 0.0, 0.0, -1.0, 1.0],
            "score:x": [0.9, 0.8, 0.1, 0.7, 0.9, 0.9],
            "label:y": [0.0, 0.0, 1.0, np.nan, 0.0, 1.0],
            "score:y": [0.1, 0.1, 0.9, 0.9, 0.1, 0.1],
        }
    )
    moved = clean.assign(**{"score:x": [0.1, 0.2, 0.1, 0.1, 0.1, 0.9], "score:y": [0.1, 0.9, 0.9, 0.1, 0.1, 0.9]})
    found = {row.label: row for row in finding_rows(clean, moved, {"x": 0.5, "y": 0.5})}
    # x: right of a, a, b, d, of which the two of a are lost; y: right of a, a, b, c, of which one is.
    assert (found["x"].value, found["x"].counts.n, found["x"].counts.positives) == (0.5, 4, 2)
    assert (found["y"].value, found["y"].counts.n) == (0.25, 4)
    assert (found["micro"].value, found["micro"].counts.n, found["micro"].counts.patients) == (0.375, 8, 4)
    assert found["micro"].interval.method == "wilson_clustered"
    assert finding_rows(clean, moved, {}) == []


def test_thresholds_are_of_the_rows_that_are_fitted_on() -> None:
    rows = Manifest.of(
        {"id": list("abcd"), "text": [""] * 4, "label.x": [0.0, 0.0, 1.0, -1.0], "label.y": [1.0] * 4}, root=Path()
    )
    scores = {"x": np.array([0.1, 0.3, 0.7, 0.0]), "y": np.zeros(4), "unknown": np.zeros(4)}
    assert thresholds_of(rows, Predictions(tuple("abcd"), scores=scores)) == {"x": pytest.approx(0.5)}
    assert thresholds_of(rows, None) == {}


def test_each_size_has_its_control_and_an_attack_is_named_once() -> None:
    attacks = [{"name": "pgd", "epsilon": 4}, {"name": "pgd", "norm": "l2", "epsilon": 4}, "random_signs"]
    made = next(each for each in chosen_measures({"attacks": {"attacks": attacks}}) if type(each).__name__ == "Attacks")
    groups = ["pgd=4", "pgd=l2 4", "random_signs=8", "random_signs=4", "random_signs=l2 4"]
    assert list(made.attacks) == groups  # pyrefly: ignore
    for faulty, words in (
        (["pgd", "pgd"], "names 'pgd' of size 8 twice"),
        ([], "attacks is empty"),
        (["pdg"], r"attacks\[0\].*did you mean 'pgd'|There is no adaptation/attacks component named 'pdg'"),
    ):
        with pytest.raises(ConfigError, match=words):
            chosen_measures({"attacks": {"attacks": faulty}})


def test_pictures_whose_reports_are_blank_are_not_attacked() -> None:
    """As of a test set without reports, joined to a training set that has them."""
    names = ["a", "b"]
    evaluation: Any = SimpleNamespace(
        giving=lambda part: iter([("zero_shot", None, None)]),
        sees=True,
        compares=True,
        features="image/embedding",
        model=SimpleNamespace(model=SimpleNamespace(vision_kind="image")),
        judged=SimpleNamespace(
            manifest=Manifest.of({"id": names, "image": ["a.png", "b.png"]}, root=Path()),
            table=FeatureTable(names, {"image/embedding": np.ones((2, 3), np.float32), "text": ["", ""]}),
            prepared=SimpleNamespace(sample=lambda at: Sample(names[at], {"image": torch.zeros(1, 8, 8)})),
        ),
    )
    assert list(Attacks().run(evaluation)) == []


def test_a_surrogate_that_is_shown_pictures_of_another_size_or_compares_no_texts_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it moves are the pixels that the victim is shown."""

    def shown(side: int, *, cosines: bool = True) -> Any:
        pixels = torch.zeros(1, side, side)
        return SimpleNamespace(prepare=lambda _: SimpleNamespace(pixels=pixels), cosines=cosines, model=side)

    victim: Any = SimpleNamespace(model=shown(64))
    for other in (shown(32), shown(64, cosines=False)):
        monkeypatch.setattr("medvlp.measures.attacks.load", lambda path, other=other: other)
        with pytest.raises(ConfigError, match=r"surrogate 'bundle' must compare texts with pictures of the size that"):
            surrogate_of("other/bundle", victim)
    monkeypatch.setattr("medvlp.measures.attacks.load", lambda path: shown(64))
    assert surrogate_of("other/bundle", victim) == 64


def asked(bundle: Path, cohort: CohortSummary, out: Path, *more: str) -> list[str]:
    own = [f"model={bundle}", f"out={out}", f"data.root={cohort.root}", f"data.cache={out.parent / 'cache'}"]
    own += ["workers=1", "data.allow_leaks=true", "evaluation.resamples=100", "evaluation.min_positives=1"]
    own += ["evaluation.measures.laterality=null"]
    own += ["evaluation.measures.robustness={cases: 20, min_positives: 1, factors: [blur, inversion]}"]
    own += ["evaluation.measures.shape_texture={cases: 20, pairs: 3, min_positives: 1}"]
    return [*own, *more]


@pytest.mark.slow
def test_the_report_of_robustness_has_every_axis_beside_the_clean_numbers(
    tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    attacks = (
        "evaluation.measures.attacks={cases: 20, fit_cases: 2, min_positives: 1, "
        f"surrogate: {tiny_run.bundle}, attacks: [{{name: pgd, steps: 2}}, {{name: c_pgc, epochs: 1, width: 16}}]}}"
    )
    words = asked(tiny_run.bundle, tiny_cohort, tmp_path / "out", attacks)
    done = evaluate(load_evaluation("evaluate/phantom_robustness.yaml", words))
    result, mixed = done.found["attacks"], done.found["shape_texture"]
    assert result.options == {"fitted_on": "validate", "fit_cases": 2, "surrogate": "bundle"}
    groups = {row.group for row in result.metrics if row.group}
    assert groups == {"pgd=8", "c_pgc=12", "random_signs=8", "random_signs=12"}
    assert {row.metric.partition("@")[0] for row in result.metrics} >= {
        "auroc_difference",
        "recall_difference",
        "attack_success",
    }
    # What is clean here is what the model says of the same pictures elsewhere.
    assert result.cases is not None
    assert mixed.cases is not None
    zero = done.found["zero_shot"].cases
    clean = result.cases[result.cases["factor"] == ""].merge(zero, on="id", suffixes=("", "_own"))
    assert zero is not None
    assert len(clean) == min(20, (zero["split"] == "test").sum())
    for name in (column for column in result.cases if column.startswith("score:")):
        assert clean[name].to_numpy() == pytest.approx(clean[f"{name}_own"].to_numpy(), abs=1e-5)
    shares = [row for row in mixed.metrics if row.metric == "shape_share"]
    assert shares[-1].label == "micro"
    assert shares[-1].counts.n == sum(row.counts.n for row in shares[:-1])
    page = done.page.read_text()
    assert 'id="holistic"' in page
    for axis in ("Distribution shift", "Corruption", "Calibration", "Out of distribution", "Prompts", "Form or detail"):
        assert axis in page


@pytest.mark.slow
def test_nothing_is_attacked_with_rows_that_are_judged(
    tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    words = asked(tiny_run.bundle, tiny_cohort, tmp_path / "out", "evaluation.split=train", "evaluation.fit=null")
    with pytest.raises(DataError, match="fits on patients that nothing is judged on"):
        evaluate(load_evaluation("evaluate/phantom_robustness.yaml", words))
