"""The table of a suite: what is looked up, what is published beside it, and that it can be read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from medvlp.core.errors import DataError
from medvlp.data.reproduction import Claim, Reported, ReproductionCard
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.suite import (
    Suite,
    SuiteLine,
    Wanted,
    load_suite_table,
    published_rows,
    published_table,
    suite_numbers,
    suite_table,
)
from medvlp.evaluation.tables import to_csv, to_markdown
from medvlp.evaluation.words import rule_words
from medvlp.pages.grid import render_suite


def row(metric: str = "auroc", value: float | None = 0.8, **facts: object) -> Metric:
    flat = {"label": "macro", "low": 0.7, "high": 0.9, "n": 40, "patients": 30, "split": "test", **facts}
    return TypeAdapter(Metric).validate_python({"metric": metric, "value": value, **flat})


def result(name: str, *metrics: Metric, role: str = "model") -> Result:
    return Result(name=name, recipe="r", data="d", metrics=metrics, role=role)  # type: ignore[arg-type]


RESULTS = {
    "zero_shot": (
        result(
            "zero_shot",
            row(labels_used=14),
            row(value=0.9, group="sex=F"),
            row(value=0.6, split="validate"),
            row("sensitivity", 0.75, operating_point="youden"),
            row("sensitivity", 0.9, operating_point="sensitivity_0.9"),
            *(row("brier", value, calibration=name) for name, value in (("none", 0.2), ("platt", 0.1))),
        ),
        "a" * 64,
    ),
    "grounding_centre": (result("grounding_centre", row("pointing_game", 0.2), role="control"), "b" * 64),
    "grounding_hires_cam": (result("grounding_hires_cam", row("pointing_game", 0.5)), "c" * 64),
}
LINE = SuiteLine(
    name="nih", config="nih.yaml", card="nih", title="NIH", split="official, test", folder="nih", state="finished"
)
PAPER = Reported(value=0.77, source="the paper", recalled=True)
CARDS = (
    ReproductionCard(
        model="m",
        title="M <i>",
        cite="c",
        claims=(
            Claim(data="nih", split="official", task="zero_shot", metric="auroc", paper=PAPER),
            Claim(data="nih", split="benchx", task="zero_shot", metric="auroc"),
            Claim(data="nih", split="official", task="fine_tune", metric="auroc", paper=PAPER),
        ),
    ),
)
CLAIMS = [(card, claim) for card in CARDS for claim in card.claims]


def numbers(*wanted: Wanted):
    return suite_numbers("nih", wanted, RESULTS, "test")


def test_a_number_is_the_row_of_the_judged_split_of_everybody() -> None:
    (found,) = numbers(Wanted(result="zero_shot", metric="auroc", label="macro"))
    assert found.row is not None
    assert (found.row.value, found.row.split, found.sha256) == (0.8, "test", "a" * 64)
    (group,) = numbers(Wanted(result="zero_shot", metric="auroc", label="macro", group="sex=F"))
    assert group.row is not None
    assert group.row.value == 0.9


def test_a_number_at_thresholds_is_of_the_first_and_one_of_probabilities_of_those_that_are_released() -> None:
    sensitivity, brier = numbers(*(Wanted(result="zero_shot", metric=name) for name in ("sensitivity", "brier")))
    assert [each.row and each.row.value for each in (sensitivity, brier)] == [0.75, 0.1]
    words = Suite(title="t", model="m", bundle="b", lines=(LINE,), numbers=(sensitivity, brier), published=())
    assert [entries[4] for entries in suite_table(words).rows] == [f"macro, {rule_words('youden')}", "macro"]


def test_a_pattern_takes_the_models_result_and_never_a_control() -> None:
    (found,) = numbers(Wanted(result="grounding_*", metric="pointing_game", label="macro"))
    assert found.wanted.result == "grounding_hires_cam"
    assert found.row is not None
    assert found.row.value == 0.5


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(result="existence", metric="auroc", label="macro"),
        Wanted(result="zero_shot", metric="auroc", label="effusion"),
    ],
)
def test_what_nobody_measured_has_no_row(wanted: Wanted) -> None:
    (found,) = numbers(wanted)
    assert (found.row, found.sha256) == (None, "")


def test_published_numbers_are_of_the_usual_measure_and_ours_only_of_that_model_on_that_split() -> None:
    usual = numbers(Wanted(result="zero_shot", metric="auroc", label="macro", usual=True))
    beside = published_rows(LINE, usual, CLAIMS)
    assert [(each.claim.split, each.claim.task, each.claim.ours) for each in beside] == [
        ("official", "zero_shot", None),
        ("benchx", "zero_shot", None),
    ]
    ours = [each.claim.ours for each in published_rows(LINE, usual, CLAIMS, reproduces="m")]
    assert ours[0] is not None
    assert (ours[0].value, ours[0].results, ours[0].sha256) == (0.8, "nih/results/zero_shot.json", "a" * 64)
    assert ours[1] is None  # another split
    other = numbers(Wanted(result="zero_shot", metric="auroc", label="macro"))
    assert published_rows(LINE, other, CLAIMS) == ()


def suite() -> Suite:
    asked = numbers(
        Wanted(result="zero_shot", metric="auroc", label="macro", usual=True),
        Wanted(result="zero_shot", metric="auroc", label="effusion"),
    )
    left = SuiteLine(name="b", config="b.yaml", folder="b", state="not begun", reason="its data is not there.")
    beside = published_rows(LINE, asked, CLAIMS, reproduces="m")
    return Suite(title="T", model="b", bundle="f" * 64, lines=(LINE, left), numbers=asked, published=beside)


def test_the_table_is_read_back_as_it_was_written_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    written = suite().model_dump_json(by_alias=True)
    path.write_text(written)
    assert load_suite_table(path) == suite()
    path.write_text(written.replace("medvlp.suite/1", "medvlp.suite/9"))
    with pytest.raises(DataError, match=r"is no table of schema medvlp\.suite/1: schema: .*; make it again"):
        load_suite_table(path)
    with pytest.raises(DataError, match=r"none\.json does not exist: run `medvlp evaluate SUITE\.yaml` to make it"):
        load_suite_table(tmp_path / "none.json")


def test_the_tables_and_the_page_say_what_is_there_what_is_not_and_where_it_is_from() -> None:
    text = to_markdown(suite_table(suite()))
    assert "| NIH | official, test | zero_shot | auroc (usual) | macro | 0.800 (0.700–0.900) | 40 |  | 30 | 14 |" in (
        text.replace("**", "")
    )
    assert "b is not begun: its data is not there." in text
    assert "0.77" in to_markdown(published_table(suite()))
    assert to_csv(suite_table(suite())).startswith("Data set,")
    page = render_suite(suite())
    assert "One bundle on 1 of 2 data sets. 1 numbers, 1 of them such as papers report. 1 more was asked for" in page
    assert "M &lt;i&gt;" in page
    assert '<b>0.800</b><span class="small">0.700 to 0.900</span></td><td class="n">40</td>' in page
    assert "0.770: the paper (recalled)" in page
    assert "0.770*" in page
    assert "not measured" in page
    assert "left out: its data is not there." in page
