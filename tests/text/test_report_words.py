"""Words of reports, told from names and numbers."""

from __future__ import annotations

import pytest

from medvlp.text.ontology import VOCABULARIES, findings, vocabulary
from medvlp.text.report_words import BARE, SMALL, clinical_words, is_clinical


def test_every_label_and_finding_is_clinical() -> None:
    names = [label.name for name in VOCABULARIES for label in vocabulary(name).labels]
    names += [finding.title for finding in findings().values()]
    assert [name for name in names if not is_clinical(name)] == []


@pytest.mark.parametrize("value", ["left", "LLL", "Lateral", "PA/LAT", "Female", "Severe", "No Finding", "true", "CT"])
def test_sides_views_sexes_and_grades_are_clinical(value: str) -> None:
    assert is_clinical(value)


@pytest.mark.parametrize(
    "value", ["Jane Miller", "Miller, left", "AB-12", "4711", "Ward 7", "Jane Lung", "An Do", "", "A B"]
)
def test_one_other_word_and_a_value_is_not(value: str) -> None:
    assert not is_clinical(value)


def test_words_that_nobody_is_called_are_no_small_words() -> None:
    assert not BARE & SMALL
    assert {"effusion", "haemorrhage", "pneumothoraces"} <= clinical_words()
