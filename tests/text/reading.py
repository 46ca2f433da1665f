"""Phantom reports as text, and what must not change in them, counted by means of this file's own."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

from medvlp.core.triplet import Presence, Triplet
from medvlp.phantom.report import Report, write_report
from medvlp.phantom.sampling import sample_cohort
from medvlp.text.hard_negatives.copies import FalseCopy
from medvlp.text.labels import count_mentions
from medvlp.text.mentions import Mention, read_report
from medvlp.text.ontology import Finding, findings, vocabulary, word_class

Fact = tuple[object, ...]
PARTS = ("finding", "presence", "side", "anatomy", "severity", "size_mm", "count", "change")
LEFT = {"left", "lt", "l", "lul", "lll", "leftward", "levoscoliosis"}
RIGHT = {"right", "rt", "r", "rul", "rml", "rll", "rightward", "dextroscoliosis"}
BOTH = {"both", "bilateral", "bilaterally", "bilat"}


def word_set(text: str) -> set[str]:
    return {*text.split()}


GRADES = word_set(
    "small tiny trace minimal minor mild mildly slight slightly minimally moderate moderately large massive severe "
    "severely marked markedly advanced extensive dense subtle patchy confluent widely"
)
# Words that a copy may have more or fewer of; any other change is more than the fact.
ALLOWED = {
    "side": LEFT | RIGHT,
    "severity": GRADES | {"a", "an"},
    "anatomy": word_set("upper middle mid lower base bases apex apices rul rml rll lul lll"),
    "count": word_set(
        "a an solitary single one two three four five six nodule nodules mass masses opacity opacities is are has have "
        "measures measure projects project"
    ),
    "device": word_set(
        "a an endotracheal et ett nasogastric ng ngt tube central venous catheter line cvc pacemaker cardiac pacing "
        "device chest"
    ),
    "negation": GRADES
    | word_set(
        "no not neither nor or and but there is are a an absent present evidence sign signs of seen identified noted"
    )
    | word_set("normal within limits in of size enlarged increased heart the")
    | word_set(
        "acute displaced suspicious overt focal lung pulmonary visible apical rib"
    ),  # said of each item of a list
}


@cache
def phantom_reports(count: int, *, seed: int = 5) -> tuple[Report, ...]:
    """Return reports of both modalities and both halves of the sentence forms."""
    patients = count // 2 + 8
    films = sample_cohort(patients=patients, seed=seed, modality="cxr")
    scans = sample_cohort(patients=patients // 4, seed=seed + 1, modality="ct")
    studies = [*scans[: count // 5], *films][:count]
    assert len(studies) == count
    return tuple(write_report(study, seed=seed, held_out=place % 2 == 1) for place, study in enumerate(studies))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def numbers(text: str) -> Counter[str]:
    """Numbers, measures and dates; list marks and numbers of headers belong to places and are left out."""
    lines = [re.sub(r"^\s*\(?\d+[.)]\s+", "", line) for line in text.split("\n")]
    flat = re.sub(r"(?<=[.:])\s+\d[.)]\s+(?=[A-Z]|\d+\.?\d* ?[cm]m)", " ", " ".join(lines))
    return Counter(re.findall(r"\d+(?:[./-]\d+)*", flat))


def sides(text: str) -> Counter[str]:
    classes = (("left", LEFT), ("right", RIGHT), ("both", BOTH))
    plain = re.sub(r"\br/o\b", "", text, flags=re.IGNORECASE)  # rule out
    return Counter(name for word in words(plain) for name, members in classes if word in members)


def fact_of(mention: Mention) -> Fact:
    parts = tuple(getattr(mention, part) for part in PARTS)
    return tuple("" if part == "lung" else part for part in parts)  # "lung nodule" is a nodule, and in no other place


def facts(text: str) -> Counter[Fact]:
    return Counter(fact_of(mention) for mention in read_report(text))


def lost_in(before: str, after: str) -> str:
    """Say what a rewrite lost; empty where nothing."""
    if numbers(before) != numbers(after):
        return f"numbers: {numbers(before)} {numbers(after)}"
    if sides(before) != sides(after):
        return f"sides: {sides(before)} {sides(after)}"
    was, now = facts(before), facts(after)
    return "" if was == now else f"read: -{[*(was - now)]} +{[*(now - was)]}"


def more_than_the_fact(before: str, copy: FalseCopy) -> str:
    """Say what a false copy changed beside its fact, or that it changed none; empty where all is right."""
    was, now = Counter(words(before)), Counter(words(copy.text))
    strange = set((was - now) | (now - was)) - ALLOWED[copy.kind]
    if strange:
        return f"words: {sorted(strange)}"
    if copy.kind != "count" and numbers(before) != numbers(copy.text):
        return "numbers"
    if copy.kind != "side" and sides(before) != sides(copy.text) and copy.kind != "negation":
        return "sides"
    old, new = facts(before), facts(copy.text)
    gone, come = list((old - new).elements()), list((new - old).elements())
    if not gone or len(gone) != len(come):
        return f"read: -{gone} +{come}"
    place = {"side": 2, "negation": 1, "severity": 4, "anatomy": 3, "count": 6, "device": 0}[copy.kind]
    free = {place, 3} if copy.kind == "device" else {1, 3, 4} if copy.kind == "negation" else {place}
    bound = [each for each in range(len(PARTS)) if each not in free]
    if Counter(tuple(f[k] for k in bound) for f in gone) != Counter(tuple(f[k] for k in bound) for f in come):
        return f"read: -{gone} +{come}"
    if {f[0] for f in gone} != {copy.finding}:
        return f"another finding: {gone}"
    if copy.kind not in ("anatomy", "count") and {f[place] for f in come} != {copy.after}:
        return f"not what it says: {come}"
    if copy.kind == "anatomy" and {f[3] for f in gone} & {f[3] for f in come}:
        return f"the same place: {come}"
    return ""


def denied_by_truth(report: Report, copy: FalseCopy) -> bool:
    """Whether the phantom's own truth has the fact that the copy denies, in a sentence the copy changed."""
    statements = {" ".join(triplet.sentence.split()): [] for triplet in report.triplets}
    for triplet in report.triplets:
        statements[" ".join(triplet.sentence.split())].append(triplet)
    said = statements.get(" ".join(copy.statement.split()), [])
    if copy.kind == "side":
        return any(triplet.side == copy.before for triplet in said)
    if copy.kind == "negation":
        return any((triplet.presence == "absent") == (copy.before == "absent") for triplet in said)
    if copy.kind == "severity":
        return any(triplet.severity == copy.before for triplet in said)
    if copy.kind == "device":
        return any(triplet.observation == copy.before for triplet in said)
    return bool(said)


