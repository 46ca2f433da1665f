"""The page of a sweep says what its table says, and runs nothing that labels bring."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from medvlp.evaluation.cells import Difference, Limits, Measure, Reading, RunFacts, Table, TableRow
from medvlp.evaluation.cells_words import few_words
from medvlp.pages.grid import render_sweep

HOSTILE = "<script>alert(1)</script>\"'&"
MEASURES = (
    Measure(result="zero_shot", metric="auroc", label="macro", split="test"),
    Measure(result="retrieval", metric="mean_rank", label="report_to_image", split="test"),
)


def limits(low: float | None, high: float | None, *, patients: bool, reason: str = "") -> Limits:
    return Limits(
        low=low, high=high, method="patient_bootstrap_percentile" if patients else "student_t_over_seeds", reason=reason
    )


def reading(mean: float | None, *, less: float | None = None, reason: str = "") -> Reading:
    value = mean or 0.0
    difference = None
    if less is not None:
        difference = Difference(
            value=less,
            seeds=(0, 1),
            over_seeds=limits(less - 0.05, less + 0.05, patients=False),
            over_patients=limits(less - 0.01, less + 0.01, patients=True),
            p=0.01,
            p_holm=0.02,
        )
    return Reading(
        values={} if mean is None else {0: value - 0.01, 1: value + 0.01},
        mean=mean,
        sd=0.0141,
        over_seeds=limits(value - 0.1, value + 0.1, patients=False),
        over_patients=limits(value - 0.03, value + 0.03, patients=True),
        n=120,
        positives=None,
        patients=80,
        difference=difference,
        reason=reason,
    )


def table(*, reference: bool = True, label: str = "gated") -> Table:
    less = 0.021 if reference else None
    runs = tuple(RunFacts(seed=seed, folder=f"cells/x/seed-{seed}", state="finished", seconds=61.2) for seed in (0, 1))
    broken = (RunFacts(seed=0, folder="cells/y/seed-0", state="failed", reason=HOSTILE),)
    rows = (
        TableRow(
            name="pool=mean", labels={"pool": "mean"}, identity="i", runs=runs, readings=(reading(0.8), reading(9.5))
        ),
        TableRow(
            name=f"pool={label}",
            labels={"pool": label},
            identity="j",
            runs=runs,
            readings=(
                reading(0.821, less=less),
                reading(8.0, less=-1.5 if reference else None, reason="few_positives"),
            ),
        ),
        TableRow(
            name="pool=broken",
            labels={"pool": "broken"},
            identity="k",
            runs=broken,
            readings=(reading(None, reason="no_run"), reading(None, reason="no_run")),
        ),
    )
    return Table(
        title="Poolers",
        measures=MEASURES,
        rows=rows,
        reference="pool=mean" if reference else None,
        level=0.95,
        resamples=2000,
        comparisons=2,
        synthetic=True,
        caveats=("Not finished: 1 of 5 runs; means are over those that are.",),
    )


def page_of(found: Table) -> str:
    return render_sweep(found, {"every run": {"base": "a.yaml"}, "pool": {"mean": 'model.pool="mean"'}})


class _Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("brier", "brier score"), ("false_alarm", "false alarm"), ("side_error", "side error"),
        ("prior_hallucination", "prior hallucination"), ("false_supported", "false supported"),
    ],
)  # fmt: skip
def test_of_an_error_the_lowest_is_named_first(metric: str, words: str) -> None:
    error = MEASURES[0].model_copy(update={"metric": metric})
    assert f"{words}, macro is lowest for" in _Text(page_of(replace(table(), measures=(error, MEASURES[1])))).text


def test_reports_of_few_studies_are_named_in_words() -> None:
    few = MEASURES[0].model_copy(update={"metric": "recall@5", "label": "report_to_image", "group": "report_group<=3"})
    assert "reports of at most 3 studies" in _Text(page_of(replace(table(), measures=(few, MEASURES[1])))).text
    assert "report_group" not in page_of(replace(table(), measures=(few, MEASURES[1])))


def test_it_says_the_numbers_and_which_interval_is_which() -> None:
    text = _Text(page_of(table())).text
    assert "3 cells, 4 of 5 runs finished." in text
    assert "AUROC, macro is highest for pool=gated: 0.821 (95 % over patients 0.791 to 0.851), the mean of 2" in text
    assert "0.721 to 0.921" in text  # over seeds
    assert "0.791 to 0.851" in text  # over patients
    assert "+0.011 to +0.031" in text
    assert "\u22121.5" in text
    assert "2 \u2212" not in text
    assert "Student's t over the seeds' values" in text
    assert "corrected over the 2 comparisons" in text
    assert "no finished run" in text
    assert "Not finished: 1 of 5 runs" in text
    assert "7.970 to" not in text  # ranks have one digit
    assert "8.0 to 8.0 (few)" in text
    assert "Synthetic data" in text


@pytest.mark.parametrize("reason", ["few_positives", "few_negatives"])
def test_an_interval_of_few_patients_of_either_class_is_marked(reason: str) -> None:
    assert few_words(reading(0.8, reason=reason)) == " (few)"


def test_the_level_of_the_intervals_is_the_one_that_was_asked_for() -> None:
    text = _Text(page_of(replace(table(), level=0.999))).text
    assert "Intervals are 99.9 %: over patients" in text
    assert "(99.9 % over patients" in text
    assert "100 %" not in text


def test_without_a_reference_there_is_no_difference() -> None:
    text = _Text(page_of(table(reference=False))).text
    assert "Difference" not in text
    assert "The plot shows means." in text


def test_each_row_has_its_head_also_where_it_is_not_shown_again() -> None:
    heads = re.findall(r'<th scope="row">(.*?)</th>', page_of(table()))
    assert heads.count("pool=mean") == heads.count('<span class="unseen">pool=mean</span>') == 1
    assert "" not in heads


@pytest.mark.parametrize("reference", [True, False])
def test_the_forest_lies_inside_its_axis(reference: bool) -> None:
    html = page_of(table(reference=reference))
    forest = re.findall(r'<line class="whisker[^"]*" x1="([-\d.]+)%" x2="([-\d.]+)%"', html)
    assert len(forest) == (2 if reference else 4) * len(MEASURES)
    assert all(0 <= float(low) < float(high) <= 100 for low, high in forest)
    zero = {float(x) for x in re.findall(r'<line class="chance" x1="([-\d.]+)%"', html)}
    assert all(0 <= x <= 100 for x in zero) is reference


@pytest.mark.parametrize("reference", [True, False])
def test_the_axis_of_equal_numbers_is_readable(reference: bool) -> None:
    """A probe on a tower that no cell trains has one number in all of them."""
    nothing = limits(None, None, patients=True, reason="not_recomputed")
    own = replace(reading(0.8, less=0.0), over_patients=nothing, over_seeds=nothing)
    assert own.difference is not None
    other = replace(own, difference=replace(own.difference, over_patients=nothing, over_seeds=nothing))
    first, second = table().rows[:2]
    rows = (replace(first, readings=first.readings[:1]), replace(second, readings=(other,)))
    found = replace(table(reference=reference), measures=MEASURES[:1], rows=rows if reference else rows[1:])
    ticks = re.findall(r'<span style="left:[\d.]+%">([^<]+)</span>', page_of(found))
    assert len(set(ticks)) > 2
    assert all(len(tick) <= 7 for tick in ticks)


def test_labels_and_messages_are_words_only() -> None:
    html = page_of(table(label=HOSTILE))
    page = _Text(html)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", html)
