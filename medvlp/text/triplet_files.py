"""Triplets of reports as JSON Lines, one study a line.

A line is ``{"study_id", "subject_id", "source", "triplets": [{"anatomy", "observation", "presence", "sentence",
"modifiers", "side", "severity"}]}``. `source` says whose words anatomy and observation are: ``"radgraph"`` (anatomy
``"lobe|left|lower"``, observation as written in the report) or ``"rules"`` (medvlp's own reader: anatomy
``"lower lobe"``, observation a finding as in the label columns).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from medvlp.core.errors import DataError
from medvlp.core.files import written_whole
from medvlp.core.triplet import Side, Triplet
from medvlp.text.radgraph import RadGraphReport, radgraph_statements

Source = Literal["radgraph", "rules"]
_SEVERITY = {
    "mild": ("mild", "mildly", "minimal", "minimally", "slight", "slightly", "small", "tiny", "trace", "minor"),
    "moderate": ("moderate", "moderately", "moderate-sized", "medium"),
    "severe": ("severe", "severely", "large", "marked", "markedly", "massive", "extensive", "gross"),
}
_GRADE = {word: grade for grade, words in _SEVERITY.items() for word in words}
_KEYS = ("anatomy", "observation", "presence", "sentence", "modifiers", "side", "severity")


@dataclass(frozen=True, slots=True)
class StatedTriplet:
    """A triplet and the words said of its observation, in order ("small", "loculated")."""

    triplet: Triplet
    modifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyTriplets:
    """All that the reports of one study state, in the order of the text, none twice.

    `source` says whose words anatomy and observation are; `subject_id` is empty where the patient is unknown.
    """

    study_id: str
    subject_id: str
    source: Source
    triplets: tuple[StatedTriplet, ...]


def of_radgraph(
    report: RadGraphReport, *, linked_observations: bool = False, nested_modifiers: bool = False,
    across_sentences: bool = False,
) -> StudyTriplets:  # fmt: skip
    """Return the triplets of a report with RadGraph entities; the options are those of `radgraph_statements`.

    Statements without an observation are left out: they say nothing.
    """
    statements = radgraph_statements(
        report, linked_observations=linked_observations, nested_modifiers=nested_modifiers,
        across_sentences=across_sentences,
    )  # fmt: skip
    triplets = [
        StatedTriplet(
            Triplet(
                anatomy=each.anatomy, side=_side(each.anatomy), observation=each.observation, presence=each.presence,
                severity=next((_GRADE[word] for word in each.modifiers if word in _GRADE), ""), sentence=each.sentence,
            ),
            each.modifiers,
        )
        for each in statements
        if each.presence is not None
    ]  # fmt: skip
    return StudyTriplets(report.study_id, report.subject_id, "radgraph", tuple(dict.fromkeys(triplets)))


def _side(anatomy: str) -> Side:
    words = set(re.split(r"[| -]", anatomy))
    left, right = "left" in words, "right" in words
    if (left and right) or re.search(r"\b(?:both\b|bilat|bi ?-? ?(?:bas|apic))", anatomy):
        return "bilateral"
    return "left" if left else "right" if right else ""


def write_triplets(studies: Iterable[StudyTriplets], path: Path) -> int:
    """Write JSON Lines, whole or not at all, and return the number of studies.

    Raises:
        UserError: when the disk is full or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "triplets.jsonl"
        >>> write_triplets([StudyTriplets("s1", "", "rules", ())], path)
        1
        >>> [study.study_id for study in read_triplets(path)]
        ['s1']
    """
    count = 0
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as handle:
        for count, study in enumerate(studies, start=1):  # noqa: B007 (the last number is the count)
            handle.write(json.dumps(_document(study), ensure_ascii=False) + "\n")
    return count


def _document(study: StudyTriplets) -> dict[str, object]:
    triplets = [
        {key: list(each.modifiers) if key == "modifiers" else getattr(each.triplet, key) for key in _KEYS}
        for each in study.triplets
    ]
    return {
        "study_id": study.study_id, "subject_id": study.subject_id, "source": study.source, "triplets": triplets
    }  # fmt: skip


def read_triplets(path: Path) -> Iterator[StudyTriplets]:
    """Read JSON Lines, one study after the other.

    Raises:
        DataError: if the file is missing, a line is not a study with its triplets, or a study has two lines.
    """
    found: set[str] = set()
    try:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    study = _study(line, f"{path}, line {number}")
                    if study.study_id in found:
                        raise DataError(f"{path} holds a study on two lines: give each one line with all its triplets.")
                    found.add(study.study_id)
                    yield study
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path, or make it with `medvlp data triplets`.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: check that it is a file of triplets.") from None


def _study(line: str, place: str) -> StudyTriplets:
    try:
        value = json.loads(line)
        triplets = tuple(_stated(each) for each in value["triplets"])
        study = StudyTriplets(str(value["study_id"]), str(value["subject_id"]), value["source"], triplets)
    except (ValueError, RecursionError, KeyError, TypeError, DataError) as error:
        raise DataError(f"{place} is not a study with its triplets ({error}): make the file again.") from None
    if study.source not in get_args(Source):
        raise DataError(f"{place} has the source {study.source!r}; allowed are {', '.join(get_args(Source))}.")
    return study


def _stated(value: Mapping[str, Any]) -> StatedTriplet:
    triplet = Triplet(**{key: value[key] for key in _KEYS if key != "modifiers"})
    modifiers = value["modifiers"]
    texts = (triplet.anatomy, triplet.observation, triplet.severity, triplet.sentence)
    if not isinstance(modifiers, list) or not all(isinstance(each, str) for each in (*texts, *modifiers)):
        raise TypeError("a value is not text")
    return StatedTriplet(triplet, tuple(modifiers))
