"""What is odd in a cohort is told when it is indexed."""

from __future__ import annotations

from pathlib import Path

from medvlp.data.manifest import Manifest
from medvlp.data.oddities import oddities


def test_repeated_files_missing_patients_empty_and_foreign_reports_are_counted() -> None:
    columns = {
        "id": list("abcdef"),
        "image": ["1.png", "1.png", "2.png", "3.png", "3.png", None],
        "id.patient": ["p", "", "q", "r", "", "s"],
        "text": ["Clear lungs.", None, "Kein Pleuraerguss.", "No effusion.", "", "Sin derrame pleural."],
    }
    assert oddities(Manifest.of(columns, root=Path())) == (
        "4 rows name an image that another row names too ('1.png' first): each row is a record of its own.",
        "2 of 6 rows have no patient: a split by patient refuses them, fill them in or keep rows that have one.",
        "2 of 6 rows have no report.",
        "2 of 6 reports are not in English: they are trained on as they are, and labels, triplets and sentence checks "
        "pass them over.",
    )


def test_of_a_cohort_in_order_nothing_is_said() -> None:
    columns = {"id": ["a", "b"], "image": ["1.png", "2.png"], "id.patient": ["p", "p"], "text": ["Clear.", "No mass."]}
    assert oddities(Manifest.of(columns, root=Path())) == ()
