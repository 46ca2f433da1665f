"""A cohort after every file of it was read once: what can be read stays, the rest is named with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medvlp.core.errors import DataError
from medvlp.data._columns import PATH_KINDS
from medvlp.data.cache import Cache
from medvlp.data.facts import ImageFacts
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, Workers
from medvlp.data.quarantine import Quarantined
from medvlp.data.survey import Survey, survey_images


@dataclass(frozen=True, eq=False)
class ReadableCohort:
    """A cohort whose files were read.

    Attributes:
        manifest: records all of whose files can be read, each with ``sha256`` of its image.
        survey: facts of all files, by path.
        places: field -> place in `survey` of each record's file, -1 where it has none.
    """

    manifest: Manifest
    quarantined: tuple[Quarantined, ...]
    survey: Survey
    places: dict[str, np.ndarray]

    def facts(self, index: int) -> tuple[ImageFacts, ...]:
        """Facts of a record's files, pictures included, in the order of the fields."""
        found = (self.survey[int(places[index])] for places in self.places.values() if places[index] >= 0)
        return tuple(facts for facts in found if facts is not None)


def look_through(
    manifest: Manifest, *, cache: Cache, workers: Workers = 0, progress: Progress | None = None
) -> ReadableCohort:
    """Read every file that a manifest names, and part the readable records from the others.

    A file that several records name is read once. Nothing is put in the place of an unreadable file: its records are
    left out and listed, in ``meta["quarantined"]`` too.

    Args:
        manifest: of an index.
        cache: where facts are remembered.

    Raises:
        DataError: if no record can be read.

    Example:
        >>> import tempfile
        >>> m = Manifest.of({"id": ["a"], "text": ["Clear lungs."]}, root=Path("."))
        >>> len(look_through(m, cache=Cache(Path(tempfile.mkdtemp()))).manifest)
        1
    """
    fields = tuple(name for kind in PATH_KINDS for name in manifest.names_of(kind))
    paths: dict[Path, int] = {}
    places = {field: np.full(len(manifest), -1, np.int64) for field in fields}
    for field in fields:
        for index in range(len(manifest)):
            path = manifest.path(index, field)
            if path is not None:
                places[field][index] = paths.setdefault(path, len(paths))
    survey = survey_images(list(paths), cache=cache, workers=workers, progress=progress)
    facts = list(survey.brief())
    bad = np.array([each is not None and bool(each.reason) for each in facts] + [False])  # the last for "no file"
    lost = {
        index: facts[int(column[index])]
        for column in reversed(places.values())
        for index in np.flatnonzero(bad[column])
    }
    ids = manifest.arrow("id")
    quarantined = tuple(
        Quarantined(ids[int(index)].as_py(), each.reason, each.hint)
        for index, each in sorted(lost.items())
        if each is not None
    )
    if len(quarantined) == len(manifest):
        _refuse_all(quarantined)
    keep = np.array([index not in lost for index in range(len(manifest))])
    rest = manifest.take(keep)
    places = {field: column[keep] for field, column in places.items()}
    for field, column in places.items():
        name = "sha256" if field == fields[0] else f"sha256_{field.replace('.', '_')}"
        rest = rest.with_column(name, [_sha(facts, int(place)) for place in column])
    rest.meta["quarantined"] = [asdict(entry) for entry in quarantined]
    return ReadableCohort(rest, quarantined, survey, places)


def _sha(facts: Sequence[ImageFacts | None], place: int) -> str | None:
    found = facts[place] if place >= 0 else None
    return found.sha256 or None if found is not None else None


def _refuse_all(entries: Sequence[Quarantined]) -> None:
    reasons = Counter(entry.reason for entry in entries).most_common()
    why = ", ".join(f"{count} {reason}" for reason, count in reasons)
    first = entries[0]
    raise DataError(
        f"None of the {len(entries)} records can be read ({why}); the first is {first.id!r}: {first.hint}; check the "
        "root folder, or index without looking at the files (--no-survey)."
    )
