from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.core.randomness import numpy_generator
from medvlp.core.resources import resource
from medvlp.core.triplet import Triplet
from medvlp.phantom.facts import FINDINGS, Finding, Patient, Study, View
from medvlp.phantom.prose.change import DEVICES, change_of, resolved
from medvlp.phantom.prose.grammar import realise
from medvlp.phantom.prose.words import FORMS, SENTENCE_FORMS
from medvlp.phantom.report import Report, write_report
from medvlp.phantom.rules import RULES, draw_extent, lobes_of
from medvlp.text.prompts import load_prompts
from medvlp.text.sections import split_sections
from medvlp.text.sentences import split_sentences

COUNT = 3000
VIEWS: tuple[tuple[View, ...], ...] = (("PA", "LATERAL"), ("PA",), ("AP",))
SIDED = [name for name in FINDINGS if {"left", "right"} & {side for side, _ in RULES[name].sides}]


def a_study(*findings: Finding, prior: tuple[Finding, ...] | None = None, views: tuple[View, ...] = ("PA",)) -> Study:
    patient = Patient("P000001", "F", 61, 168.0, 25.0, "train")
    return Study("S0000001", patient, int(prior is not None), "20210304", "A1", "north", "x", views, findings, prior)


def draw_finding(name: str, generator: np.random.Generator) -> Finding:
    rule = RULES[name]
    weights = np.array([weight for _, weight in rule.sides])
    side = rule.sides[int(generator.choice(len(weights), p=weights / weights.sum()))][0]
    lobes = lobes_of(rule, side)
    lobe = lobes[int(generator.integers(len(lobes)))] if lobes else ""
    extent = draw_extent(rule, generator)
    return Finding(name, side, lobe, extent.severity, extent.size, extent.amount, int(generator.integers(2**31)))


@cache
def studies() -> tuple[Study, ...]:
    """A third is normal, 40 % have a prior; drawn by the findings' own rules, so that no cohort is needed."""
    made = []
    for place in range(COUNT):
        generator = numpy_generator(0, place, "test/report")
        names = [] if generator.random() < 0.3 else [name for name in FINDINGS if generator.random() < 0.2]
        findings = tuple(draw_finding(name, generator) for name in names)
        prior: tuple[Finding, ...] | None = None
        if generator.random() < 0.4:
            kept = [
                replace(each, amount=float(np.clip(each.amount + generator.normal(0, 0.3), 0, 1))) for each in findings
            ]
            others = [draw_finding(name, generator) for name in FINDINGS if generator.random() < 0.08]
            prior = tuple(each for each in (*kept, *others) if generator.random() < 0.7)
        sex = "F" if generator.random() < 0.5 else "M"
        patient = Patient(f"P{place:06d}", sex, int(generator.integers(18, 95)), 170.0, 25.0, "train")
        views = VIEWS[int(generator.integers(3))]
        made.append(Study(f"S{place:07d}", patient, 0, "20200101", f"A{place}", "north", "x", views, findings, prior))
    return tuple(made)


@cache
def reports(held_out: bool) -> tuple[Report, ...]:
    return tuple(write_report(study, seed=0, held_out=held_out) for study in studies())


def pairs() -> list[tuple[Study, Report]]:
    return [*zip(studies(), reports(False), strict=True), *zip(studies(), reports(True), strict=True)]


def flat(text: str) -> str:
    return " ".join(text.split())


def read_by_a_model(report: Report) -> str:
    return flat(" ".join(body for name, body in report.sections.items() if name in ("findings", "impression", "")))


def test_every_finding_has_at_least_24_forms_when_present_and_12_when_absent_half_of_them_held_out() -> None:
    for name in FINDINGS:
        for topic, least in ((f"{name}/present", 12), (f"{name}/absent", 6)):
            usual, kept = (FORMS[topic, mark] for mark in (False, True))
            assert len(usual) == len(kept) >= least, topic


def test_the_two_halves_share_no_form_and_every_topic_is_cut_in_half() -> None:
    usual, kept = ({form.template for form in SENTENCE_FORMS if form.held_out == mark} for mark in (False, True))
    assert not usual & kept
    counts = Counter((form.topic, form.held_out) for form in SENTENCE_FORMS)
    assert all(counts[topic, True] == counts[topic, False] for topic, _ in counts)


