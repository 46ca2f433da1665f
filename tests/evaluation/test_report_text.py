"""Written reports are judged by what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from medvlp.core.errors import DataError
from medvlp.evaluation.metric_row import metric_row
from medvlp.evaluation.report_text import compare_reports, evaluate_reports
from medvlp.evaluation.results import Counts, Metric

REFERENCE = "There is a small left pleural effusion. No pneumothorax."


@pytest.mark.parametrize(
    ("written", "sides", "wrong"),
    [
        ("Left effusion.", 1, 0),
        ("Right effusion.", 1, 1),
        ("Bilateral effusions.", 0, 0),
        ("Small left effusion. Large right effusion.", 0, 0),
        ("Effusion.", 0, 0),
        ("No left effusion.", 0, 0),
        ("Right pneumothorax.", 0, 0),
    ],
)
def test_a_side_is_wrong_where_both_name_one_and_they_differ(written: str, sides: int, wrong: int) -> None:
    found = compare_reports(REFERENCE, written)
    assert (found.sides, found.wrong_sides) == (sides, wrong)


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ("There is a 12 mm nodule in the right upper lobe.", (1, 0, 0)),
        ("There is a 1.3 cm nodule in the right upper lobe.", (1, 0, 0)),
        ("There is a 2 cm nodule in the right upper lobe.", (1, 1, 0)),
        ("There is a 12 mm nodule in the right upper lobe. There is a 40 mm nodule in the left lung.", (1, 1, 0)),
        ("There is a nodule in the right upper lobe.", (0, 0, 0)),
        ("There is a nodule in the right upper lobe. There is a 3 cm mass.", (0, 0, 1)),
    ],
)
def test_measures_may_differ_by_two_millimetres_or_a_share(written: str, counts: tuple[int, int, int]) -> None:
    found = compare_reports("There is a 12 mm nodule in the right upper lobe.", written)
    assert (found.sizes, found.wrong_sizes, found.invented_sizes) == counts


@pytest.mark.parametrize(
    ("reference", "written", "has_prior", "expected"),
    [
        (REFERENCE, "Small left effusion, unchanged.", None, (True, False)),
        (REFERENCE, "Compared with the prior study, the effusion is smaller.", None, (True, False)),
        ("Stable left effusion.", "Unchanged left effusion.", None, (True, True)),
        (REFERENCE, "Unchanged left effusion.", True, (True, True)),
        ("Stable left effusion.", "Unchanged left effusion.", False, (True, False)),
        (REFERENCE, REFERENCE, None, (False, False)),
    ],
)
def test_a_prior_is_made_up_where_there_is_none(
    reference: str, written: str, has_prior: bool | None, expected: tuple[bool, bool]
) -> None:
    found = compare_reports(reference, written, has_prior=has_prior)
    assert (found.prior, found.prior_known) == expected


@pytest.mark.parametrize(
    "text",
    [
        "No prior studies are available for comparison.",
        "No previous radiograph is available.",
        "Without prior study for comparison.",
        "COMPARISON: No prior radiograph.",
        "There are no prior films.",
        "There is no prior exam to compare with.",
        "Prior studies are not available.",
        "FINDINGS: lucency relative to the left lung.",
        "The left lung is small compared to the right.",
        "Previous coronary artery bypass surgery. Evidence of prior granulomatous disease.",
        "Previous rib fractures. The patient was previously healthy.",
        "Short interval follow-up is recommended.",
    ],
)
def test_to_say_that_there_is_no_prior_is_not_to_speak_of_one(text: str) -> None:
    assert not compare_reports(REFERENCE, text).prior


@pytest.mark.parametrize(
    "text",
    [
        "No change since the prior study.",
        "No interval change.",
        "Unchanged from prior exam.",
        "Lucency relative to the prior study.",
        "No prior CT. Effusion is larger compared to the radiograph of May.",
        "No effusion. Prior study showed one.",
        "As on the prior chest radiograph, the heart is large.",
        "Interval resolution of the left effusion.",
        "The effusion has resolved.",
        "The left effusion is no longer seen.",
        "Interval removal of the endotracheal tube.",
        "The endotracheal tube has been removed.",
        "The opacity seen before has cleared.",
    ],
)
def test_to_deny_change_or_to_miss_what_was_there_is_to_speak_of_a_prior(text: str) -> None:
    assert compare_reports(REFERENCE, text).prior


REFERENCES = [
    REFERENCE,
    "No effusion. No pneumothorax.",
    "Possible pneumonia. Cardiomegaly.",
    "Left effusion.",
    "Clear.",
]
WRITTEN = ["Right effusion.", "Left effusion, unchanged.", "Pneumonia.", "Left effusion. Cardiomegaly.", "Clear."]


def test_f1_is_scikit_learns_for_labels_micro_and_macro() -> None:
    found = evaluate_reports(REFERENCES, WRITTEN, list("aabcd"), seed=0, resamples=50)
    assert found.cases is not None
    labels = [name[5:] for name in found.cases if name.startswith("said:")]
    said = np.stack([found.cases[f"said:{label}"] for label in labels], axis=1)
    wrote = np.stack([found.cases[f"wrote:{label}"] for label in labels], axis=1)
    defined = (said | wrote).any(axis=0)
    for at, label in enumerate(labels):
        row = found.find("f1", label)
        assert row.policy == "u_ones"
        if defined[at]:
            assert row.value == pytest.approx(f1_score(said[:, at], wrote[:, at]))
        else:
            assert (row.value, row.reason) == (None, "no_rows")
    assert found.find("f1", "micro").value == pytest.approx(f1_score(said, wrote, average="micro"))
    macro = found.find("f1", "macro")
    assert macro.value == pytest.approx(f1_score(said[:, defined], wrote[:, defined], average="macro"))
    assert macro.counts.labels_used == defined.sum()


def test_rates_are_of_the_reports_where_they_can_be_wrong() -> None:
    found = evaluate_reports(REFERENCES, WRITTEN, list("aabcd"), seed=0, resamples=50)
    side = found.find("side_error", "reports")
    assert (side.value, side.counts.n, side.counts.patients) == (0.5, 2, 2)
    prior = found.find("prior_hallucination", "reports")
    assert (prior.value, prior.counts.n) == (0.2, 5)
    assert found.find("measurement_error", "reports").value is None
    assert found.find("f1_absent", "pneumothorax").value == 0.0
    assert (prior.counts.patients, prior.interval.low, prior.reason) == (4, None, "too_few_patients")
    prior = evaluate_reports(REFERENCES, WRITTEN, list("abcde"), seed=0, resamples=50).find(
        "prior_hallucination", "reports"
    )
    assert prior.interval.low is not None
    assert prior.interval.high is not None
    some = {"has_prior": [True, False, True, False, False], "seed": 0, "resamples": 0}
    known = evaluate_reports(REFERENCES, WRITTEN, list("abcde"), **some).find("prior_hallucination", "reports")
    assert known.counts.n == 3  # of a picture that has an earlier one a change may be told


def test_a_report_agrees_with_itself() -> None:
    found = evaluate_reports(REFERENCES, REFERENCES, list("abcde"), seed=0, resamples=0)
    for row in found.metrics:
        assert row.value in (None, 1.0 if row.metric.startswith("f1") else 0.0)


@pytest.mark.filterwarnings("ignore:A report is not in English")
@pytest.mark.parametrize("written", ["", " \n", "NaN", "Herz normal groß. Kein Pleuraerguss."])
def test_a_report_that_cannot_be_read_does_not_say_that_all_is_well(written: str) -> None:
    found = compare_reports("Lungs are clear.", written)
    assert found.present["no_finding"] == (True, False)
    assert not any(wrote for _, wrote in (*found.present.values(), *found.absent.values()))


@pytest.mark.filterwarnings("ignore:A report is not in English")
def test_reports_that_cannot_be_read_do_not_agree() -> None:
    german = "Kein Pleuraerguss.", "Großer Pleuraerguss auf der linken Seite."
    found = evaluate_reports(german[:1], german[1:], ["p"], seed=0, resamples=0)
    assert {row.value for row in found.metrics if row.metric.startswith("f1")} == {None}
    empty = evaluate_reports(["Lungs are clear."], [""], ["p"], seed=0, resamples=0)
    assert (empty.find("f1", "micro").value, empty.caveats) == (0.0, ())
    some = evaluate_reports([*german, "NA", "Clear."], ["Clear."] * 4, list("pqrs"), seed=0, resamples=0)
    assert some.caveats == ("References that are no English text, of which nothing is read: 3.",)


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="2 references, 1 reports, 2 patients"):
        evaluate_reports(["a", "b"], ["a"], ["p", "q"], seed=0)


def test_one_patient_has_numbers_and_no_interval_and_what_nobody_said_is_no_case() -> None:
    """Every resample of one patient is that patient: an interval from a number to itself would be a claim."""
    options = {"seed": 0, "resamples": 9}
    found = evaluate_reports(["Left effusion.", "Edema."], ["Effusion. Edema.", "Edema."], ["p", "p"], **options)
    row = found.find("f1", "micro")
    assert row.value == pytest.approx(0.75)
    assert (row.interval.low, row.interval.method, row.reason) == (None, "none", "no_spread")
    few = replace(row, value=None, reason="few_positives")  # "the interval is optimistic" is said of one that there is
    assert metric_row(few, 0.0, np.zeros(9)).reason == "no_spread"
    assert metric_row(replace(few, reason="too_few_positives"), 0.0, np.zeros(9)).reason == "too_few_positives"
    silent = Metric(metric="f1_difference", label="x", value=None, counts=Counts(n=1, patients=1))
    row = metric_row(silent, float("nan"), np.full(9, np.nan))
    assert (row.value, row.interval.method, row.reason) == (None, "none", "no_rows")
