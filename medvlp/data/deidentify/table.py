"""A table of reports without identifiers: every column is of a known kind, named to be kept, or left out."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from medvlp.core.errors import DataError
from medvlp.data.text_table import read_table
from medvlp.io.deidentify.known import KnownWords
from medvlp.io.deidentify.profile import Profile
from medvlp.io.deidentify.secret import Secret, is_uid
from medvlp.text.deidentify import deidentify_text
from medvlp.text.report_words import BARE, is_clinical

Kind = Literal["patient", "accession", "uid", "id", "date", "text", "keep", "drop"]

_PROSE = (
    r"(text|report|finding|impression|indication|comparison|history|technique|examination|conclusion|narrative|addendum|"
    r"recommendation|note|comment|description|caption|sentence)"
)
_WRITERS = (
    r"(radiologist|physician|doctor|surgeon|reader|resident|fellow|attending|technologist|technician|radiographer|"
    r"sonographer|nurse|consultant|clinician|practitioner|provider|operator)"
)
#: Who made, read or asked for something: persons' names.
_STAFF = (
    rf".*({_WRITERS}|author|reviewer|reporter|referrer|referring|requester|requesting|signer|signature|initials|staff|"
    r"writer|creator|editor|verifier|approver|owner|dictator|transcriber|transcriptionist|person(?!al)).*"
    r"|.*by\d*|.*(ed|read|written)by.*|.*dr\d*"
)
#: Columns whose "name" is that of a thing.
_THING = r".*(finding|label|disease|diagnosis|class|view|series|projection|organ|anatomy|modality|bodypart)s?names?.*"
_LONGEST_VALUE, _LONGEST_NAMES = 64, 256  # characters; what is longer is prose

_KINDS: tuple[tuple[Kind, str], ...] = (
    ("drop", r".*(birth|dob|name|address|phone|mail).*"),
    ("text", rf".*{_WRITERS}s?{_PROSE}s?"),  # "radiologist_report"
    ("drop", _STAFF),
    ("patient", r"(id)?(patient|subject|pat)(id|identifier|no|number)?|mrn|pid"),
    ("accession", r"(id)?acc(ession)?(id|no|number)?"),
    ("uid", r".*uid"),
    ("id", r"(report|study|image|exam|note|record|document)?id|id(study|report|image)|study"),
    ("date", r".*dat(e|etime).*"),
    ("text", rf".*{_PROSE}.*"),
)  # fmt: skip


def kind_of(name: str, keep: Sequence[str]) -> Kind:
    """Return what a column holds by its name; "drop" where the name tells nothing.

    Example:
        >>> [kind_of(name, ["label"]) for name in ("Patient ID", "StudyDate", "Findings", "label", "ward")]
        ['patient', 'date', 'text', 'keep', 'drop']
    """
    if name in keep:
        return "keep"
    return next((kind for kind, pattern in _KINDS if re.fullmatch(pattern, _plain(name))), "drop")


def deidentify_table(
    path: Path, *, profile: Profile, secret: Secret, keep: Sequence[str] = ()
) -> tuple[str, Counter[tuple[str, str]]]:
    """Return a CSV without identifiers, and how many values of which column had what done to them.

    Patient, accession and UIDs get the values that the images get, so that both still belong together.

    Args:
        path: the table, its first line the names of the columns.
        profile: options; of them ``dates`` and ``uids``.
        secret: key of pseudonyms, UIDs and shifts.
        keep: columns that are copied as they are.

    Raises:
        DataError: it cannot be read, or no column of it would be left.
    """
    table = read_table(path)
    kinds = [kind_of(name, keep) for name in table.names]
    left = [at for at, kind in enumerate(kinds) if kind != "drop"]
    if not left:
        raise DataError(f"{path.name} has no column of a known kind: name those to keep with --keep-column.")
    out, done = io.StringIO(), Counter[tuple[str, str]]()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([table.names[at] for at in left])
    patient_at = next((at for at, kind in enumerate(kinds) if kind == "patient"), None)
    for row in table.rows:
        patient = "" if patient_at is None else row[patient_at]
        known = KnownWords()
        for name, kind, value in zip(table.names, kinds, row, strict=True):
            _learn(known, name, kind, value)
        writer.writerow([_made(row[at], kinds[at], patient, known, profile, secret) for at in left])
    for kind in kinds:
        if kind != "keep":
            done[f"column {kind}", "remove" if kind == "drop" else "clean"] += len(table.rows)
    return out.getvalue(), done


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _learn(known: KnownWords, name: str, kind: Kind, value: str) -> None:
    """Remember what the row's prose must not hold: numbers, names, and what a column that is left out says.

    A word of findings, sides, views, sexes or grades identifies nobody, whatever the column ("laterality").
    """
    column = _plain(name)
    if kind in ("patient", "accession", "uid"):
        known.add(value)
    elif (
        kind == "drop"
        and (re.fullmatch(_STAFF, column) or ("name" in column and not re.fullmatch(_THING, column)))
        and len(value) <= _LONGEST_NAMES
    ):
        known.add_name(*(part for part in re.split(r"[\s,;()/&|]+", value) if part.lower() not in BARE))
    elif (kind == "id" or (kind == "drop" and len(value) <= _LONGEST_VALUE)) and not is_clinical(value):
        known.add(value)


def _made(value: str, kind: Kind, patient: str, known: KnownWords, profile: Profile, secret: Secret) -> str:
    if kind in ("patient", "accession", "id"):
        return secret.name(value, prefix=kind[0])
    if kind == "uid":
        return value if profile.uids and is_uid(value) else secret.uid(value)
    if kind == "date":
        return _date(value, patient, profile, secret)
    return deidentify_text(value, known) if kind == "text" else value


def _date(value: str, patient: str, profile: Profile, secret: Secret) -> str:
    """Shifted as in the images; ISO dates stay ISO. A date of another form, or of nobody, becomes empty."""
    if profile.dates == "retain":
        return value
    if profile.dates == "remove" or not patient:
        return ""
    iso = re.match(r"(\d{4})-(\d\d)-(\d\d)", value)
    shifted = secret.date("".join(iso.groups()) + value[10:] if iso else value, patient)
    return f"{shifted[:4]}-{shifted[4:6]}-{shifted[6:]}" if iso and shifted else shifted
