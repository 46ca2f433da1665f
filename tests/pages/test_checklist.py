"""Checklists have every item of their publications; an answer is what the run knows, or what the study tells."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError
from medvlp.data.manifest import Manifest
from medvlp.evaluation.results import ConfidenceInterval, Counts, Metric, Result
from medvlp.pages.checklist import answered, checklists, fact_names, read_study
from medvlp.pages.facts import SECTIONS, facts_of
from medvlp.pages.inputs import ReportInputs
from medvlp.runs.record import cohort_of

# Collins et al., BMJ 2024, 385: e078378, table 2: 52 items.
TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)


def test_the_items_are_those_of_the_publications() -> None:
    claim, tripod = checklists()
    assert [item.number for item in claim.items] == [str(number) for number in range(1, 45)]
    assert [item.number for item in tripod.items] == TRIPOD.split()
    assert set(SECTIONS) <= set(fact_names())


def test_the_page_has_every_item_and_says_what_is_not_reported_and_by_which_name_it_is_told(
    page: str, inputs: ReportInputs, tmp_path: Path
) -> None:
    section = page[page.index('<section id="checklists">') : page.index('<section id="run">')]
    facts = facts_of(inputs)
    answers = [answer for checklist in checklists() for answer in answered(checklist, facts)]
    assert section.count("<tr><th") == len(answers) + 2
    assert section.count("not reported") == sum(answer.words is None for answer in answers) > 10
    names = re.findall(r"not reported</span> <code>(\w+)</code>", section)
    assert names == [answer.item.fact for answer in answers if answer.words is None]
    study = tmp_path / "study.yaml"
    study.write_text("".join(f"{name}: Told.\n" for name in dict.fromkeys(names)))
    known = facts_of(replace(inputs, study={**inputs.study, **read_study(study)}))
    assert all(answer.words for checklist in checklists() for answer in answered(checklist, known))
    assert "Nobody paid." in section
    told = [answer.words for answer in answered(checklists()[0], facts)]
    assert f"{sum(words is not None for words in told)} of 44 items reported here" in section


def test_intervals_are_said_to_be_made_as_each_was() -> None:
    def made(method: str, form: str, resamples: int | None = None) -> Metric:
        interval = ConfidenceInterval(low=0.1, high=0.9, method=method, form=form, resamples=resamples)
        return Metric(metric="auroc", label="a", value=0.5, counts=Counts(n=9, patients=9), interval=interval)

    drawn = made("patient_bootstrap", "logit", 500)
    others = [made("wilson", "score"), made("wilson_clustered", "score"), made("delong_clustered", "logit")]
    said = [
        facts_of(ReportInputs(title="A", results=(Result(name="a", metrics=tuple(rows)),)))["uncertainty"]
        for rows in ([drawn], [drawn, *others], others[:1])
    ]
    assert said == [
        "95 % intervals; patients, not images, are resampled (logit, 500 resamples).",
        "95 % intervals; patients, not images, are resampled (logit, 500 resamples). "
        "Some are after DeLong (differences of AUROC) and Wilson (shares).",
        "95 % intervals. They are after Wilson (shares).",
    ]


def test_facts_are_those_of_the_run(inputs: ReportInputs) -> None:
    facts = facts_of(inputs)
    assert facts["technology"] == "Deep learning: a vision-language model of resnet10t and transformer."
    assert facts["preprocessing"] == "In order: read (size 128, preset dicom_voi_v1)."
    assert facts["disjoint"] == "The search for patients and files in two splits found nothing."
    assert facts["setting"] == "One site: north."
    assert "train 300, test 160 records" in facts["flow"]
    assert facts["output"].startswith("Scores; thresholds chosen on validation patients: largest sensitivity")
    assert "The split has a flaw." in facts["limitations"]
    for unknown in ("ethics", "annotators", "external", "sample_size", "interpretation"):
        assert unknown not in facts


def test_all_sites_of_the_judged_split_are_counted(inputs: ReportInputs) -> None:
    assert inputs.record is not None
    columns = {"id": list(map(str, range(16))), "text": ["x"] * 16, "site": [f"S{n:02}" for n in range(15)] + ["S00"]}
    cohort = cohort_of(Manifest.of({**columns, "split": ["test"] * 14 + ["train"] * 2}, root=Path()))
    facts = facts_of(replace(inputs, record=inputs.record.model_copy(update={"cohort": cohort})))
    assert facts["setting"].startswith("14 sites: S00, S01, ")
    assert facts["setting"].endswith("S12 and S13.")


def test_data_is_called_internal_only_where_its_hash_is_that_of_the_training(inputs: ReportInputs) -> None:
    assert inputs.record is not None
    assert "internal" in facts_of(inputs)
    other = inputs.record.model_copy(update={"data": inputs.record.data.model_copy(update={"manifest": "another"})})
    assert not {"internal", "external", "difference"} & set(facts_of(replace(inputs, record=other)))


def test_a_threshold_tuned_on_the_test_is_no_threshold_of_the_model() -> None:
    rows = [
        Metric(
            metric=metric,
            label="macro",
            value=0.8,
            operating_point=point,
            counts=Counts(n=9, patients=9, labels_used=1),
        )
        for metric, point in (("auroc", None), ("oracle_f1", "max_f1"))
    ]
    facts = facts_of(ReportInputs(title="A", results=(Result(name="a", metrics=tuple(rows)),)))
    assert facts["output"] == "Scores, higher where the finding is more likely; no threshold was chosen."
    assert "F1" not in facts["measures"]


def test_a_study_tells_what_a_run_cannot_know_and_wins(tmp_path: Path, inputs: ReportInputs) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("ethics: Approved,\n  number 7.\nsoftware: As we say.\nlink: https://a.b\n")
    facts = facts_of(replace(inputs, study=read_study(path)))
    assert facts["ethics"] == "Approved, number 7."
    assert facts["software"] == "As we say."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("etics: a", r"study\.yaml names the fact 'etics', which nothing asks for: did you mean 'ethics'\?"),
        ("ethics: [a]", r"The fact 'ethics' of the study file .* is not a text: write one sentence or more"),
        ("- a", r"is not a mapping: give lines of `fact: text`"),
        ("a: [1", r"cannot be read as YAML"),
    ],
)
def test_a_study_of_another_form_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as refused:
        read_study(path)
    assert "\n" not in str(refused.value)