LOBES = {name: name for name in ("upper lobe", "middle lobe", "lower lobe")}
LOBES |= {"lung base": "lower lobe", "lingula": "upper lobe"}


def triplets(text: str) -> tuple[Triplet, ...]:
    """The present, absent and uncertain statements of a report."""
    return tuple(
        Triplet(each.anatomy or findings()[each.finding].anatomy, each.side, each.finding, each.presence, each.severity,
                each.sentence)
        for each in read_report(text)
        if each.presence in ("present", "absent", "uncertain")
    )  # fmt: skip


def label_triplets(text: str, wanted: str) -> tuple[Triplet, ...]:
    """The statements of a report about the labels of a vocabulary, each at its usual place and side."""
    words: dict[float, Presence] = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
    found: dict[Triplet, None] = {}
    for key, value, mention in count_mentions(read_report(text), vocabulary(wanted)):
        finding = findings().get(key, Finding(key, key, ""))
        place = LOBES.get(mention.anatomy, "") if finding.anatomy in ("lung", "lungs", "") else ""
        side = mention.side if finding.sided else ""
        was_there = value != 0.0 or not word_class("gone").isdisjoint(mention.cue.split())
        side = side or (finding.side if was_there else "")
        triplet = Triplet(place or finding.anatomy, side, key, words[value], mention.severity, mention.sentence)
        found.setdefault(triplet)
    return tuple(found)
