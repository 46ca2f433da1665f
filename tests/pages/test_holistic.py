"""The report of robustness shows the worst of each axis, beside its clean number, and names what was not measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medvlp.evaluation.results import Comparison, Counts, Metric, Result
from medvlp.pages.holistic import Axis, attack_rows, holistic_axes
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.render import render_report

COUNTS = Counts(n=50, patients=40)


def row(metric: str, label: str, value: float, group: str | None = None, **more: float) -> Metric:
    return Metric(metric=metric, label=label, value=value, group=group, counts=COUNTS, test=Comparison(**more))


def result(name: str, *rows: Metric) -> Result:
    return Result(name=name, metrics=rows)


ROBUST = result(
    "robustness",
    row("flagged", "gate", 0.02),
    row("auroc_difference", "macro", -0.02, "blur=0.01", first=0.9, second=0.88),
    row("auroc_difference", "macro", -0.08, "noise=0.2", first=0.9, second=0.82),
    row("auroc_difference", "macro", -0.4, "inversion=1", first=0.9, second=0.5),
    row("flagged", "gate", 0.3, "noise=0.2"),
    row("flagged", "gate", 0.99, "inversion=1"),
    row("flagged", "gate", 0.7, "lateral=1"),
)
ATTACKS = result(
    "attacks",
    row("auroc_difference", "macro", -0.01, "random_signs=8", first=0.9, second=0.89),
    row("auroc_difference", "macro", -0.3, "pgd=8", first=0.9, second=0.6),
    row("attack_success", "micro", 0.6, "pgd=8"),
    row("recall_difference@5", "image_to_report", -0.5, "pgd=8", first=0.7, second=0.2),
)
CLEAN = result(
    "zero_shot",
    row("auroc", "effusion", 0.9),
    row("auroc", "macro", 0.9),
    row("auroc_gap", "macro", -0.05, "site=north", first=0.92, second=0.87),
)


def test_each_axis_is_the_worst_that_was_found_and_swapped_or_lateral_pictures_are_no_corruption() -> None:
    axes = {each.name: each for each in holistic_axes([CLEAN, ROBUST, ATTACKS])}
    assert (axes["Corruption"].clean, axes["Corruption"].changed) == (0.9, 0.82)
    assert axes["Corruption"].what == "macro AUROC, the worst: noise 0.2"
    assert (axes["Out of distribution"].clean, axes["Out of distribution"].changed) == (0.02, 0.7)
    assert axes["Distribution shift"].what == "macro AUROC against all others: site north"
    assert axes["Attacks"].changed == 0.6
    assert axes["As it is"].row is not None
    assert {name for name, each in axes.items() if each.row is None} == {"Calibration", "Prompts", "Form or detail"}


def test_prompts_are_judged_by_findings_with_as_many_positives_as_the_average_asks_for() -> None:
    ranges = [
        replace(row("auroc_range", label, value), counts=Counts(n=50, patients=40, positives=positives))
        for label, value, positives in (("effusion", 0.1, 30), ("hernia", 0.6, 2))
    ]
    macro = replace(row("auroc", "macro", 0.9), counts=replace(COUNTS, min_positives=20))
    clean = result("zero_shot", row("auroc", "effusion", 0.9), macro)

    def prompts(*found: Metric) -> Axis:
        axes = holistic_axes([clean, ROBUST, result("prompt_sensitivity", *found)])
        return next(each for each in axes if each.name == "Prompts")

    assert prompts(*ranges).row is ranges[0]
    assert (prompts(ranges[1]).row, prompts(ranges[1]).how) == (None, "more patients with a finding")


def test_controls_stand_last_and_take_no_part_in_the_worst() -> None:
    rows = attack_rows([ATTACKS])
    assert [(each.name, each.size, each.control) for each in rows] == [("pgd", "8", False), ("random signs", "8", True)]
    assert rows[0].success is not None
    assert rows[0].recall is not None
    only = replace(ATTACKS, metrics=ATTACKS.metrics[:1])
    assert next(each for each in holistic_axes([only]) if each.name == "Attacks").row is None


def test_a_page_without_its_measures_has_no_such_section_and_one_with_them_names_what_is_missing() -> None:
    assert 'id="holistic"' not in render_report(ReportInputs(title="a", results=(CLEAN,)))
    page = render_report(ReportInputs(title="a", results=(CLEAN, ROBUST, ATTACKS)))
    assert "no number; it takes the measure shape_texture" in page
    assert '<a href="#robustness">Corruption</a>' in page
    why = "Of no finding are there enough of these cases"  # rows without a number say why
    assert why not in page
    flagged = tuple(each for each in ROBUST.metrics if each.metric == "flagged")
    assert flagged
    assert why in render_report(ReportInputs(title="a", results=(replace(ROBUST, metrics=flagged),)))


def test_the_last_column_is_a_difference_of_areas_only_and_the_page_says_so() -> None:
    axes = [each for each in holistic_axes([CLEAN, ROBUST, ATTACKS]) if each.clean is not None and each.row is not None]
    differs = {each.name: each.row.value == pytest.approx(each.changed - each.clean) for each in axes}
    assert differs == {"Distribution shift": True, "Corruption": True, "Out of distribution": False, "Attacks": True}
    page = render_report(ReportInputs(title="a", results=(CLEAN, ROBUST, ATTACKS)))
    assert "the last column is the number that is named, of two macro AUROCs their difference" in page


def test_a_model_of_one_finding_has_every_axis_by_that_finding() -> None:
    def of_one(found: Result) -> Result:
        rows = [each for each in found.metrics if each.label != "effusion"]
        return replace(found, metrics=tuple(replace(r, label=r.label.replace("macro", "effusion")) for r in rows))

    clean = replace(CLEAN, metrics=(*CLEAN.metrics[:2], *of_one(CLEAN).metrics[1:]))
    several, single = holistic_axes([CLEAN, ROBUST, ATTACKS]), holistic_axes([clean, of_one(ROBUST), of_one(ATTACKS)])
    sides = [[(each.name, each.clean, each.changed) for each in axes] for axes in (several, single)]
    assert sides[0] == sides[1]
    assert [each.auroc.value for each in attack_rows([of_one(ATTACKS)]) if each.auroc] == [-0.3, -0.01]
