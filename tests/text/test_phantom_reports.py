"""Reading back what the phantom wrote: 2,000 reports of sentence forms that are held out from training."""

from __future__ import annotations

from functools import cache

import pytest

from medvlp.phantom.report import Report, write_report
from medvlp.phantom.sampling import sample_cohort
from medvlp.text.labels import label_report
from medvlp.text.mentions import read_report
from tests.text.reading import label_triplets

VALUES = {"present": 1.0, "uncertain": -1.0, "absent": 0.0}  # the strongest first


@cache
def reports() -> tuple[Report, ...]:
    studies = sample_cohort(patients=800, seed=11, modality="cxr") + sample_cohort(patients=200, seed=12, modality="ct")
    return tuple(write_report(study, seed=7, held_out=True) for study in studies)


@pytest.mark.slow
def test_presence_side_and_whole_triplets_are_read_back() -> None:
    said = right = sides = whole = 0
    for report in reports():
        read: dict[tuple[str, str], list[tuple[str, str, str, str]]] = {}
        for found in label_triplets(report.text, "phantom12"):
            key = (found.sentence, found.observation)
            read.setdefault(key, []).append((found.presence, found.side, found.anatomy, found.severity))
        for fact in report.triplets:
            mine = read.get((" ".join(fact.sentence.split()), fact.observation), [])
            said += 1
            right += any(each[0] == fact.presence for each in mine)
            sides += any(each[:2] == (fact.presence, fact.side) for each in mine)
            whole += (fact.presence, fact.side, fact.anatomy, fact.severity) in mine
    assert said > 10_000
    assert min(right, sides, whole) / said >= 0.97, (said, right, sides, whole)


@pytest.mark.slow
def test_labels_are_those_of_the_facts_and_nothing_else_is_present() -> None:
    said = right = 0
    for report in reports()[::2]:
        for key, value in label_report(report.text, "phantom12").items():
            told = {fact.presence for fact in report.triplets if fact.observation == key}
            wanted = next((VALUES[presence] for presence in VALUES if presence in told), None)
            said += 1
            right += value == wanted or (wanted is None and value == 0.0)
    assert said > 10_000
    assert right / said >= 0.97, (said, right)


@pytest.mark.slow
def test_words_stand_where_a_mention_says() -> None:
    for report in reports()[:200]:
        for mention in read_report(report.text):
            assert report.text[mention.start : mention.end] == mention.text
            assert " ".join(mention.text.split()) in mention.sentence
            assert mention.sentence in " ".join(report.text.split())