@pytest.mark.slow
def test_reports_use_their_half_of_the_forms_only() -> None:
    for mark in (False, True):
        assert {form.held_out for report in reports(mark) for form in report.forms} == {mark}


@pytest.mark.slow
def test_no_statement_about_a_finding_is_worded_alike_in_both_halves() -> None:
    usual, kept = (
        {triplet.sentence for report in reports(mark) for triplet in report.triplets} for mark in (False, True)
    )
    assert not usual & kept


@pytest.mark.slow
def test_held_out_forms_are_made_of_words_that_the_other_half_uses() -> None:
    usual, kept = (
        Counter(word for report in reports(mark) for word in re.findall("[a-z]+", read_by_a_model(report).lower()))
        for mark in (False, True)
    )
    unknown = sum(count for word, count in kept.items() if word not in usual)
    assert unknown < 0.03 * kept.total()


@pytest.mark.slow
def test_almost_every_form_is_used() -> None:
    used = {form for mark in (False, True) for report in reports(mark) for form in report.forms}
    assert len(used) >= 0.97 * len(SENTENCE_FORMS)


def test_every_planted_finding_is_asserted_on_its_side() -> None:
    for study, report in pairs():
        said = {(t.observation, t.side) for t in report.triplets if t.presence != "absent"}
        assert said == {(finding.name, finding.side) for finding in study.findings}, study


def test_only_faint_findings_are_doubted_and_a_finding_is_not_both_certain_and_doubted() -> None:
    doubted = faint = 0
    for study, report in pairs():
        presence: dict[tuple[str, str], set[str]] = {}
        for triplet in report.triplets:
            if triplet.presence != "absent":
                presence.setdefault((triplet.observation, triplet.side), set()).add(triplet.presence)
        for finding in study.findings:
            said = presence[finding.name, finding.side]
            assert len(said) == 1
            is_faint = finding.severity == "mild" or (finding.name == "nodule" and finding.size < 12)
            assert is_faint or said == {"present"}
            doubted, faint = doubted + (said == {"uncertain"}), faint + is_faint
    assert 0.2 < doubted / faint < 0.3


def test_what_is_denied_is_absent_on_that_side() -> None:
    for study, report in pairs():
        for triplet in report.triplets:
            if triplet.presence == "absent":
                same = [finding for finding in study.findings if finding.name == triplet.observation]
                assert all(triplet.side and finding.side not in (triplet.side, "bilateral") for finding in same)


def test_words_of_side_in_a_sentence_are_the_side_of_the_fact() -> None:
    words = {"left": {"left"}, "right": {"right"}, "bilateral": {"bilateral"}}
    for _, report in pairs():
        for triplet in report.triplets:
            found = set(re.findall(r"\b(left|right)\b", triplet.sentence.lower()))
            if re.search(r"\b(both|bilateral|bilaterally)\b", triplet.sentence.lower()):
                found.add("bilateral")
            if triplet.observation in SIDED and triplet.side and "hydropneumothorax" not in triplet.sentence:
                assert found == words[triplet.side], triplet
            else:
                assert found <= {"bilateral"} | words.get(triplet.side, set()), triplet


def test_lobes_severities_and_sizes_in_a_sentence_are_those_of_the_fact() -> None:
    for study, report in pairs():
        if study.prior:
            continue
        for triplet in report.triplets:
            if triplet.presence == "absent":
                continue
            finding = next(f for f in study.findings if (f.name, f.side) == (triplet.observation, triplet.side))
            lobes = set(re.findall(r"(upper|middle|lower) lobes?\b", triplet.sentence)) - {finding.lobe}
            assert not lobes or triplet.observation == "edema" or "with" in triplet.sentence, triplet
            assert triplet.severity in ("", finding.severity)
            for number, unit in re.findall(r"(\d+(?:\.\d)?) (mm|cm)\b", triplet.sentence):
                size = float(number) * (10 if unit == "cm" else 1)
                assert abs(size - finding.size) <= 0.51, triplet


