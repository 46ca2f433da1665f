"""Findings of a classifier are the sigmoid of its logits, or their softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from medvlp.answers.findings import Findings
from medvlp.core.answers import Ask
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.table import FeatureTable
from tests.answers.tiny import said_of, table_of
from tests.models.words import dual

LABELS = ["effusion", "nodule", "edema"]
LOGITS = np.array([[0.3, -2.0, 900.0], [-1.0, 4.0, -900.0], [0.0, 0.0, 0.0]], np.float32)


@pytest.fixture(scope="module")
def model() -> Any:
    model = dual(seed=1)
    model.mount({"image/said": HeadSpec("linear", {"classes": 3}, keep=True)}, Plan.of(keys("image/said")))
    return model.eval()


def table(values: np.ndarray = LOGITS) -> FeatureTable:
    return FeatureTable([str(i) for i in range(len(values))], {"image/said": values})


def test_alone_each_is_a_sigmoid(model: Any) -> None:
    said = said_of(Findings(labels=LABELS, part="said"), model, table())
    assert said.scores is not None
    assert list(said.scores) == LABELS
    for row, logits in enumerate(LOGITS.tolist()):
        for label, logit in zip(LABELS, logits, strict=True):
            expected = 1 / (1 + math.exp(-logit)) if abs(logit) < 700 else float(logit > 0)
            assert said.scores[label][row] == pytest.approx(expected, abs=1e-12)


def test_exclusive_ones_are_a_softmax(model: Any) -> None:
    said = said_of(Findings(labels=LABELS, part="said", exclusive=True), model, table())
    assert said.scores is not None
    for row, logits in enumerate(LOGITS.tolist()):
        grown = [math.exp(value - max(logits)) for value in logits]
        shares = [said.scores[label][row] for label in LABELS]
        assert shares == pytest.approx([value / sum(grown) for value in grown], abs=1e-12)
        assert sum(shares) == pytest.approx(1)


def test_ordered_ones_are_products_of_sigmoids(model: Any) -> None:
    answer = Findings(labels=LABELS, part="said", ordered=True)
    said = said_of(Findings(**answer.released()), model, table())  # type: ignore[arg-type]
    assert said.scores is not None
    for row, logits in enumerate(LOGITS[:, :2].tolist()):
        first, second = (1 / (1 + math.exp(-value)) for value in logits)
        shares = [said.scores[label][row] for label in LABELS]
        assert shares[:2] == pytest.approx([first, first * second], abs=1e-12)
        assert shares == sorted(shares, reverse=True)


def test_some_are_asked_for_and_a_row_without_a_picture_has_none(model: Any) -> None:
    answer = Findings(labels=LABELS, part="said")
    some = said_of(answer, model, table(), Ask(findings=("edema",)))
    assert some.scores is not None
    assert list(some.scores) == ["edema"]
    blank = LOGITS.copy()
    blank[1] = np.nan
    for exclusive in (False, True):
        said = said_of(Findings(labels=LABELS, part="said", exclusive=exclusive), model, table(blank))
        assert said.scores is not None
        assert all(np.isnan(values).tolist() == [False, True, False] for values in said.scores.values())


def test_it_reads_what_the_head_gives_in_the_labels_order(model: Any) -> None:
    answer = Findings(labels=LABELS, part="said")
    answer.check(model)
    made = table_of(model, answer.needs(model))
    said = said_of(answer, model, made)
    assert said.scores is not None
    for i, label in enumerate(LABELS):
        np.testing.assert_allclose(said.scores[label], 1 / (1 + np.exp(-made["image/said"][:, i])), atol=1e-6)
    assert Findings(**answer.released()).released() == answer.released()  # type: ignore[arg-type]


def test_labels_that_do_not_fit_are_refused(model: Any) -> None:
    with pytest.raises(ConfigError, match=r"A head's findings are \[\]: name each once, in the order of its outputs"):
        Findings(labels=[])
    with pytest.raises(ConfigError, match="name each once"):
        Findings(labels=["edema", "edema"])
    with pytest.raises(ConfigError, match=r"The head image/said gives \(3,\), not a logit for 2 findings"):
        said_of(Findings(labels=["edema", "mass"], part="said"), model, table())
    with pytest.raises(ConfigError, match="Need 'image/other' cannot be computed"):
        Findings(labels=["edema"], part="other").check(model)
