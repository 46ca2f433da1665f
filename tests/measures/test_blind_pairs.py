"""Blind pairs from a configuration: the same pairs before and after, and what is told where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.table import FeatureTable
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.pair_patterns import PATTERNS
from medvlp.measures import chosen_measures
from medvlp.measures.blind_pairs import BlindPairs
from medvlp.runs.evaluate import load_evaluation, open_evaluation

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


@pytest.fixture(scope="module")
def evaluation(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("blind")
    data = {"root": str(tiny_cohort.root), "layout": "phantom", "where": {"view_position": ["PA", "AP"]}}
    options = {"resamples": 100, "min_positives": 1, "split": "train"}
    tree = {"model": str(tiny_run.bundle), "out": str(folder / "out"), "workers": 1}
    tree |= {"data": {**data, "allow_leaks": True}, "evaluation": options}
    (folder / "e.yaml").write_text(yaml.safe_dump(tree))
    return open_evaluation(load_evaluation(folder / "e.yaml"))


def told(evaluation: Evaluation, **options: Any) -> Any:
    (result,) = BlindPairs(**options).run(evaluation)
    return result


def test_tables_of_both_towers_fix_the_pairs_and_those_of_one_patient_are_none(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    manifest, image = evaluation.seen_rows()
    ids = list(map(str, manifest.column("id").tolist()))
    draw = np.random.default_rng(0)
    tables = {"ours": image + 0.01 * draw.normal(size=image.shape), "other": draw.normal(size=(len(ids), 6))}
    for name, rows in tables.items():
        FeatureTable([*ids, "elsewhere"], {"image/embedding": np.vstack([rows, rows[:1]])}).save(tmp_path / name)
    files = {name: str(tmp_path / name) for name in tables}
    result = told(evaluation, **files, by="quantile", alike=0.3, apart=0.8)
    cases = result.cases
    assert set(cases["pattern"]) >= {"presence"}
    assert not (cases["patient_id"] == cases["other_patient_id"]).any()
    assert (cases["ours"] > result.options["alike"]).all()
    assert (cases["other"] < result.options["apart"]).all()
    unit = {
        name: dict(zip(ids, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))
        for name, rows in tables.items()
    }
    first = cases.iloc[0]
    assert first["ours"] == pytest.approx(unit["ours"][first["id"]] @ unit["ours"][first["other_id"]], abs=1e-6)
    texts = evaluation.model.embed_text([first["statements"].split(" / ")[0]])
    assert texts.shape[1] == image.shape[1]
    row = result.find("pair_accuracy", "blind_pairs")
    assert row.value == cases["right"].mean()
    assert (row.chance, row.counts.n) == (0.25, len(cases))
    assert result.caveats == ()
    own = told(evaluation, other=files["other"], by="quantile", alike=0.3, apart=0.8, patterns=("presence",))
    assert own.caveats == ("The pairs were chosen because this model sees them alike.",)
    assert set(own.cases["pattern"]) == {"presence"}


def test_without_pairs_it_says_so(evaluation: Evaluation) -> None:
    with pytest.raises(DataError, match=r"blind_pairs finds no question: 0 pairs are blind \(alike above 1.000\)"):
        told(evaluation, alike=1.0)


def test_faulty_patterns_are_told_by_their_path() -> None:
    with pytest.raises(ConfigError, match="There is no pattern 'sides' of blind pairs: did you mean 'side'"):
        chosen_measures({"blind_pairs": {"patterns": ["sides"]}})
    assert any(isinstance(each, BlindPairs) for each in chosen_measures({"blind_pairs": {}}))


def test_the_shipped_configuration_measures_them_with_fixed_pairs() -> None:
    config = load_evaluation("evaluate/phantom_blind_pairs.yaml", ["model=RUN/bundle"])
    (blind,) = (each for each in chosen_measures(config.evaluation.measures) if isinstance(each, BlindPairs))
    assert (blind.by, blind.ours, blind.patterns) == ("quantile", "runs/blind/ours.parquet", tuple(PATTERNS))
