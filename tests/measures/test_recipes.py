"""An evaluation tells other recipes, single prompts, images found by images and sentences with one fact changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.evaluation.results import load_result
from medvlp.evaluation.scoring.score import recompute
from medvlp.runs.evaluate import evaluate, load_evaluation

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


def words(run: Trained, cohort: CohortSummary, out: Path) -> list[str]:
    told = [f"model={run.bundle}", f"out={out}", f"data.root={cohort.root}", "workers=1", "evaluation.resamples=100"]
    told += ["evaluation.gallery=0", "evaluation.min_positives=1", "evaluation.split=train", "data.allow_leaks=true"]
    told += ["evaluation.measures.probes=null"]
    return told


@pytest.mark.slow
def test_every_new_measure_is_a_result_and_on_the_page(
    tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    asked = [
        *words(tiny_run, tiny_cohort, tmp_path),
        "evaluation.measures.recipes.recipes=[zero_shot, chexzero_v1, gloria_v1]",
    ]
    done = evaluate(load_evaluation("configs/evaluate/phantom.yaml", asked))
    names = {"zero_shot", "zero_shot_zero_shot", "zero_shot_chexzero_v1", "zero_shot_gloria_v1", "prompt_sensitivity"}
    assert names | {"image_retrieval", "sentence_check", "retrieval"} <= set(done.found)
    # The bundle's own recipe by its name is what is told without a name.
    own, again = done.found["zero_shot"], done.found["zero_shot_zero_shot"]
    for row in again.metrics:
        if row.group is None:
            assert row.value == own.find(row.metric, row.label, split=row.split).value
    assert own.recipe != again.recipe != done.found["zero_shot_chexzero_v1"].recipe
    assert any("depend on the other images" in each for each in done.found["zero_shot_gloria_v1"].caveats)
    assert not any("depend on" in each for each in done.found["zero_shot_chexzero_v1"].caveats)
    sensitivity = done.found["prompt_sensitivity"]
    assert sensitivity.cases is not None
    for row in sensitivity.metrics:
        values = sensitivity.cases["auroc"][sensitivity.cases["label"] == row.label].dropna()
        if row.metric == "oracle_auroc_highest":
            assert row.value == (values.max() if len(values) else None)
    assert done.found["sentence_check"].find("auroc", "sentence_margin").value is not None
    for name, result in done.found.items():
        assert load_result(tmp_path / "results" / f"{name}.json", cases=False) == result
    page = done.page.read_text()
    for word in ("chexzero_v1", "depend on the other images", "Single prompts", "True sentence against one fact"):
        assert word in page
    assert "NaN" not in page
    cases = done.found["image_retrieval"].cases
    assert cases is not None
    assert np.isfinite(cases["average_precision"]).all()


@pytest.mark.slow
def test_what_is_chosen_is_chosen_on_validation_pictures(
    tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    asked = [*words(tiny_run, tiny_cohort, tmp_path), "evaluation.split=test", "evaluation.measures.sentences=null"]
    asked += ["evaluation.measures.grounding=null", "evaluation.measures.uncertain_prompts.recipes=[chexzero_v1]"]
    found = evaluate(load_evaluation("configs/evaluate/phantom.yaml", asked), page=False).found
    result = found["zero_shot"]
    assert result.cases is not None
    assert set(result.cases["split"]) == {"validate", "test"}
    assert recompute(result).metrics == result.metrics
    validation = result.cases[result.cases["split"] == "validate"]
    for label, entry in result.fitted.items():
        both = {0.0, 1.0} <= set(validation[f"label:{label}"].tolist())
        assert ("operating_points" in entry) == both
        row = result.find("sensitivity", label, split="test", operating_point="youden")
        if row.value is not None:
            assert row.threshold == entry["operating_points"]["youden"]["threshold"]
    known = found["zero_shot"].cases
    assert known is not None
    known = known[known["split"] == "test"].set_index("id")
    uncertain = {str(c) for c in known.columns if str(c).startswith("label:") and (known[c] == -1).any()}
    uncertain_result = found.get("doubt_chexzero_v1")
    assert (uncertain_result is None) == (not uncertain)
    if uncertain_result is not None:
        table = uncertain_result.cases
        assert table is not None
        assert {str(c) for c in table.columns if str(c).startswith("label:")} == uncertain
        for label in uncertain:
            assert ((table[label] == 1).to_numpy() == (known.loc[table["id"], label] == -1).to_numpy()).all()


@pytest.mark.slow
def test_a_recipe_without_labels_is_refused(tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r_v1\nabout: x\nrecipe: {name: pair_softmax}\nfindings: {hernia: [hernia]}\n"
        "templates: {positive: ['{finding}'], negative: ['no {finding}']}\n"
    )
    asked = [*words(tiny_run, tiny_cohort, tmp_path / "out"), f"evaluation.measures.recipes.recipes=[{path}]"]
    with pytest.raises(DataError, match="'r_v1' scores no finding that this data has labels of"):
        evaluate(load_evaluation("configs/evaluate/phantom.yaml", asked))
