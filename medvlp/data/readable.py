"""A cohort after every file of it was read once: what can be read stays, the rest is named with its reason."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medvlp.core.files import write_list
from medvlp.data.cache import Cache
from medvlp.data.facts import ImageFacts
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, Workers
from medvlp.data.picture_files import stack_files
from medvlp.data.quarantine import NothingReadableError, Quarantined
from medvlp.data.survey import Survey, survey_images

# What a layout that joins reports and images could not join, or joined and cannot vouch for.
_UNJOINED = (
    "images_without_report",
    "reports_without_image",
    "images_of_another_patient_than_the_report",
    "reports_at_several_patients",
    "reports_at_several_studies",
)


@dataclass(frozen=True, eq=False)
class ReadableCohort:
    """A cohort whose files were read.

    Attributes:
        manifest: records all of whose files can be read, each with ``sha256`` of its image.
        survey: facts of all files, by path.
        places: field -> place in `survey` of each record's file, of a stack the first; -1 where it has none.
    """

    manifest: Manifest
    quarantined: tuple[Quarantined, ...]
    survey: Survey
    places: dict[str, np.ndarray]

    def facts(self, index: int) -> tuple[ImageFacts, ...]:
        """Facts of a record's files, pictures included, in the order of the fields."""
        found = (self.survey[int(places[index])] for places in self.places.values() if places[index] >= 0)
        return tuple(facts for facts in found if facts is not None)


def look_through(manifest: Manifest, *, workers: Workers = 0, progress: Progress | None = None) -> ReadableCohort:
    """Read every file that a manifest names, and part the readable records from the others.

    A file that several records name is read once. Nothing is put in the place of an unreadable file: its records are
    left out and listed, in ``meta["quarantined"]`` too.

    Args:
        manifest: of an index.

    Raises:
        NothingReadableError: if no record can be read.

    Example:
        >>> m = Manifest.of({"id": ["a"], "text": ["Clear lungs."]}, root=Path("."))
        >>> len(look_through(m).manifest)
        1
    """
    fields = manifest.file_columns
    paths: dict[Path, int] = {}
    rows = range(len(manifest))
    named: dict[str, list[list[int]]] = {}
    for field in fields:
        found = (manifest.paths(row, field) for row in rows)
        files = (stack_files(each) or each for each in found) if field.startswith("stack") else found
        named[field] = [[paths.setdefault(path, len(paths)) for path in each] for each in files]
    survey = survey_images(list(paths), cache=Cache.default(), workers=workers, progress=progress)
    facts = [each for each in survey.brief() if each is not None]
    lost = {
        index: at
        for field in reversed(fields)
        for index, own in enumerate(named[field])
        for at in reversed(own)
        if facts[at].reason
    }
    ids = manifest.arrow("id")
    root, files = manifest.root.resolve(), list(paths)
    quarantined = tuple(
        Quarantined(ids[row].as_py(), facts[at].reason, facts[at].hint, os.path.relpath(files[at], root))
        for row, at in sorted(lost.items())
    )
    if len(quarantined) == len(manifest):
        raise NothingReadableError(
            quarantined, "check the root folder, or index without looking at the files (--no-survey)"
        )
    keep = np.array([row not in lost for row in rows])
    rest = manifest.take(keep)
    places = {}
    for field in fields:
        own = [named[field][row] for row in np.flatnonzero(keep)]
        places[field] = np.array([each[0] if each else -1 for each in own], np.int64)
        name = "sha256" if field == fields[0] else f"sha256_{field.replace('.', '_')}"
        rest = rest.with_column(name, [_sha(facts, each) for each in own])
    rest.meta["quarantined"] = [asdict(entry) for entry in quarantined]
    return ReadableCohort(rest, quarantined, survey, places)


def _sha(facts: Sequence[ImageFacts], files: Sequence[int]) -> str | None:
    """Return the hash of a file, of several that of their hashes."""
    found = [facts[at].sha256 for at in files]
    return hashlib.sha256("".join(found).encode()).hexdigest() if len(found) > 1 else "".join(found) or None


def left_out(manifest: Manifest) -> dict[str, list[object]]:
    """Return reason -> files, or lines of the table.

    Example:
        >>> columns = {"id": ["a"], "image": ["a.png"]}
        >>> left_out(Manifest.of(columns, root=Path("."), meta={"skipped": {"no_picture": ["notes.txt"]}}))
        {'no_picture': ['notes.txt']}
    """
    skipped = manifest.meta.get("skipped")
    listed = dict(skipped) if isinstance(skipped, Mapping) else {}
    listed |= {name: manifest.meta[name] for name in _UNJOINED if name in manifest.meta}
    return {str(reason): some for reason, some in listed.items() if isinstance(some, list) and some}


def left_out_words(manifest: Manifest) -> str:
    """Count what was left out, by its reason; empty where nothing was.

    Example:
        >>> meta = {"skipped": {"no_picture": ["a.txt", "b.txt"]}, "reports_without_image": [7]}
        >>> left_out_words(Manifest.of({"id": ["a"], "image": ["a.png"]}, root=Path("."), meta=meta))
        '3 files or rows listed apart (2 no picture, 1 reports without image)'
    """
    counts = {reason: len(some) for reason, some in left_out(manifest).items()}
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items())
    return f"{sum(counts.values())} files or rows listed apart ({reasons})" if counts else ""


def write_left_out(path: Path, found: Mapping[str, list[object]]) -> None:
    """Write what was left out as CSV (reason, file_or_line); see `write_list`."""
    write_list(path, ["reason", "file_or_line"], ([reason, each] for reason, some in found.items() for each in some))
