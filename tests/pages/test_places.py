"""Masks and boxes on the page: every number of their results, and the head of the page."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric, Result
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.places import places_tables
from medvlp.pages.render import render_report
from medvlp.pages.summary import summary_of, tiles_of


def row(metric: str, label: str, value: float | None, *, n: int = 8) -> Metric:
    around = {} if value is None else {"interval": ConfidenceInterval(low=value - 0.05, high=value + 0.05)}
    return Metric(metric=metric, label=label, value=value, **around, counts=Counts(n=n, patients=n - 1))


MASKS = Result(
    name="segmentation",
    title="Masks against drawn ones",
    metrics=(
        row("dice", "lung", 0.912),
        row("false_alarm", "lung", 0.125, n=4),
        row("lowest_dice", "lung", 0.701, n=2),
        row("dice", "heart", 0.834),
        row("dice", "macro", 0.873),
        row("dice_difference", "constant_mask", 0.222),
        row("dice_difference", "constant_mask/lung", 0.111),
    ),
)
BOXES = Result(
    name="boxes",
    title="Boxes against drawn ones",
    metrics=(
        row("ap@0.3", "mass", 0.611),
        row("ap@0.3", "macro", 0.622),
        row("ap_difference@0.3", "constant_box", 0.333),
        row("ap@0.5", "mass", 0.444),
    ),
)


def test_each_result_is_a_table_whose_last_row_is_the_mean() -> None:
    masks, boxes = places_tables([MASKS, BOXES])
    assert masks.columns == ("Dice", "False alarms", "Lowest case", "less the control")
    assert [each.label for each in masks.rows] == ["lung", "heart", "macro"]
    values = [[None if cell is None else cell.value for cell in each.cells] for each in masks.rows]
    assert values == [[0.912, 0.125, 0.701, 0.111], [0.834, None, None, None], [0.873, None, None, 0.222]]
    assert boxes.columns == ("AP (IoU 0.3)", "less the control (IoU 0.3)", "AP (IoU 0.5)")
    assert [None if cell is None else cell.value for cell in boxes.rows[-1].cells] == [0.622, 0.333, None]
    maps = (row("auroc", "macro", 0.8), row("dice@0.3", "mass", 0.1), row("box_ap@0.3", "macro", 0.1))
    assert places_tables([Result(name="grounding_hires_cam", metrics=maps)]) == []


def test_the_page_shows_every_number_with_its_interval() -> None:
    page = render_report(ReportInputs(title="Dense", results=(MASKS, BOXES)))
    section = page.partition('<section id="places">')[2].partition("</section>")[0]
    words = re.sub(r"<[^>]+>", " ", section)
    for each in (*MASKS.metrics, *BOXES.metrics):
        assert each.value is not None
        assert f"{each.value:.3f}" in words
        assert f"{each.interval.low:.3f} to {each.interval.high:.3f}" in words


def test_a_number_of_other_cases_than_the_first_of_its_row_says_of_how_many() -> None:
    page = render_report(ReportInputs(title="Dense", results=(MASKS, BOXES)))
    section = page.partition('<section id="places">')[2].partition("</section>")[0]
    words = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    assert (
        "lung 8 7 0.912 0.862 to 0.962 0.125 0.075 to 0.175 of 4 0.701 0.651 to 0.751 of 2 0.111 0.061 to 0.161 heart"
        in words
    )
    assert not re.search(r"\bof 8\b", words)


def test_the_head_tells_the_means_where_there_is_no_auroc() -> None:
    assert summary_of([MASKS, BOXES]) == (
        "Masks against drawn ones: mean Dice 0.873 (95 % interval 0.823 to 0.923), on 8 cases of 7 patients. "
        "Boxes against drawn ones: mean AP (IoU 0.3) 0.622 (95 % interval 0.572 to 0.672), on 8 cases of 7 patients."
    )


def test_a_model_that_draws_is_headed_by_what_it_draws_before_a_probe_on_its_features() -> None:
    probe = Result(name="linear_probe", metrics=(replace(row("auroc", "macro", 0.9), reason="rare_findings"),))
    head, after = summary_of([MASKS, BOXES]), summary_of([probe])
    assert summary_of([probe, MASKS, BOXES]) == f"{head} {after}"
    names = [each.name for each in tiles_of([probe, MASKS, BOXES])]
    assert [name.partition(":")[0] for name in names] == [MASKS.title, BOXES.title, "Linear probe"]


@pytest.mark.parametrize(
    ("metric", "label", "words"), [("f1", "micro", "micro F1 of findings"), ("accuracy", "all", "accuracy")]
)
def test_written_reports_and_answers_are_headed_by_the_number_of_all(metric: str, label: str, words: str) -> None:
    rows = (row(metric, "effusion", 0.812), row(metric, label, 0.634))
    model, control = (
        Result(name="words", title="Words", metrics=rows),
        Result(name="usual", metrics=rows, role="control"),
    )
    assert summary_of([model, control]) == (
        f"Words: {words} 0.634 (95 % interval 0.584 to 0.684), on 8 cases of 7 patients."
    )
    assert [(each.name, each.value) for each in tiles_of([model, control])] == [(f"Words: {words}", "0.634")]
    ranks = Result(
        name="findings", metrics=(*rows, row("auroc", "macro", 0.777))
    )  # at thresholds, behind what it ranks
    assert words not in summary_of([ranks])
    assert words not in str(tiles_of([ranks]))


def test_numbers_of_which_no_section_is_made_stand_in_a_table_of_their_own() -> None:
    """Written reports and questions have neither a macro AUROC nor a recall."""
    written = (row("f1", "effusion", 0.812), row("f1", "macro", 0.723), row("f1", "micro", 0.634, n=9))
    reports = Result(name="report_text", title="Report text", metrics=written)
    asked = (row("accuracy", "all", 0.545), replace(row("accuracy", "all", 0.456), group="kind=open"))
    questions = Result(name="questions", title="Questions", metrics=asked)
    of_pool = replace(row("recall@5", "image_to_report", 0.367), counts=Counts(n=8, patients=7, pool=60))
    ranked = Result(name="retrieval", metrics=(of_pool,))
    page = render_report(ReportInputs(title="Words", results=(reports, questions, ranked, MASKS)))
    section = page.partition('<section id="others">')[2].partition("</section>")[0]
    words = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    for each in (*written, *asked):
        assert f"{each.value:.3f} {each.interval.low:.3f} to {each.interval.high:.3f}" in words
    assert "all, kind open 8 7 0.456" in words
    assert "0.367" not in words
    assert "0.912" not in words
    assert 'href="#others"' in page


def test_a_recall_of_what_is_stated_is_no_retrieval() -> None:
    """It has no pool, and no random ranking beside it: of relations, and of pictures that written reports find."""
    related = (
        row("recall@5", "all", 0.456),
        row("mean_recall@5", "macro", 0.345),
        row("recall@5 iou 0.5", "all", 0.234),
    )
    written = (row("f1", "micro", 0.634), row("recall@5", "reports", 0.123))
    results = (Result(name="relations", title="Relations", metrics=related), Result(name="report", metrics=written))
    page = render_report(ReportInputs(title="Words", results=results))
    section = page.partition('<section id="others">')[2].partition("</section>")[0]
    for each in (*related, *written):
        assert f"{each.value:.3f}" in section
    assert 'id="retrieval"' not in page
    assert "random ranking" not in page
    assert summary_of(results[:1]) == (
        "Relations: recall@5 0.456 (95 % interval 0.406 to 0.506), on 8 cases of 7 patients."
    )


def test_the_errors_of_verdicts_on_sentences_stand_on_the_page() -> None:
    """A sentence check has AUROCs, which have a section; a false sentence that passes for true is none of them."""
    errors = (row("true_contradicted", "sentence_verdict", 0.123), row("false_supported", "sentence_verdict", 0.234))
    seen = (row("auroc", "sentence_margin", 0.777), row("unknown_share", "sentence_calibrated", 0.345), *errors)
    page = render_report(ReportInputs(title="Words", results=(Result(name="sentence_check", metrics=seen),)))
    section = page.partition('<section id="others">')[2].partition("</section>")[0]
    words = " ".join(re.sub(r"<[^>]+>", " ", section).split())
    assert "sentence verdict 8 7 – 0.123 0.073 to 0.173 0.234 0.184 to 0.284" in words
    assert "calibrated probability 8 7 0.345" in words
    assert "0.777" not in words
