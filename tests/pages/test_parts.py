"""Parts of the page on their own: tables to download, labels that fit, probabilities of cases, the gate."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medvlp.evaluation.predictions import Policy
from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric, Result
from medvlp.evaluation.rows import only
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.evaluation.tables import score_table
from medvlp.evaluation.words import integer, number, percent
from medvlp.pages.downloads import csv_of_table
from medvlp.pages.facts import kind_of
from medvlp.pages.figures import curves, label_of, learning_curves, probability_of
from medvlp.pages.forest import dimensions
from medvlp.pages.gate import gate_tables
from medvlp.pages.holistic import holistic_axes
from medvlp.pages.inputs import Box, GalleryItem, ReportInputs
from medvlp.pages.render import render_report
from medvlp.pages.score_content import score_parts
from medvlp.pages.subgroups import audited, subgroups
from medvlp.pages.summary import summary_of, tiles_of
from medvlp.statistics.calibration.calibrators import Calibrator
from medvlp.statistics.curves import RankCurves, rank_curves
from medvlp.statistics.proportions import wilson


def saved(page: str) -> dict[str, list[list[str]]]:
    links = re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', page)
    files = {name: base64.b64decode(text).decode("utf-8-sig") for name, text in links}
    return {name: list(csv.reader(io.StringIO(text))) for name, text in files.items()}


def test_every_named_table_can_be_saved_with_its_numbers(page: str, results: tuple[Result, ...]) -> None:
    boxes = re.findall(r'<div class="scroll"[^>]* aria-label="([^"]+)"', page)
    assert page.count('<p class="save">') == len(boxes) > 10
    rows = next(each for name, each in saved(page).items() if name.startswith("metrics-of-"))
    at = rows[0].index("AUROC")
    assert rows[0][at : at + 3] == ["AUROC", "AUROC low", "AUROC high"]
    row = results[0].find("auroc", "effusion", split="test")
    assert row.interval.low is not None
    assert row.interval.high is not None
    assert [f"{row.value:.3f}", f"{row.interval.low:.3f}", f"{row.interval.high:.3f}"] in [
        line[at : at + 3] for line in rows
    ]


def test_a_table_runs_nothing_in_a_spreadsheet_and_keeps_words_beside_numbers() -> None:
    table = "<tr><th>A</th><th>B</th></tr><tr><th>=1+1</th><td>x<sup>2</sup><span class=small>n 3</span></td></tr>"
    assert csv_of_table(table) == "A,B\n'=1+1,x (n 3)\n"
    headed = "<tr><th>=1+1</th></tr><tr><td>0.8<span class=small>0.7 to 0.9</span></td></tr>"
    assert csv_of_table(headed) == "'=1+1,'=1+1 low,'=1+1 high\n0.8,0.7,0.9\n"


def test_a_count_above_a_thousand_is_a_number_in_a_saved_table() -> None:
    assert csv_of_table(f"<tr><th>n</th></tr><tr><td>{integer(1234567)}</td></tr>") == "n\n1234567\n"


@pytest.mark.parametrize("left", [0, 30, 90])
@pytest.mark.parametrize("words", ["mass", "endotracheal_tube", "a very long name of a finding that no picture holds"])
def test_a_label_stands_whole_in_its_picture(left: float, words: str) -> None:
    for top in (0, 3, 50, 95):
        made = label_of(Box(left, top, left + 8, min(100, top + 5), words), width=100, height=100)
        assert made.x >= 0
        assert made.x + 0.66 * made.size * len(made.words) <= 100
        assert made.y - made.size + 1e-9 > 0 or made.y >= made.size - 0.02
        assert made.y <= 100


def test_validation_numbers_that_are_of_no_finding_are_drawn_by_their_names() -> None:
    areas = {f"zero_shot/auroc/{name}": 0.7 for name in ("edema", "mass", "macro")}
    log = [{"kind": "validate", "samples_seen": at, **areas, "retrieval/recall@5": 0.1 * at} for at in (1, 2)]
    chart = learning_curves(log)[1]
    assert chart is not None
    for words in ("zero_shot/auroc/macro", "retrieval/recall@5", "single findings"):
        assert words in chart
    assert "zero_shot/auroc/edema" not in chart


def test_each_term_of_a_loss_is_drawn_and_its_name_stands_under_the_axes_where_no_line_is() -> None:
    log = [{"samples_seen": at, "loss": 8.0, **{f"a/{n}": at + n for n in range(8)}} for at in range(1, 4)]
    chart = learning_curves(log)[0]
    assert chart is not None
    heights = {text: float(y) for y, text in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]+)</text>', chart)}
    assert {"loss", *(f"a/{n}" for n in range(8))} <= heights.keys()
    assert min(y for text, y in heights.items() if text.startswith("a/")) > heights["samples seen"]


def test_a_case_has_the_probability_of_its_results_map(results: tuple[Result, ...]) -> None:
    best = results[0]
    assert best.cases is not None
    score = float(best.cases["score:effusion"].iloc[0])
    item = GalleryItem(image=np.zeros((4, 4), np.uint8), finding="effusion", score=score)
    platt = Calibrator.from_dict(best.fitted["effusion"]["calibration"]["platt"])
    assert probability_of(item, results) == (float(platt.probabilities([score])[0]), "platt")
    # A score of another answer is no case of this result.
    assert probability_of(replace(item, score=score + 0.01234), results) == (None, "")
    page = render_report(ReportInputs(title="A", results=results, gallery=(item,)))
    value = percent(float(platt.probabilities([score])[0]))
    assert f'<b>{value}</b> <span class="small">Platt scaling; score {score:.3f}</span>' in page


def test_captions_are_words(page: str) -> None:
    text = re.sub(r"<style.*?</style>|<details class=\"config\">.*?</details>", "", page, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", " ", text)
    for code in ("view_position", "label_equal", "u_ignore", "rib_fracture", "site=south"):
        assert code not in text.replace("knows site=north", "")


def test_the_head_is_dated_and_a_printed_page_of_its_own(inputs: ReportInputs) -> None:
    page = render_report(replace(inputs, date="2026-11-27"))
    assert '<time datetime="2026-11-27">2026-11-27</time>' in page[: page.index("</header>")]
    assert re.search(r"@media print \{.*header:has\(.tiles\) \{ break-after: page; \}", page, re.DOTALL)


def test_a_model_without_text_is_no_vision_language_model() -> None:
    assert kind_of({"name": "vision", "vision": {"name": "timm"}}) == "image model"
    assert kind_of({"name": "dual", "vision": {"name": "timm"}, "text": {"name": "transformer"}}).startswith("vision-")


def test_the_gate_tells_both_numbers(results: tuple[Result, ...]) -> None:
    row = Metric(
        metric="gate_held_back",
        label="all",
        value=0.25,
        interval=ConfidenceInterval(low=0.2, high=0.31),
        counts=Counts(n=80, positives=20, patients=80),
    )
    let_in = Metric(metric="auroc", label="macro", group="gate=let in", value=0.911,
                    interval=ConfidenceInterval(low=0.8, high=0.95),
                    counts=Counts(n=60, patients=60, labels_used=1))  # fmt: skip
    alike = replace(let_in, metric="auroc_alike", value=0.722)
    one = replace(let_in, label="effusion", counts=replace(let_in.counts, labels_used=None))
    gate = Result(name="gate_zero_shot", title="Zero-shot", metrics=(row, one, let_in, alike),
                  caveats=("The gate would hold back 20 of 80 pictures.",))  # fmt: skip
    (table,) = gate_tables([*results, gate])
    assert dict(table.rows)["effusion"][:2] == (results[0].find("auroc", "effusion", split="test"), one)
    page = render_report(ReportInputs(title="A", results=(*results, gate)))
    head = page[: page.index("</header>")]
    assert "The gate would hold back 20 of 80 pictures." in head
    assert head.index("hold back 20 of 80") < head.index('class="tiles"')
    section = re.sub(r"<[^>]+>", "", page[page.index('<section id="gate">') :])
    assert "hold back 20 of 80 pictures, 25 % (20 % to 31 %)" in section
    assert "Macro AUROC over 1 finding: 0.911 (0.800 to 0.950) of those let in, 0.722 of all over the same" in section
    # No headline, no subgroup: the gate's rows stand in their own section.
    assert tiles_of([*results, gate]) == tiles_of(results)
    assert "by gate" not in page


@pytest.mark.parametrize("policy", ["u_ignore", "u_zeros", "u_ones"])
def test_a_curve_is_of_the_cases_of_its_captions_number(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"id": range(300), "patient_id": range(300)})
    generator = np.random.default_rng(3)
    label = generator.choice([1.0, 0.0, -1.0, np.nan], 300)
    table["label:effusion"], table["score:effusion"] = label, 1 / (1 + np.exp(-generator.normal(label == 1)))
    result = score_predictions(table, options=ScoreOptions(resamples=20, policy=policy))
    drawn = []

    def noted(labels: np.ndarray, *more: object, **options: object) -> RankCurves:
        found = rank_curves(labels, *more, **options)
        drawn.append((found.roc, len(labels)))
        return found

    monkeypatch.setattr("medvlp.pages.figures.rank_curves", noted)
    (figure,), _ = curves(result, resamples=10, seed=0)
    ((curve, n),) = drawn
    row = result.find("auroc", "effusion")
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(row.value)
    assert n == row.counts.n == np.isin(label, (0, 1) if policy == "u_ignore" else (0, 1, -1)).sum()
    assert figure.caption == f"AUROC {number(row.value)}"


def test_a_curve_has_a_band_where_its_captions_number_may_have_an_interval() -> None:
    """Four patients with a finding are too few for the AUROC's interval, five are not."""
    filled = []
    for positives in (4, 5):
        label = np.arange(40) < positives
        table = pd.DataFrame({"id": range(40), "patient_id": range(40), "label:edema": label.astype(float)})
        table["score:edema"] = label + np.random.default_rng(0).normal(size=40)
        roc, precision_recall = curves(
            score_predictions(table, options=ScoreOptions(resamples=50)), resamples=50, seed=0
        )
        filled.append(["fill-opacity" in figure.svg for figure in (*roc, *precision_recall)])
    assert filled == [[False, False], [True, True]]


