"""Triplets read from phantom reports against the facts they were written from: 2,000 texts, no pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from medvlp.core.randomness import numpy_generator
from medvlp.core.triplet import Triplet
from medvlp.phantom.facts import FINDINGS, Finding, Patient, Study, View
from medvlp.phantom.report import write_report
from medvlp.phantom.rules import RULES, draw_extent, lobes_of
from medvlp.text.mention_triplets import of_report

COUNT = 1000  # of each half of the sentence forms
BAR = 0.97
VIEWS: tuple[tuple[View, ...], ...] = (("PA", "LATERAL"), ("PA",), ("AP",))
SIDED = {name for name in FINDINGS if {"left", "right"} & {side for side, _ in RULES[name].sides}}


def draw_finding(name: str, generator: np.random.Generator) -> Finding:
    rule = RULES[name]
    weights = np.array([weight for _, weight in rule.sides])
    side = rule.sides[int(generator.choice(len(weights), p=weights / weights.sum()))][0]
    lobes = lobes_of(rule, side)
    lobe = lobes[int(generator.integers(len(lobes)))] if lobes else ""
    extent = draw_extent(rule, generator)
    return Finding(name, side, lobe, extent.severity, extent.size, extent.amount, int(generator.integers(2**31)))


def draw_study(place: int) -> Study:
    """A third is normal, 40 % have a prior."""
    generator = numpy_generator(0, place, "test/triplets")
    names = [] if generator.random() < 0.3 else [name for name in FINDINGS if generator.random() < 0.2]
    findings = tuple(draw_finding(name, generator) for name in names)
    prior = None
    if generator.random() < 0.4:
        kept = [replace(each, amount=float(np.clip(each.amount + generator.normal(0, 0.3), 0, 1))) for each in findings]
        others = [draw_finding(name, generator) for name in FINDINGS if generator.random() < 0.08]
        prior = tuple(each for each in (*kept, *others) if generator.random() < 0.7)
    patient = Patient(f"P{place:06d}", "F", int(generator.integers(18, 95)), 170.0, 25.0, "train")
    views = VIEWS[int(generator.integers(3))]
    return Study(f"S{place:07d}", patient, 0, "20200101", f"A{place}", "north", "x", views, findings, prior)


def fact(triplet: Triplet) -> tuple[str, str, str, str, str]:
    """Sentence, observation, presence, side and lobe.

    The side of what has no sides (edema is bilateral by itself, a tube midline) and of what is on neither side is none.
    """
    nowhere = triplet.observation not in SIDED or (triplet.presence == "absent" and triplet.side == "bilateral")
    lobe = triplet.anatomy if triplet.anatomy.endswith("lobe") else ""
    sentence = " ".join(triplet.sentence.split()).strip(" .")
    return sentence, triplet.observation, triplet.presence, "" if nowhere else triplet.side, lobe


USUAL = pytest.param(False, marks=pytest.mark.slow, id="usual forms")


@pytest.mark.parametrize("held_out", [USUAL, pytest.param(True, id="held-out forms")])
@pytest.mark.slow
def test_triplets_of_phantom_reports_are_read_back(held_out: bool) -> None:
    true: Counter[str] = Counter()
    read: Counter[str] = Counter()
    both: Counter[str] = Counter()
    for place in range(COUNT):
        report = write_report(draw_study(place), seed=0, held_out=held_out)
        found = of_report(report.text, study_id="s", vocabulary="phantom12").triplets
        for upto, level in ((3, "presence"), (4, "side"), (5, "lobe")):
            facts = {fact(triplet)[:upto] for triplet in report.triplets}
            seen = {fact(each.triplet)[:upto] for each in found}
            true[level] += len(facts)
            read[level] += len(seen)
            both[level] += len(facts & seen)
    assert true["lobe"] > 7 * COUNT
    for level, number in both.items():
        assert number / true[level] >= BAR, (level, "recall", number / true[level])
        assert number / read[level] >= BAR, (level, "precision", number / read[level])