def test_severity_words_belong_to_the_grade_of_the_triplet() -> None:
    grades = {
        "mild": "mild",
        "small": "mild",
        "trace": "mild",
        "severe": "severe",
        "large": "severe",
        "marked": "severe",
    }
    for _, report in pairs():
        for triplet in report.triplets:
            found = {grades[word] for word in re.findall("[a-z]+", triplet.sentence.lower()) if word in grades}
            if triplet.severity and triplet.observation in ("effusion", "cardiomegaly", "edema", "pneumothorax"):
                assert found <= {triplet.severity}, triplet


def test_sentences_of_triplets_stand_in_the_text_and_are_found_by_the_sentence_splitter() -> None:
    for _, report in pairs():
        sentences = {sentence for body in report.sections.values() for sentence in split_sentences(body)}
        text = flat(report.text)
        for triplet in report.triplets:
            assert triplet.sentence in text
            assert triplet.sentence in sentences


def test_sections_are_found_again_in_the_text_under_every_header_convention() -> None:
    for _, report in pairs():
        found = {name: flat(body) for name, body in split_sections(report.text).items()}
        assert found == {name: flat(body) for name, body in report.sections.items()}


def test_header_conventions_and_spellings_vary() -> None:
    texts = [report.text for report in reports(False)]
    for mark in (
        "FINDINGS: ",
        "FINDINGS:\n",
        "Findings: ",
        "FINDINGS\n",
        "FINDINGS - ",
        ". FINDINGS: ",
        "FINAL REPORT",
    ):
        assert sum(mark in text for text in texts) > 0.02 * COUNT, mark
    assert sum("oedema" in text for text in texts) > 0.03 * COUNT
    assert sum(" edema" in text for text in texts) > 0.1 * COUNT
    assert 0.02 * COUNT < sum("" in report.sections for report in reports(False)) < 0.1 * COUNT


def test_less_than_a_tenth_of_the_reports_repeats_another_and_some_normal_ones_do() -> None:
    for mark in (False, True):
        whole = Counter(flat(report.text) for report in reports(mark))
        read = Counter(read_by_a_model(report) for report in reports(mark))
        for counts in (whole, read):
            assert sum(count for count in counts.values() if count > 1) < 0.1 * COUNT
        assert max(read.values()) > 10


def test_the_same_seed_and_study_give_the_same_report_and_another_seed_another_one() -> None:
    study = studies()[7]
    assert write_report(study, seed=3, held_out=False) == write_report(study, seed=3, held_out=False)
    texts = {write_report(study, seed=seed, held_out=False).text for seed in range(20)}
    assert len(texts) > 15


def test_site_and_scanner_leave_no_trace_in_the_words() -> None:
    study = studies()[11]
    moved = replace(study, site="south", scanner="another", accession="A9")
    assert write_report(moved, seed=0, held_out=False) == write_report(study, seed=0, held_out=False)


@pytest.mark.parametrize(
    ("amount", "word"), [(0.5, "unchanged"), (0.55, "unchanged"), (0.2, "increased"), (0.9, "decreased")]
)
def test_a_finding_of_the_prior_is_compared_by_its_amount(amount: float, word: str) -> None:
    now = Finding("effusion", "left", "", "moderate", 60.0, 0.5, 1)
    assert change_of(now, (replace(now, amount=amount),)) == word


def test_comparison_is_refused_where_the_prior_cannot_be_matched() -> None:
    now = Finding("consolidation", "left", "lower", "moderate", 60.0, 0.5, 1)
    assert change_of(now, None) == ""
    assert change_of(now, (replace(now, lobe="upper"),)) == ""
    assert change_of(now, (replace(now, side="bilateral"),)) == ""
    assert change_of(now, (replace(now, side="right"),)) == "new"


def test_what_is_gone_is_said_to_have_resolved_and_devices_to_have_been_removed() -> None:
    effusion = Finding("effusion", "left", "", "moderate", 60.0, 0.5, 1)
    tube = Finding("endotracheal_tube", "midline", "", "", 45.0, 1.0, 1)
    study = a_study(prior=(effusion, tube))
    assert resolved(study) == (effusion, tube)
    for seed in range(30):
        said = [t for t in write_report(study, seed=seed, held_out=False).triplets if t.observation == "effusion"]
        assert said
        assert all((t.presence, t.side) == ("absent", "left") for t in said)
        assert all(re.search("resol|clear|no longer", t.sentence.lower()) for t in said)


