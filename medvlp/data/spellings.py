"""Identifiers that a table may write in several ways: 007, 7 and 7.0 are three to a computer, one to a hospital.

Whether they are one nobody can tell from here, so nothing is merged: it is said, without a number of a patient.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from unicodedata import normalize

from medvlp.core.grouped import grouped
from medvlp.data.manifest import Manifest
from medvlp.text.language import LIKE_BLANK


def spelling(patient: str) -> str:
    """Return what is left of an identifier without blanks, case, Unicode form, leading zeros and a decimal point.

    Example:
        >>> [spelling(name) for name in ("007", "7.0", " P 01", "p01", "0")]
        ['7', '7', 'p01', 'p01', '0']
    """
    plain = re.sub(r"\s+", "", normalize("NFKC", patient)).casefold()
    return re.sub(r"^0+(?=\d)", "", re.sub(r"^(\d+)\.0+$", r"\1", plain))


def patient_notes(patients: Iterable[str | None]) -> tuple[str, ...]:
    """Return a sentence on patients written in several ways, one on rounded ones, and one on those like a blank.

    Example:
        >>> for sentence in patient_notes(["007", "7", "7", "NA", "P2", None]):
        ...     print(sentence)
        Patients under several names that differ in blanks, case, Unicode form, leading zeros or a decimal point \
alone: 1 (2 names). They count as different patients and a split may part them, so write each in one way.
        Rows that name a patient 'NA', which looks like a blank: 1; equal ones count as one patient, leave it blank.
    """
    there = Counter(name for name in patients if name)
    several = [names for names in grouped((spelling(name), name) for name in there).values() if len(names) > 1]
    blank = [name for name in there if name.strip().casefold() in LIKE_BLANK]
    notes = []
    if several:
        notes.append(
            "Patients under several names that differ in blanks, case, Unicode form, leading zeros or a decimal point "
            f"alone: {len(several)} ({sum(map(len, several))} names). They count as different patients and a split may "
            "part them, so write each in one way."
        )
    if rounded := sum(rows for name, rows in there.items() if _is_rounded(name)):
        notes.append(f"Rows that name a patient by a number that a spreadsheet rounded: {rounded}; several may be one.")
    if blank:
        notes.append(
            f"Rows that name a patient {blank[0]!r}, which looks like a blank: {sum(there[name] for name in blank)}; "
            "equal ones count as one patient, leave it blank."
        )
    return tuple(notes)


def number_notes(reports: Iterable[str], images: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence on reports that joined no image for the way their number is written, one on rounded numbers.

    Args:
        reports: numbers of reports that joined no image.
        images: numbers of images that joined no report.

    Example:
        >>> print(*number_notes(["12", "7.0", "3"], ["0012", "007", "4"]))
        Reports whose number is an image's but for blanks, case, Unicode form, leading zeros or a decimal point: 2; \
write it as the image has it (export that column as text).
    """
    numbers, own = list(reports), {*images} - {""}
    plain, notes = {spelling(number) for number in own}, []
    if alike := sum(number not in own and spelling(number) in plain for number in numbers):
        notes.append(
            "Reports whose number is an image's but for blanks, case, Unicode form, leading zeros or a decimal point: "
            f"{alike}; write it as the image has it (export that column as text)."
        )
    if rounded := sum(map(_is_rounded, numbers)):
        notes.append(f"Reports whose number a spreadsheet rounded: {rounded}; export that column as text.")
    return tuple(notes)


def _is_rounded(name: str) -> bool:
    return bool(re.fullmatch(r"\s*\d([.,]\d+)?E\+\d\d+\s*", name))


def notes_of(manifest: Manifest) -> tuple[str, ...]:
    """Return `patient_notes` of a cohort (of keyed hashes the layout's, which saw names), and on one of many rows."""
    names = manifest.arrow("id.patient").drop_null().to_pylist() if "id.patient" in manifest else []
    said = manifest.meta.get("notes", manifest.meta.get("patient_notes"))  # as it was called before
    notes = tuple(map(str, said)) if isinstance(said, list) else patient_notes(names)
    most = max(Counter(names).values(), default=0)
    if most < 20 or 4 * most <= len(names):
        return notes
    many = f"Rows of one patient: {most} of {len(names)}, all in one part of a split; if they are several, part them."
    return (*notes, many)
