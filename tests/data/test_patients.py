"""Patients of a release that names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.grouping import patient_caveats, with_patients
from medvlp.data.manifest import Manifest


def manifest(**columns: list[object]) -> Manifest:
    return Manifest.of({"id": ["a", "b", "c"], "text": ["x", "y", "z"], **columns}, root=Path(), meta={"kept": 1})


def test_equal_values_are_one_patient_and_every_selection_still_says_so() -> None:
    made = with_patients(manifest(**{"id.study": ["s", "s", "t"]}), "id.study")
    assert made.column("id.patient").tolist() == ["s", "s", "t"]
    assert made.meta["kept"] == 1
    (sentence,) = patient_caveats(made.take([0]))
    assert sentence == "Patients are not known: each id.study counts as one, so intervals may be too narrow."
    assert patient_caveats(manifest()) == ()


def test_a_column_that_is_not_there_or_has_gaps_is_refused() -> None:
    with pytest.raises(DataError, match=r"has no column 'id\.case'"):
        with_patients(manifest(), "id.case")
    with pytest.raises(DataError, match=r"Patients by id\.study: 1 of \d+ rows have none: choose id"):
        with_patients(manifest(**{"id.study": ["s", None, "t"]}), "id.study")
