from __future__ import annotations

import csv
from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.text.adapters.chexbert import CHEXBERT_FINDINGS, read_chexbert
from medvlp.text.labels import label_report
from medvlp.text.ontology import vocabulary


def table(path: Path, *rows: dict[str, str]) -> Path:
    """As label.py writes it: the report first, then the conditions."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, ["Report Impression", *CHEXBERT_FINDINGS], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_present_absent_uncertain_and_not_mentioned_are_kept_apart(tmp_path) -> None:
    path = table(
        tmp_path / "t.csv",
        {"Report Impression": "a, b", "Edema": "1.0", "Pneumonia": "-1.0", "Pleural Effusion": "0.0", "Fracture": ""},
    )
    (row,) = read_chexbert(path)
    said = {finding: value for finding, value in row.labels.items() if value is not None}
    assert said == {"edema": 1.0, "pneumonia": -1.0, "effusion": 0.0}
    assert row.others == {"Report Impression": "a, b"}


def test_classes_are_the_same_labels_in_other_codes(tmp_path) -> None:
    codes = ["0", "1", "2", "3"]
    labels = {"0": "", "1": "1", "2": "0", "3": "-1"}
    names = list(CHEXBERT_FINDINGS)
    classes = {name: codes[place % 4] for place, name in enumerate(names)}
    one = read_chexbert(table(tmp_path / "classes.csv", classes), codes="classes")
    other = read_chexbert(table(tmp_path / "labels.csv", {name: labels[code] for name, code in classes.items()}))
    assert [row.labels for row in one] == [row.labels for row in other]


def test_its_14_conditions_are_those_of_the_chexpert_vocabulary() -> None:
    assert set(CHEXBERT_FINDINGS.values()) == {label.key for label in vocabulary("chexpert14").labels}
    assert set(CHEXBERT_FINDINGS.values()) == set(label_report("No effusion.", "chexpert14"))


@pytest.mark.parametrize(
    ("value", "codes", "message"),
    [
        (
            "2",
            "labels",
            r"line 2, Edema is '2', allowed with codes='labels' are blank, 1, 0, -1; codes='classes'",
        ),
        ("-1", "classes", r"is '-1', allowed with codes='classes' are 0, 1, 2, 3; codes='labels' has it, set that"),
        ("yes", "labels", r"Edema is 'yes', .*: check the table"),
    ],
)
def test_a_value_that_the_codes_do_not_have_is_refused(tmp_path, value, codes, message) -> None:
    with pytest.raises(DataError, match=message):
        read_chexbert(table(tmp_path / "t.csv", dict.fromkeys(CHEXBERT_FINDINGS, "1") | {"Edema": value}), codes=codes)


def test_other_tables_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"t\.csv does not exist"):
        read_chexbert(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("id,Edema\n1,1\n")
    with pytest.raises(DataError, match=r"lacks CheXbert's column 'Enlarged .*' \(13 of 14 are missing\)"):
        read_chexbert(tmp_path / "t.csv")
    with pytest.raises(DataError, match="has no rows"):
        read_chexbert(table(tmp_path / "t.csv"))
    with pytest.raises(ConfigError, match="codes is 'numbers', allowed are labels, classes"):
        read_chexbert(tmp_path / "t.csv", codes="numbers")
