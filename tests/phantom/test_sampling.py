"""Facts of a drawn cohort: who is where, what is found, and that nothing leaks between splits or from the site."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from medvlp.core.errors import ConfigError
from medvlp.phantom.devices import CT_SCANNERS, SCANNERS, SITES
from medvlp.phantom.facts import FINDINGS, Finding, Study
from medvlp.phantom.priors import PRIORS, SHORTCUT
from medvlp.phantom.rules import RULES, lobes_of, severity_of
from medvlp.phantom.sampling import age_at, evolution_of, resolved_of, sample_cohort


@pytest.fixture(scope="module")
def studies() -> tuple[Study, ...]:
    return sample_cohort(patients=3000, seed=11, modality="cxr")


def names(study: Study) -> set[str]:
    return {finding.name for finding in study.findings}


def test_the_same_seed_draws_the_same_cohort_and_another_seed_another() -> None:
    first = sample_cohort(patients=20, seed=3, modality="cxr")
    assert first == sample_cohort(patients=20, seed=3, modality="cxr")
    assert first != sample_cohort(patients=20, seed=4, modality="cxr")


def test_a_larger_cohort_begins_with_the_smaller_one() -> None:
    small = sample_cohort(patients=20, seed=3, modality="cxr")
    assert sample_cohort(patients=40, seed=3, modality="cxr")[: len(small)] == small


def test_ct_cohorts_hold_the_same_people_and_findings() -> None:
    films, volumes = (sample_cohort(patients=15, seed=3, modality=modality) for modality in ("cxr", "ct"))
    assert [(s.patient, s.date, s.findings) for s in films] == [(s.patient, s.date, s.findings) for s in volumes]
    assert all(s.views == () and s.scanner in CT_SCANNERS for s in volumes)


def test_a_patient_is_in_one_split_and_the_splits_have_their_shares(studies: tuple[Study, ...]) -> None:
    splits = defaultdict(set)
    for study in studies:
        splits[study.patient.id].add(study.patient.split)
    assert all(len(found) == 1 for found in splits.values())
    shares = Counter(next(iter(found)) for found in splits.values())
    assert {name: round(n / 3000, 2) for name, n in shares.items()} == {"train": 0.82, "validate": 0.06, "test": 0.12}


def test_six_patients_are_enough_for_all_splits() -> None:
    for seed in range(20):
        splits = {study.patient.split for study in sample_cohort(patients=6, seed=seed, modality="cxr")}
        assert splits == {"train", "validate", "test"}


def test_identifiers_are_unique(studies: tuple[Study, ...]) -> None:
    assert len({study.id for study in studies}) == len({study.accession for study in studies}) == len(studies)


def test_every_finding_has_its_designed_share_and_about_a_third_of_studies_is_normal(
    studies: tuple[Study, ...],
) -> None:
    for name, prior in PRIORS.items():
        share = np.mean([name in names(study) for study in studies])
        assert share == pytest.approx(prior.target, abs=0.025), name
        assert 0.08 <= prior.target <= 0.20
    assert 0.30 <= np.mean([not study.findings for study in studies]) <= 0.40


def test_the_table_of_priors_names_every_finding_with_causes_before_effects() -> None:
    assert set(PRIORS) == set(FINDINGS)
    seen: set[str] = {"age", "cardiac", "airway", "trauma", "bedside"}
    for name, prior in PRIORS.items():
        assert set(prior.causes) <= seen, name
        seen.add(name)


@pytest.mark.slow
def test_a_test_split_of_350_studies_has_thirty_positives_of_nearly_every_finding() -> None:
    short = 0
    for seed in range(6):
        test = [s for s in sample_cohort(patients=1450, seed=seed, modality="cxr") if s.patient.split == "test"]
        assert 300 <= len(test) <= 400
        short += sum(sum(name in names(study) for study in test) < 30 for name in FINDINGS)
    assert short <= 6  # of 72


def test_findings_keep_company_as_in_life(studies: tuple[Study, ...]) -> None:
    def odds_ratio(cause: str, effect: str) -> float:
        table = np.full((2, 2), 0.5)
        for study in studies:
            table[int(cause in names(study)), int(effect in names(study))] += 1
        return float(table[1, 1] * table[0, 0] / (table[1, 0] * table[0, 1]))

    pairs = [("cardiomegaly", "edema"), ("edema", "effusion"), ("rib_fracture", "pneumothorax")]
    pairs += [("endotracheal_tube", "central_line"), ("effusion", "atelectasis")]
    assert all(odds_ratio(*pair) > 2 for pair in pairs)
    ages = defaultdict(list)
    for study in studies:
        ages["pacemaker" in names(study)].append(study.patient.age)
    assert np.mean(ages[True]) > np.mean(ages[False]) + 3


def test_tubes_are_seen_at_the_bedside_only_and_bedside_patients_are_sicker(studies: tuple[Study, ...]) -> None:
    bedside = [study for study in studies if study.views == ("AP",)]
    standing = [study for study in studies if study.views != ("AP",)]
    assert not any("endotracheal_tube" in names(study) for study in standing)
    assert all(study.views in (("PA",), ("PA", "LATERAL")) for study in standing)
    assert np.mean([len(s.findings) for s in bedside]) > 1.5 * np.mean([len(s.findings) for s in standing])
    scanners = {scanner.name: scanner for scanner in SCANNERS}
    assert all(scanners[study.scanner].mobile for study in bedside)
    assert not any(scanners[study.scanner].mobile for study in standing)
    assert all(scanners[study.scanner].site == study.site for study in studies)


def test_the_site_tells_of_findings_in_training_and_of_nothing_in_the_test_split(studies: tuple[Study, ...]) -> None:
    for split in ("validate", "test"):
        here = [study for study in studies if study.patient.split == split]
        counts = Counter(study.site for study in here)
        assert max(counts.values()) - min(counts.values()) <= 1
        for name in FINDINGS:
            table = [
                [sum(s.site == site and (name in names(s)) == is_in for s in here) for site in SITES]
                for is_in in (0, 1)
            ]
            assert chi2_contingency(table).pvalue > 0.001, (split, name)
    train = [study for study in studies if study.patient.split == "train"]
    for site, planted in SHORTCUT.items():
        for name in planted:
            there = np.mean([name in names(s) for s in train if s.site == site])
            elsewhere = np.mean([name in names(s) for s in train if s.site != site])
            assert there > 1.5 * elsewhere, (site, name)


def test_sex_and_findings_are_independent(studies: tuple[Study, ...]) -> None:
    first = [study for study in studies if study.number == 0]
    for name in FINDINGS:
        table = [
            [sum((s.patient.sex == sex) and (name in names(s)) == is_in for s in first) for sex in "FM"]
            for is_in in (0, 1)
        ]
        assert chi2_contingency(table).pvalue > 0.001, name


def test_every_finding_obeys_its_rule(studies: tuple[Study, ...]) -> None:
    for study in studies:
        assert len(names(study)) == len(study.findings)
        for finding in study.findings:
            rule = RULES[finding.name]
            assert finding.side in [side for side, _ in rule.sides]
            assert (finding.lobe in lobes_of(rule, finding.side)) if rule.lobes else finding.lobe == ""
            assert rule.low <= finding.size <= rule.high
            assert 0 <= finding.amount <= 1
            assert finding.severity == severity_of(rule, finding.amount)


def test_patients_have_one_to_four_visits_and_findings_appear_stay_change_and_resolve(
    studies: tuple[Study, ...],
) -> None:
    by_patient = defaultdict(list)
    for study in studies:
        by_patient[study.patient.id].append(study)
    assert {len(visits) for visits in by_patient.values()} == {1, 2, 3, 4}
    assert len(studies) / len(by_patient) == pytest.approx(2.04, abs=0.08)
    seen: Counter[str] = Counter()
    for visits in by_patient.values():
        assert visits[0].prior is None
        assert [visit.number for visit in visits] == list(range(len(visits)))
        for before, now in pairwise(visits):
            assert now.prior == before.findings
            assert now.date > before.date
            assert age_at(now, visits[0].date) >= now.patient.age
            seen.update(evolution_of(finding, now.prior) for finding in now.findings)
            seen["resolved"] += len(resolved_of(now))
            assert {f.name for f in before.findings if f.name in ("pacemaker", "emphysema")} <= names(now)
    assert set(seen) == {"new", "unchanged", "increased", "decreased", "resolved"}
    assert min(seen.values()) > 100


def test_evolution_is_read_from_the_seed_not_the_name() -> None:
    old = Finding("effusion", "left", "", "mild", 30.0, 0.11, 1)
    other = Finding("effusion", "right", "", "mild", 30.0, 0.11, 2)
    assert evolution_of(old, (old,)) == "unchanged"
    assert evolution_of(other, (old,)) == "new"
    assert evolution_of(Finding("effusion", "left", "", "mild", 22.0, 0.04, 1), (old,)) == "decreased"


def test_a_cohort_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 patients cannot be made: ask for at least 1"):
        sample_cohort(patients=0, seed=0, modality="cxr")
