"""Patients, their visits and what is found at each: pure facts, drawn before anything is rendered.

A finding's presence at a visit is a logistic function of the patient's traits, of the setting and of the findings that
cause it. At a follow-up the earlier state is kept with the finding's persistence and otherwise drawn anew, which leaves
its share in the population as designed while patients evolve: findings appear, stay, grow, shrink and resolve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

from medvlp.core.errors import ConfigError
from medvlp.core.randomness import numpy_generator, seed_of
from medvlp.phantom.devices import SITES, devices_of
from medvlp.phantom.facts import Finding, Patient, Study, View
from medvlp.phantom.priors import AGE_STEP, BEDSIDE, CHECKUP, CHECKUP_EFFECT, PRIORS, SHORTCUT, SHORTCUT_WEIGHT, Prior
from medvlp.phantom.rules import RULES, draw_extent, lobes_of, severity_of

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Evolution = Literal["new", "unchanged", "increased", "decreased", ""]

# 14, 1 and 2 of every 17 patients: 82.4, 5.9 and 11.8 %. In parts, so that six patients already have all three splits.
_SPLIT_PARTS: tuple[tuple[Literal["train", "validate", "test"], ...], ...] = (
    ("train", "train", "train", "train", "validate", "test"),
    ("train", "train", "train", "train", "train", "test"),
    ("train", "train", "train", "train", "train"),
)
_STUDIES = (0.38, 0.32, 0.18, 0.12)  # one to four visits, 2.04 on average
_LATERAL = 0.15  # of the studies on a standing patient: frontal films are what training needs
_SEEN = 0.1  # least difference of amounts that counts as a change; reports speak of one from 0.08 on
_GAP = {"bedside": (1, 6), "clinic": (14, 420)}  # days to the next visit


@dataclass(frozen=True, slots=True)
class _Visit:
    number: int
    date: date
    bedside: bool
    findings: tuple[Finding, ...]


def sample_cohort(*, patients: int, seed: int, modality: Literal["cxr", "ct"]) -> tuple[Study, ...]:
    """Draw a cohort: every patient, study and finding, in the order of patients and visits.

    The first patients of a larger cohort are those of a smaller one, except that nothing else than the seed and the
    modality may differ.

    Args:
        patients: how many people, at least 1.
        seed: of the cohort.
        modality: ``"cxr"`` gives studies with views, ``"ct"`` the same people with none and on CT scanners.

    Raises:
        ConfigError: if there are no patients.

    Example:
        >>> studies = sample_cohort(patients=6, seed=0, modality="cxr")
        >>> sorted({study.patient.split for study in studies})
        ['test', 'train', 'validate']
    """
    if patients < 1:
        raise ConfigError(f"A phantom cohort of {patients} patients cannot be made: ask for at least 1.")
    people = [_patient(index, seed) for index in range(patients)]
    courses = [_course(person, index, seed) for index, person in enumerate(people)]
    sites = _Sites(seed)
    studies: list[Study] = []
    for index, (person, course) in enumerate(zip(people, courses, strict=True)):
        prior: tuple[Finding, ...] | None = None
        for visit in course:
            draw = numpy_generator(seed, _place(index, visit.number), "phantom.device")
            site = sites.next(person.split, visit.findings, draw)
            devices = devices_of(site, modality=modality, bedside=visit.bedside)
            serial = len(studies)
            studies.append(
                Study(
                    id=f"S{serial:07d}",
                    patient=person,
                    number=visit.number,
                    date=visit.date.strftime("%Y%m%d"),
                    accession=f"A{seed_of(seed, 0, 'phantom.accession') % 900 + 100}{serial:06d}",
                    site=site,
                    scanner=devices[int(draw.integers(len(devices)))],
                    views=_views(visit.bedside, draw) if modality == "cxr" else (),
                    findings=visit.findings,
                    prior=prior,
                )
            )
            prior = visit.findings
    return tuple(studies)


def evolution_of(finding: Finding, prior: tuple[Finding, ...] | None) -> Evolution:
    """Say how a finding compares with the patient's previous study; empty where there was none.

    The same finding keeps its seed, so name and seed identify it.

    Example:
        >>> old = Finding("nodule", "left", "upper", "", 10.0, 0.1, 5)
        >>> new = Finding("nodule", "left", "upper", "", 14.0, 0.3, 5)
        >>> evolution_of(new, (old,)), evolution_of(new, ()), evolution_of(new, None)
        ('increased', 'new', '')
    """
    if prior is None:
        return ""
    for old in prior:
        if (old.name, old.seed) == (finding.name, finding.seed):
            if finding.amount == old.amount and finding.size == old.size:
                return "unchanged"
            return "increased" if finding.amount > old.amount else "decreased"
    return "new"


def resolved_of(study: Study) -> tuple[Finding, ...]:
    """Return the findings of the previous study that are gone."""
    here = {(finding.name, finding.seed) for finding in study.findings}
    return tuple(finding for finding in study.prior or () if (finding.name, finding.seed) not in here)


def age_at(study: Study, first_date: str) -> int:
    """Return the patient's age in whole years at a study, given the date of the first one (both ``YYYYMMDD``)."""
    days = (date.fromisoformat(study.date) - date.fromisoformat(first_date)).days
    return study.patient.age + int(days // 365.25)


def _place(patient: int, visit: int) -> int:
    """Position of a visit in the sample stream: patients have at most four."""
    return 8 * patient + visit


def _patient(index: int, seed: int) -> Patient:
    draw = numpy_generator(seed, index, "phantom.patient")
    sex: Literal["F", "M"] = "F" if draw.random() < 0.5 else "M"
    age = _cut_normal(draw, 59.0, 16.0, 20.0, 92.0)
    height = _cut_normal(draw, 162.0, 6.5, 145.0, 180.0) if sex == "F" else _cut_normal(draw, 176.0, 7.0, 158.0, 196.0)
    bmi = math.exp(_cut_normal(draw, math.log(26.5), 0.19, math.log(17.0), math.log(44.0)))
    return Patient(f"P{index:06d}", sex, int(age), round(height, 1), round(bmi, 1), _split(index, seed))


def _cut_normal(draw: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    value = math.inf
    while not low <= value <= high:
        value = mean + sd * float(draw.standard_normal())
    return value


def _split(index: int, seed: int) -> Literal["train", "validate", "test"]:
    block, place = divmod(index, 17)
    part, place = divmod(place, 6)
    names = _SPLIT_PARTS[part]
    order = numpy_generator(seed, 3 * block + part, "phantom.split").permutation(len(names))
    return names[int(order[place])]


def _course(person: Patient, index: int, seed: int) -> tuple[_Visit, ...]:
    """Draw all visits of one person."""
    draw = numpy_generator(seed, index, "phantom.course")
    frailty = float(draw.standard_normal())
    checkup = bool(draw.random() < CHECKUP)
    traits = {
        "age": (person.age - 60) / AGE_STEP,
        "cardiac": float(draw.standard_normal()),
        "airway": float(draw.standard_normal()),
        "trauma": float(draw.random() < 0.16),
        "checkup": float(checkup),
    }
    when = date(2014, 1, 1) + timedelta(days=int(draw.integers(0, 2500)))
    count = 1 + int(draw.choice(len(_STUDIES), p=_STUDIES))
    visits: list[_Visit] = []
    bedside = False
    for number in range(count):
        if number == 0 or draw.random() > 0.6:
            bedside = not checkup and bool(
                draw.random() < _sigmoid(_logit(BEDSIDE) + 1.2 * frailty + 0.3 * traits["age"])
            )
        before = {finding.name: finding for finding in visits[-1].findings} if visits else None
        findings: dict[str, Finding] = {}
        for name, prior in PRIORS.items():
            # One generator a finding: adding a finding to the table leaves the others as they were.
            own = numpy_generator(seed, _place(index, number), f"phantom.finding.{name}")
            found = _evolve(name, prior, before, traits | {"bedside": float(bedside)}, findings, own)
            if found is not None:
                findings[name] = found
        visits.append(_Visit(number, when, bedside, tuple(findings.values())))
        low, high = _GAP["bedside" if bedside else "clinic"]
        when += timedelta(days=int(draw.integers(low, high)))
    return tuple(visits)


def _evolve(
    name: str,
    prior: Prior,
    before: Mapping[str, Finding] | None,
    traits: Mapping[str, float],
    present: Mapping[str, Finding],
    draw: np.random.Generator,
) -> Finding | None:
    """Return the finding as it is at this visit, or None."""
    possible = bool(traits["bedside"]) or not prior.bedside_only
    odds = prior.offset + CHECKUP_EFFECT * traits["checkup"]
    odds += sum(w * traits.get(cause, float(cause in present)) for cause, w in prior.causes.items())
    # All numbers are drawn whatever happens, so that one outcome does not shift the meaning of the next number.
    keep, fresh, course = (float(number) for number in draw.random(3))
    drawn = possible and fresh < _sigmoid(odds)
    if before is None:
        return _new(name, draw) if drawn else None
    old = before.get(name)
    if old is None:
        # What is never lost comes at a tenth of its first rate.
        appears = drawn and keep < 0.1 if prior.persistence == 1.0 else drawn and keep >= prior.persistence
        return _new(name, draw) if appears else None
    if not possible or (keep >= prior.persistence and not drawn):
        return None
    if course < prior.worse:
        return _resize(old, up=True)
    return _resize(old, up=False) if course < prior.worse + prior.better else old


def _new(name: str, draw: np.random.Generator) -> Finding:
    rule = RULES[name]
    side = _one_of(dict(rule.sides), draw)
    lobes = lobes_of(rule, side)
    lobe = lobes[int(draw.integers(len(lobes)))] if lobes else ""
    extent = draw_extent(rule, draw)
    amount = round(extent.amount, 4)
    grade = severity_of(rule, amount)  # of the number that is kept: rounding may cross a cut
    return Finding(name, side, lobe, grade, round(extent.size, 2), amount, int(draw.integers(2**62)))


def _resize(old: Finding, *, up: bool) -> Finding:
    """Grow or shrink a finding by what a reader would call a change, inside its rule; the shape (seed) stays."""
    rule = RULES[old.name]
    if rule.high > 0.0 and rule.amount != (1.0, 1.0):
        step = max(0.4 * old.size, 0.15 * (rule.high - rule.low))
        size = min(max(old.size + (step if up else -step), rule.low), rule.high)
        amount = (size - rule.low) / (rule.high - rule.low)
    else:
        size = old.size
        amount = min(max(old.amount + (0.3 if up else -0.3), rule.amount[0]), rule.amount[1])
    amount = round(amount, 4)
    if abs(amount - old.amount) < _SEEN:  # at the end of its range
        return old
    return replace(old, size=round(size, 2), amount=amount, severity=severity_of(rule, amount))


class _Sites:
    """Gives every study a site: by its findings in training, in balanced blocks blind to them elsewhere."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts = {"validate": 0, "test": 0}

    def next(self, split: str, findings: tuple[Finding, ...], draw: np.random.Generator) -> str:
        if split == "train":
            names = {finding.name for finding in findings}
            drawn = {site for site in SITES if names.intersection(SHORTCUT.get(site, ()))}
            return _one_of({site: SHORTCUT_WEIGHT if site in drawn else 1.0 for site in SITES}, draw)
        block, place = divmod(self._counts[split], len(SITES))
        self._counts[split] += 1
        return SITES[int(numpy_generator(self._seed, block, f"phantom.site.{split}").permutation(len(SITES))[place])]


def _views(bedside: bool, draw: np.random.Generator) -> tuple[View, ...]:
    lateral = draw.random() < _LATERAL
    if bedside:
        return ("AP",)
    return ("PA", "LATERAL") if lateral else ("PA",)


def _one_of(weights: Mapping[T, float], draw: np.random.Generator) -> T:
    """Draw a key, each as often as its weight says."""
    total = sum(weights.values())
    return list(weights)[int(draw.choice(len(weights), p=[weight / total for weight in weights.values()]))]


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))
