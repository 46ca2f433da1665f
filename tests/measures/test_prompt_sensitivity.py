"""Each prompt has the AUROC of its own scores; the spread describes them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medvlp.core.errors import DataError
from medvlp.measures.prompt_sensitivity import evaluate_prompt_sensitivity


def test_rows_are_scikit_learns_and_their_order_statistics() -> None:
    draws = np.random.default_rng(0)
    truth = np.array([0, 1, 0, 1, 1, 0, -1, np.nan])
    scores = {f"p{i}": draws.normal(size=8) for i in range(3)}
    found = evaluate_prompt_sensitivity({"a": scores}, {"a": truth}, list("abcdefgh"))
    values = [roc_auc_score(truth[:6], each[:6]) for each in scores.values()]
    assert found.cases is not None
    assert found.cases["prompt"].tolist() == list(scores)
    np.testing.assert_allclose(found.cases["auroc"], values, atol=1e-12)
    row = found.find("auroc_median", "a")
    assert (row.value, row.counts.n, row.counts.positives, row.counts.patients) == (
        pytest.approx(np.median(values)),
        6,
        3,
        6,
    )
    assert found.find("auroc_lowest", "a").value == pytest.approx(min(values))
    assert found.find("oracle_auroc_highest", "a").value == pytest.approx(max(values))
    assert found.find("auroc_range", "a").value == pytest.approx(max(values) - min(values))


def test_a_finding_of_one_class_has_no_number_and_one_without_labels_is_refused() -> None:
    scores = {"a": {"p": np.zeros(2)}}
    found = evaluate_prompt_sensitivity(scores, {"a": [1, 1]}, ["x", "y"])
    row = found.find("auroc_range", "a")
    assert (row.value, row.reason) == (None, "no_negatives")
    with pytest.raises(DataError, match="scores of 'a' and no labels"):
        evaluate_prompt_sensitivity(scores, {}, ["x", "y"])
    with pytest.raises(DataError, match="have different lengths"):
        evaluate_prompt_sensitivity(scores, {"a": [1, 0, 1]}, ["x", "y", "z"])