def test_words_of_change_appear_only_where_there_is_a_prior() -> None:
    for study, report in pairs():
        if study.prior is None:
            assert not re.search(r"\b(unchanged|interval|prior (study|radiograph|exam)|worse|resolved)\b", report.text)


def test_change_is_worded_as_it_was() -> None:
    now = Finding("effusion", "left", "", "moderate", 60.0, 0.5, 1)
    study = a_study(now, prior=(replace(now, amount=0.9),))
    wrong = re.compile(r"increas|worse|unchanged|stable|\bnew\b", re.IGNORECASE)
    for seed in range(40):
        said = [
            t for t in write_report(study, seed=seed, held_out=bool(seed % 2)).triplets if t.observation == "effusion"
        ]
        assert not any(wrong.search(t.sentence) for t in said)


def test_devices_are_never_doubted() -> None:
    for _, report in pairs():
        assert not [t for t in report.triplets if t.observation in DEVICES and t.presence == "uncertain"]


def test_a_tube_that_is_too_high_is_not_called_satisfactory() -> None:
    high = Finding("endotracheal_tube", "midline", "", "", 70.0, 1.0, 1)
    for seed in range(40):
        text = write_report(a_study(high, views=("AP",)), seed=seed, held_out=bool(seed % 2)).text
        assert not re.search("tube[^.]*(satisfactory|standard|low)", text)


def test_sentences_are_well_formed() -> None:
    broken = re.compile(r"[{}\[\]<>|~]| ,| \.|\.\.|  |\ba [aeio]|\ban [bcdfgjklmnpqrtvwxyz]|\b(a|an) (a|an|the|both)\b")
    for _, report in pairs():
        for triplet in report.triplets:
            assert triplet.sentence[0].isupper() or triplet.sentence[0].isdigit()
            assert triplet.sentence.endswith(".")
            assert not broken.search(triplet.sentence), triplet.sentence


@pytest.mark.parametrize(
    ("size", "phrase"), [("8 mm", "An 8 mm nodule."), ("11 mm", "An 11 mm nodule."), ("1.8 cm", "A 1.8 cm nodule.")]
)
def test_articles_follow_the_sound_of_numbers(size: str, phrase: str) -> None:
    assert realise("{a}{size} nodule.", {"a": "a ", "size": size}, lambda options: options[0]) == phrase


def test_a_finding_that_no_sentence_can_place_is_refused() -> None:
    lost = Finding("rib_fracture", "", "", "", 8.0, 0.3, 1)
    with pytest.raises(
        DataError, match=r"S0000001 has a rib_fracture with side '' .* no sentence .* can say: give it a side"
    ):
        write_report(a_study(lost), seed=0, held_out=False)


def test_triplets_are_triplets_of_known_findings() -> None:
    for _, report in pairs():
        assert all(isinstance(t, Triplet) and t.observation in FINDINGS for t in report.triplets)


def test_zero_shot_prompts_are_not_copied_from_held_out_forms() -> None:
    kept = {form.template.lower() for form in SENTENCE_FORMS if form.held_out}
    spoken = {triplet.sentence.lower() for report in reports(True) for triplet in report.triplets}
    for prompts in load_prompts(resource("configs", "zero_shot/cxr_findings_v1.yaml")):
        sided = (*prompts.on("left"), *prompts.on("right")) if prompts.sided else ()
        for text in (*prompts.positive, *prompts.negative, *sided):
            assert text.lower() not in kept | spoken


def test_reports_of_ct_speak_of_no_radiograph() -> None:
    for study in studies()[:300]:
        report = write_report(replace(study, views=()), seed=0, held_out=False)
        assert not re.search(
            r"radiograph|x-ray|\bXR\b|\b(PA|AP|lateral) (view|chest)|frontal", report.text, re.IGNORECASE
        )


def test_the_age_at_the_study_is_told_where_it_is_known() -> None:
    texts = [write_report(a_study(), seed=seed, held_out=False, age=88).text for seed in range(40)]
    assert any("88-year-old" in text for text in texts)
    assert not any("61-year-old" in text for text in texts)


def test_only_a_study_without_any_finding_is_called_normal() -> None:
    for study, report in pairs():
        if re.search(r"Normal (chest )?(radiograph|CT)", report.text):
            assert not study.findings
