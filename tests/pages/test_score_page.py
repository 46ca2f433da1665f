"""The page of scores and comparisons: it says their numbers, and stays one file of its own."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.results import Result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.evaluation.words import interval, number
from medvlp.pages.hub_card import hub_card
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.render import render_report
from medvlp.pages.score_charts import decision_chart
from medvlp.pages.score_content import _benefit_words, _curve, map_words, rule_words, score_parts
from medvlp.statistics.decision_curve import DecisionCurve


def _score(seed: int, title: str) -> Result:
    generator = np.random.default_rng(seed)
    patient = np.arange(240) // 2
    table = pd.DataFrame({"id": range(240), "patient_id": patient, "split": np.where(patient % 3, "test", "validate")})
    for at, finding in enumerate(("effusion", "<b>mass</b>")):
        label = (np.random.default_rng(at).random(240) < 0.35).astype(int)
        table[f"label:{finding}"] = label
        table[f"score:{finding}"] = 1 / (1 + np.exp(-(label + generator.normal(size=240))))
    return score_predictions(table, options=ScoreOptions(resamples=40), title=title)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    first, second = _score(0, "ours"), _score(1, "theirs")
    return [first, second, compare_results(first, second, resamples=40)]


@pytest.fixture(scope="module")
def page(results: list[Result]) -> str:
    return render_report(ReportInputs(title="Both", results=tuple(results), resamples=20))


def test_it_says_the_numbers_with_their_intervals(page: str, results: list[Result]) -> None:
    row = results[0].find("sensitivity", "effusion", split="test", operating_point="youden")
    assert f'<b>{number(row.value)}</b><span class="small">{interval(row)}</span>' in page
    difference = results[2].find("auroc_difference", "effusion")
    assert f'<td class="n">{number(difference.test.p_corrected, 4)}</td>' in page
    for rule in ("youden", "sensitivity_0.9", "specificity_0.95", "max_f1"):
        assert f"<summary>{rule_words(rule)}</summary>" in page
    for name in ("none", "platt", "isotonic"):
        assert f"<summary>Errors: {map_words(name)}</summary>" in page


def test_the_page_and_the_card_name_the_level_of_their_intervals(results: list[Result]) -> None:
    assert results[0].cases is not None
    own = score_predictions(results[0].cases, options=ScoreOptions(resamples=20, level=0.9))
    inputs = ReportInputs(title="90", results=(own,), resamples=20)
    assert "Point and 90&nbsp;% interval" in render_report(inputs)
    assert "In brackets: 90 % intervals over patients." in hub_card(inputs)


def test_coverage_stands_beside_what_the_sets_promised(results: list[Result]) -> None:
    assert results[0].cases is not None
    own = score_predictions(results[0].cases, options=ScoreOptions(resamples=20, coverage=0.85))
    page = render_report(ReportInputs(title="85", results=(own,), resamples=20))
    assert "Promised: at least 85 % of present and of absent cases." in page
    assert number(own.find("conformal_coverage", "effusion", operating_point="conformal_0.85").value) in page


def test_the_card_says_of_which_cases_a_number_is_where_two_splits_were_judged(results: list[Result]) -> None:
    assert results[0].cases is not None
    other = results[0].cases.query("split == 'test' and patient_id % 2 == 0").index
    table = results[0].cases.assign(split=lambda rows: rows["split"].mask(rows.index.isin(other), "external"))
    found = score_predictions(table, options=ScoreOptions(resamples=20))
    text = hub_card(ReportInputs(title="two", results=(found,)))
    for split in ("external", "test"):
        row = found.find("auroc", "effusion", split=split)
        assert f"| effusion, {split} | {row.counts.n} |" in text
    assert "| effusion | " in hub_card(ReportInputs(title="one", results=(results[0],)))


def test_the_page_says_what_was_done_with_uncertain_labels(results: list[Result]) -> None:
    table = results[0].cases
    assert table is not None
    for policy, words in (
        ("u_ignore", "Uncertain and missing labels are left out"),
        ("u_ones", "Uncertain labels count as present, missing labels are left out"),
        ("u_zeros", "Uncertain labels count as absent, missing labels are left out"),
    ):
        found = score_predictions(table, options=ScoreOptions(resamples=0, policy=policy))
        page = render_report(ReportInputs(title="p", results=(found,), resamples=20))
        assert f'<p class="lead">{words} of their finding only.' in page


def test_numbers_tuned_on_the_test_stand_apart_and_beside_the_auroc(page: str) -> None:
    section = page[page.index('id="oracle"') :]
    assert "They are no result." in section
    headings = re.findall(r'<th scope="col" class="n">([^<]+)</th>', section)
    assert headings[0] == "AUROC"
    assert "oracle" not in page[page.index("<main") : page.index('id="oracle"')].lower()


def test_it_is_one_file_with_unique_names_and_no_markup_from_data(page: str) -> None:
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert "<b>mass</b>" not in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)


def test_a_comparison_alone_has_its_sentence(results: list[Result]) -> None:
    page = render_report(ReportInputs(title="d", results=(results[2],)))
    row = results[2].find("auroc_difference", "macro")
    assert (
        f"theirs against ours: AUROC of the macro average {number(row.test.second)} against {number(row.test.first)}"
        in page
    )
    assert (row.test.first, row.test.second) == tuple(
        each.find("auroc", "macro", split="test").value for each in results[:2]
    )


def test_a_comparison_names_whose_numbers_stand_where_and_which_intervals_are_optimistic(results: list[Result]) -> None:
    rows = [replace(row, reason="few_positives" if row.label == "effusion" else None) for row in results[2].metrics]
    page = render_report(ReportInputs(title="d", results=(replace(results[2], metrics=tuple(rows)),)))
    heads, first = re.findall(r"<thead><tr>(.*?)</tr>.*?<tbody>\s*<tr>(.*?)</tr>", page, re.DOTALL)[0]
    assert re.findall(r">([^<>]+)</th>", heads)[:4] == ["Finding", "n", "ours", "theirs"]
    assert re.findall(r'<td class="n">([^<>]+)</td>', first)[1:3] == [
        number(each.find("auroc", "effusion", split="test").value) for each in results[:2]
    ]
    assert "effusion<sup>1</sup>" in first
    assert "mass&lt;/b&gt;</th>" in page
    assert "<li>30 positive patients or fewer: the interval is optimistic</li>" in page


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (((0.3, 101, 232),), "never above both"),  # it calls everybody up to its one probability, and then nobody
        (((0.1, 0, 10), (0.3, 0, 10), (0.5, 0, 10), (0.7, 6, 4)), "above both in parts from 0.11 to 0.60"),
        (((0.1, 1, 9), (0.9, 9, 1)), "above both from 0.11 to 0.89"),
    ],
)
def test_a_decision_curve_is_above_both_only_where_it_is(
    groups: tuple[tuple[float, int, int], ...], words: str
) -> None:
    """Of groups of (probability, present, absent)."""
    values = np.concatenate([np.full(present + absent, each) for each, present, absent in groups])
    truth = np.concatenate([np.repeat([1, 0], [present, absent]) for _, present, absent in groups])
    assert _benefit_words(_curve(truth, values, np.arange(len(truth)), resamples=50, seed=0)) == words


def test_a_decision_curve_of_too_few_patients_has_no_band() -> None:
    """Four patients with a finding are too few for an interval of a net benefit, and so for a band of it."""
    shaded = []
    for positives in (4, 5):
        label = np.tile(np.arange(40) < positives, 2)
        table = pd.DataFrame({"id": range(80), "patient_id": range(80), "split": np.repeat(["test", "validate"], 40)})
        table["label:mass"] = label.astype(int)
        table["score:mass"] = 1 / (1 + np.exp(-(label + np.random.default_rng(0).normal(size=80))))
        (figure,) = score_parts(
            score_predictions(table, options=ScoreOptions(resamples=50)), resamples=50, seed=0
        ).figures
        shaded.append("fill-opacity" in figure.decision)
    assert shaded == [False, True]


@pytest.mark.parametrize("prevalence", [0.004, 0.01, 0.04, 0.3])
def test_the_numbers_of_an_axis_are_evenly_spaced_however_rare_the_finding(prevalence: float) -> None:
    places = np.linspace(0.01, 0.1, 10)
    curve = DecisionCurve(places, 0 * places, 0 * places, 0 * places, 0 * places)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", decision_chart(curve, prevalence=prevalence, key="k"))
    across, down = (words[: words.index("threshold probability")], words[words.index("threshold probability") + 1 : -1])
    for axis in (across, down):
        steps = np.diff([float(each.replace("\u2212", "-")) for each in axis])
        assert len(steps)
        assert steps == pytest.approx(steps[0])
        assert steps[0] > 0


def test_the_forest_names_the_level_of_its_intervals() -> None:
    table = _score(0, "ours").cases
    ninety = score_predictions(table, options=ScoreOptions(resamples=40, level=0.9), title="ours")
    page = render_report(ReportInputs(title="a", results=(ninety,), resamples=20))
    assert "Point and 90&nbsp;% interval;" in page[page.index('<section id="findings">') :]
