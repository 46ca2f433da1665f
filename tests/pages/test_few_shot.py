"""Few shots on the page: every number stands under its number of shots, a missing one says why."""

from __future__ import annotations

import re

import numpy as np

from medvlp.evaluation.few_shot_results import evaluate_few_shot
from medvlp.pages.downloads import csv_of_table
from medvlp.pages.few_shot import few_shot_tables
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.render import render_report


def test_numbers_stand_by_finding_and_shots() -> None:
    generator = np.random.default_rng(0)
    scores = {
        "edema": {k: generator.normal(size=(3, 40)) for k in (1, 16)},
        "mass": {1: generator.normal(size=(3, 40))},
    }
    labels = {name: np.arange(40) % 2 for name in scores}
    people = [str(row) for row in range(40)]
    result = evaluate_few_shot(scores, labels, people, people, seed=0, resamples=50)
    (table,) = few_shot_tables([result])
    assert table.shots == (1, 16)
    assert table.about == "3 draws; macro average over 1 to 2 findings, not the same for all shots"
    assert [name for name, _ in table.rows] == ["edema", "mass", "macro average"]
    cells = dict(table.rows)
    assert cells["edema"][1] == result.find("auroc@16", "edema")
    assert cells["mass"][1] is None
    page = render_report(ReportInputs(title="x", results=(result,)))
    row = result.find("auroc@16", "edema")
    for words in (
        f"<b>{row.value:.3f}</b>",
        f"{row.interval.draws_low:.3f} to {row.interval.draws_high:.3f}",
        "too few patients",
    ):
        assert words in page
    whole = evaluate_few_shot({"edema": scores["edema"]}, labels, people, people, seed=0, resamples=0)
    assert few_shot_tables([whole])[0].about == "3 draws; macro average over 1 finding"
    assert 'id="few-shot"' not in render_report(ReportInputs(title="x", results=()))


def test_the_range_of_single_draws_is_never_saved_as_the_interval_of_their_mean() -> None:
    """Four patients with a finding: no interval, which is said, and the draws have their range all the same."""
    people = [str(row) for row in range(60)]
    labels = {"edema": np.arange(60) % 2, "mass": np.arange(60) < 4}
    scores = {name: {1: np.random.default_rng(0).normal(size=(3, 60))} for name in labels}
    result = evaluate_few_shot(scores, labels, people, people, seed=0, resamples=50)
    edema, mass = (result.find("auroc@1", name) for name in ("edema", "mass"))
    assert (mass.interval.low, mass.reason) == (None, "too_few_positives")
    found = re.search(
        r'<section id="few-shot">.*?(<table>.*?</table>)',
        render_report(ReportInputs(title="x", results=(result,))),
        re.DOTALL,
    )
    assert found is not None
    lines = {line.partition(",")[0]: line for line in csv_of_table(found[1]).splitlines()}
    draws = {
        name: f"draws {row.interval.draws_low:.3f} to {row.interval.draws_high:.3f}"
        for name, row in (("edema", edema), ("mass", mass))
    }
    assert lines["edema"] == (
        f"edema,60,30,{edema.value:.3f} ({draws['edema']}),{edema.interval.low:.3f},{edema.interval.high:.3f}"
    )
    assert lines["mass"] == f"mass,60,4,{mass.value:.3f} (no interval; {draws['mass']}),,"