def test_bars_and_bands_are_of_the_level_of_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an interval of 80 % a band of 95 % looked like more doubt about one and the same number."""
    table = pd.DataFrame({"id": range(400), "patient_id": range(400), "split": np.repeat(["test", "validate"], 200)})
    label = np.arange(400) % 2
    table["label:effusion"], table["score:effusion"] = label, label + np.random.default_rng(0).normal(size=400)
    result = score_predictions(table, options=ScoreOptions(resamples=200, level=0.8))
    drawn: dict[str, Any] = {}
    monkeypatch.setattr("medvlp.pages.score_content.reliability_chart", lambda bins, key: drawn.update(bins=bins) or "")
    monkeypatch.setattr("medvlp.pages.score_content.decision_chart", lambda curve, **more: drawn.update(it=curve) or "")
    score_parts(result, resamples=200, seed=0)
    for each in drawn["bins"]:
        assert each.interval == wilson(each.observed * each.n, each.n, level=0.8)
    row = result.find("net_benefit@0.1", "effusion", split="test", calibration="platt")
    at = int(np.abs(drawn["it"].threshold - 0.1).argmin())
    wide = [drawn["it"].high[at] - drawn["it"].low[at], row.interval.high - row.interval.low]
    assert wide[0] == pytest.approx(wide[1], rel=0.2)
    page = render_report(ReportInputs(title="t", results=(result,)))
    assert "80&nbsp;% of the curves" in page


@pytest.mark.parametrize("name", ["external", "test", "zurich"])
def test_what_a_page_shows_is_of_no_split_that_something_was_chosen_on(name: str) -> None:
    generator = np.random.default_rng(0)
    label = np.arange(400) % 2
    table = pd.DataFrame({"id": range(400), "patient_id": range(400), "split": np.repeat([name, "validate"], 200)})
    table["label:edema"] = label
    table["score:edema"] = label * np.repeat([0.3, 3.0], 200) + generator.normal(size=400)
    result = score_predictions(table, options=ScoreOptions(resamples=20))
    area = result.find("auroc", "edema", split=name)
    assert f"on 200 {name} cases" in summary_of([result])
    assert tiles_of([result])[0].value == number(area.value)
    assert score_table(result).rows[0][4].value == area.value  # pyrefly: ignore
    roc, _ = curves(result, resamples=10, seed=0)
    assert [each.caption for each in roc] == [f"AUROC {number(area.value)}"]


def by_site(*splits: str) -> Result:
    """Two findings that the site "Bart & Co" is told worse of."""
    generator = np.random.default_rng(0)
    rows = np.arange(300 * len(splits))
    table = pd.DataFrame({"id": rows, "patient_id": rows, "split": np.repeat(splits, 300)})
    table["group:site"] = np.array(["Bart & Co", "south", "west"])[rows % 3]
    for name in ("edema", "effusion"):
        table[f"label:{name}"] = label = generator.integers(0, 2, len(rows))
        table[f"score:{name}"] = label * np.where(rows % 3 == 0, 0.2, 2.0) + generator.normal(size=len(rows))
    return score_predictions(table, options=ScoreOptions(resamples=0))


def test_gaps_between_groups_are_of_the_split_that_is_judged() -> None:
    result = by_site("external", "test", "zurich")
    (found,) = subgroups([result])
    for each in found.gaps:
        own = {"group": f"site={each.group}", "split": "test"}
        assert each.gap == result.find("auroc_gap", "macro", **own)
        assert each.worst in (None, *(result.find("auroc_gap", name, **own) for name in ("edema", "effusion")))


def test_a_finding_of_a_group_is_its_row_of_the_split_that_is_judged_of_it() -> None:
    result = by_site("external", "test", "zurich")
    lost = [row for row in result.metrics if (row.metric, row.label, row.split) != ("auroc", "edema", "test")]
    for each in (result, replace(result, metrics=tuple(lost))):
        (found,) = dimensions(each)
        assert [label for label, _ in found.table] == ["edema", "effusion", "macro average"]
        for label, cells in found.table:
            name = label.partition(" ")[0]
            assert cells == tuple(only(each, "auroc", name, f"site={value}") for value in found.values)
            assert None not in cells


def test_a_site_with_an_ampersand_in_its_name_is_no_pair_of_columns() -> None:
    result = by_site("test")
    assert "Site Bart & Co: AUROC less others'" in [each.name for each in tiles_of([result])]
    axes = holistic_axes([result, replace(result, name="robustness", metrics=())])
    shift = next(each for each in axes if each.name == "Distribution shift")
    assert shift.row == result.find("auroc_gap", "macro", group="site=Bart & Co", split="test")


def test_the_head_says_within_what_the_tests_of_several_results_were_corrected() -> None:
    one = by_site("test")
    count = {row.test.tests for row in one.metrics if row.metric == "subgroup_gap_test"}
    found = audited([one, replace(one, name="other")])
    assert found is not None
    assert {2 * each for each in count if each} == {found.tests}
    for results, words in (((one,), "together (Holm"), ((one, one), "together by result and split (Holm")):
        assert f"corrected {words}" in render_report(ReportInputs(title="a", results=results))


def test_left_against_right_does_not_lead_where_the_mean_over_findings_is_not_defined() -> None:
    def row(label: str, value: float | None, reason: str | None = None) -> Metric:
        return Metric(
            metric="auroc", label=label, value=value, reason=reason, counts=Counts(n=94, patients=51, labels_used=0)
        )

    findings = (row("edema", 0.9), row("nodule", 0.6), row("macro", None, "none_large_enough"))
    sides = (row("left_of_right", 0.3), row("macro", 0.3))
    results = (Result(name="zero_shot", metrics=findings), Result(name="laterality", metrics=sides))
    said = "Zero shot: no macro AUROC (no finding has enough positive cases), on 94 cases of 51 patients."
    assert summary_of(results) == said
    page = render_report(ReportInputs(title="t", results=results))
    heads = re.findall(
        r'role="rowheader"><b>([^<]*)</b>', page.partition('id="findings"')[2].partition("</section>")[0]
    )
    assert heads == ["edema", "nodule", "macro average"]
    assert "<dt>Findings</dt><dd>2: edema, nodule</dd>" in page


def test_where_there_are_no_heat_maps_no_picture_is_called_one(inputs: ReportInputs) -> None:
    for maps in (True, False):
        items = tuple(item if maps else replace(item, heat_map=None) for item in inputs.gallery)
        page = render_report(replace(inputs, gallery=items))
        errors = page.partition('id="errors"')[2].partition("</section>")[0]
        assert errors.count("<b>Worst miss</b>") == 1
        assert ("Right: under the model's heat map" in errors) is maps
