"""Look at every image of a cohort once: facts of each file, remembered, so that a killed survey goes on where it was.

Facts lie in one SQLite file of the cache, a row a path, under the path's hash, size and modification time (as
`medvlp.data.contents`) and under the version of the code and decoders that read it: what changed is read again. Small
pictures stay in that file and are fetched one by one, so that 10^5 of them (1.3 GB) are never in memory.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, fields
from functools import cache as remembered
from pathlib import Path
from typing import Any, overload

from medvlp.core.errors import DataError
from medvlp.core.provenance import code_hash, hash_of
from medvlp.data.cache import Cache, full_disk_refused, open_database
from medvlp.data.contents import HashMemory, Stamp, decoder_versions, stamp_of
from medvlp.data.facts import ImageFacts, read_facts
from medvlp.data.parallel import Progress, Workers, chunked, notify, run_chunks

# The picture last: SQLite then reaches the other columns without reading it.
_TABLE = """CREATE TABLE IF NOT EXISTS facts (
    path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, version TEXT, sha256 TEXT, height INTEGER, width INTEGER,
    depth INTEGER, kind TEXT, pixels TEXT, reason TEXT, hint TEXT, thumb_height INTEGER, thumb_width INTEGER,
    thumbnail BLOB)"""
# The fields of `ImageFacts` in their order.
_BRIEF = "sha256, height, width, depth, kind, pixels, reason, hint"
_WHOLE = f"{_BRIEF}, thumb_height, thumb_width, thumbnail"
_CHUNK = 16
# They tell of the machine or the moment, not of the file: tried again at every survey.
_PASSING = ("not_found", "no_permission", "io_error", "timeout", "decoder_died", "too_large", "changed")


def survey_images(
    paths: Sequence[Path | None], *, cache: Cache, workers: Workers = 0, progress: Progress | None = None
) -> Survey:
    """Read every image that is not known yet, and return the facts of all.

    Args:
        paths: resolved paths of images, volumes or folders of slices; None where a record has none.

    Returns:
        a sequence as long as `paths`: facts (of an unreadable file with a reason), or None where there is no path.

    Example:
        >>> import tempfile
        >>> survey_images([None, Path("/no/such.png")], cache=Cache(Path(tempfile.mkdtemp())))[1].reason
        'not_found'
    """
    version = _version()
    survey = Survey([None if path is None else _known_by(path) for path in paths], cache, version)
    todo = survey.unknown([index for index, path in enumerate(paths) if path is not None])
    total = sum(path is not None for path in paths)
    done = total - len(todo)
    notify(progress, done, total)
    if not todo:
        return survey
    with closing(HashMemory(cache)) as hashes:  # a survey spares training the hashing of the same files
        chunks = chunked(todo, _CHUNK)
        for chunk, found in zip(chunks, run_chunks(_read, list(paths), chunks, workers=workers), strict=True):
            survey.note(chunk, found)
            hashes.put([(survey.stamps[i], facts.sha256) for i, (_, facts) in zip(chunk, found, strict=True)])
            done += len(chunk)
            notify(progress, done, total)
    return survey


def known_survey(paths: Sequence[Path | None], *, cache: Cache) -> Survey | None:
    """Return the facts of all if every file was looked at before, None if one would have to be read."""
    survey = Survey([None if path is None else _known_by(path) for path in paths], cache, _version())
    there = [index for index, path in enumerate(paths) if path is not None]
    return None if survey.unknown(there) else survey


class Survey(Sequence[ImageFacts | None]):
    """Facts in the order of the paths asked for; each is fetched from the cache when it is looked at.

    Args:
        stamps: what each file is known by; None where there is no path, ``("", 0, 0)`` where there is no file.
        version: of the code that reads.
    """

    def __init__(self, stamps: list[Stamp | None], cache: Cache, version: str) -> None:
        self.stamps = stamps
        self._cache = cache
        self._version = version
        self._passing: dict[int, ImageFacts] = {}
        self._open: tuple[int, sqlite3.Connection] | None = None

    def __len__(self) -> int:
        return len(self.stamps)

    @overload
    def __getitem__(self, index: int) -> ImageFacts | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[ImageFacts | None]: ...
    def __getitem__(self, index: int | slice) -> ImageFacts | list[ImageFacts | None] | None:
        if isinstance(index, slice):
            return [self._get(at, _WHOLE) for at in range(*index.indices(len(self)))]
        return self._get(range(len(self))[index], _WHOLE)

    def brief(self) -> Iterator[ImageFacts | None]:
        """Give all facts in order without their pictures, which makes this quick."""
        return (self._get(at, _BRIEF) for at in range(len(self)))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": None}

    # ----------------------------------------------------------------------------------------------------------------

    def unknown(self, indices: Sequence[int]) -> list[int]:
        """Those of some files that must be read."""
        return [at for at in indices if self._row(at, "1") is None]

    def note(self, indices: Sequence[int], found: Sequence[tuple[Stamp | None, ImageFacts]]) -> None:
        """Remember what was read: facts of the file in the cache, of the moment in this object."""
        rows = []
        for at, (stamp, facts) in zip(indices, found, strict=True):
            if stamp is None or facts.reason in _PASSING:
                self._passing[at] = facts
                continue
            self.stamps[at] = stamp
            rows.append((*stamp, self._version, *astuple(facts)))
        database = self._database()
        with full_disk_refused(self._cache.folder), database:
            marks = ", ".join("?" * (4 + len(fields(ImageFacts))))
            database.executemany(
                f"INSERT OR REPLACE INTO facts (path, size, mtime, version, {_WHOLE}) VALUES ({marks})", rows
            )

    def _get(self, at: int, columns: str) -> ImageFacts | None:
        if self.stamps[at] is None:
            return None
        if at in self._passing:
            return self._passing[at]
        row = self._row(at, columns)
        if row is None:
            raise DataError(
                f"The cache {self._cache.folder} lost what was known of an image: it was cleared meanwhile, or another "
                "version of this program reads the same images; start again."
            )
        return ImageFacts(*row)

    def _row(self, at: int, columns: str) -> tuple[Any, ...] | None:
        stamp = self.stamps[at]
        if stamp is None:
            return None
        ask = f"SELECT {columns} FROM facts WHERE path = ? AND size = ? AND mtime = ? AND version = ?"
        return self._database().execute(ask, (*stamp, self._version)).fetchone()

    def _database(self) -> sqlite3.Connection:
        # A connection must not cross a fork.
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), open_database(self._cache.files / "survey.sqlite", _TABLE))
        return self._open[1]


@remembered
def _version() -> str:
    own = hashlib.sha256(Path(__file__).with_name("facts.py").read_bytes()).hexdigest()
    return hash_of([own, code_hash("io"), decoder_versions()])


def _read(paths: list[Path | None], chunk: Sequence[int]) -> list[tuple[Stamp | None, ImageFacts]]:
    return [_read_one(path) for path in (paths[at] for at in chunk) if path is not None]


def _read_one(path: Path) -> tuple[Stamp | None, ImageFacts]:
    before = _known_by(path)
    facts = read_facts(path)
    if _known_by(path) != before:
        return None, ImageFacts("", reason="changed", hint="the file changed while it was read; index again")
    return before, facts


def _known_by(path: Path) -> Stamp:
    return stamp_of(path) or ("", 0, 0)
