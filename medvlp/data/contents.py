"""SHA-256 of files, remembered: a file is hashed once and then recognised by path, size and modification time.

What is remembered names no patient: the path is stored as its own hash. A file that changes within its size *and* its
modification time (in nanoseconds) would not be noticed; that is the price of not reading an archive at every start.
A folder (of a volume's slices) is known by the names and contents of the files in it, its subfolders left out.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path

from medvlp.core.files import sha256_of
from medvlp.data.cache import Cache, full_disk_refused, open_database
from medvlp.data.parallel import Progress, chunked, notify, run_chunks
from medvlp.data.shard_index import indexed_hashes
from medvlp.io.errors import UnreadableImage
from medvlp.io.member import size_and_time
from medvlp.io.sniff import open_regular

_TABLE = "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, sha TEXT) WITHOUT ROWID"
_CHUNK = 64


def content_hashes(
    paths: Sequence[Path | None], *, cache: Cache, workers: int = 0, progress: Progress | None = None
) -> list[str]:
    """Return the SHA-256 of each file, in hex; empty where there is no path or no readable file.

    Those of files in shards are read from the shards' index, where there is one.
    """
    out = indexed_hashes(paths)
    if all(sha or path is None for sha, path in zip(out, paths, strict=True)):
        return out
    with closing(HashMemory(cache)) as known:
        stamps = [None if sha else stamp_of(path) for path, sha in zip(paths, out, strict=True)]
        out = [known.get(stamp) if stamp else sha for stamp, sha in zip(stamps, out, strict=True)]
        todo = [i for i, (stamp, sha) in enumerate(zip(stamps, out, strict=True)) if stamp and not sha]
        chunks = chunked(todo, _CHUNK)
        done = 0
        for chunk, hashes in zip(chunks, run_chunks(_hash, list(paths), chunks, workers=workers), strict=True):
            for index, sha in zip(chunk, hashes, strict=True):
                out[index] = sha
            known.put([(stamps[i], out[i]) for i in chunk])
            done += len(chunk)
            notify(progress, done, len(todo))
        return out


#: What a file is known by: hash of its path, size in bytes, time of its last change in nanoseconds.
Stamp = tuple[str, int, int]


def stamp_of(path: Path | None) -> Stamp | None:
    """Return what a file is known by, None where there is none."""
    if path is None:
        return None
    try:
        facts = size_and_time(path)
    except OSError:
        return None
    name = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()
    return name, *(_listing(path) if path.is_dir() else facts)


def stamps_anywhere(paths: Iterable[Path | None]) -> list[tuple[int, int] | None]:
    """Return size and time of each file, None of one that is not there: the same when a folder was moved."""
    return [None if stamp is None else stamp[1:] for stamp in map(stamp_of, paths)]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _listing(folder: Path) -> tuple[int, int]:
    """Size of a folder's files, and a number in place of their times."""
    digest, size = hashlib.blake2b(digest_size=8), 0
    for path in _files(folder):
        stat = path.stat()
        digest.update(f"{path.name}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}\x1e".encode("utf-8", "surrogateescape"))
        size += stat.st_size
    return size, int.from_bytes(digest.digest(), "little") >> 1


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        UnreadableImage: it cannot be opened.
    """
    if not path.is_dir():
        with open_regular(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # pyrefly: ignore[no-matching-overload]
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file.name}\x1f{sha256_of(file)}\x1e".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _hash(paths: list[Path | None], chunk: Sequence[int]) -> list[str]:
    out = []
    for index in chunk:
        path = paths[index]
        try:
            out.append(content_hash(path) if path is not None else "")
        except (OSError, UnreadableImage):
            out.append("")  # the prefix reads it next, and says why it cannot
    return out


class HashMemory:
    """Hashes that were computed before, in the cache."""

    def __init__(self, cache: Cache) -> None:
        self._folder = cache.folder
        self._database = open_database(cache.files / "contents.sqlite", _TABLE)
        self._new: list[tuple[str, int, int, str]] = []
        self._written = time.monotonic()

    def get(self, stamp: Stamp) -> str:
        """SHA-256 of a file, empty where it is not known."""
        row = self._database.execute(
            "SELECT sha FROM files WHERE path = ? AND size = ? AND mtime = ?", stamp
        ).fetchone()
        return str(row[0]) if row else ""

    def put(self, rows: Sequence[tuple[Stamp | None, str]]) -> None:
        """Remember hashes, on disk within about a second; rows without a stamp or a hash are passed over."""
        self._new += [(*stamp, sha) for stamp, sha in rows if stamp and sha]
        if time.monotonic() - self._written >= 1:
            self._write()

    def close(self) -> None:
        """Write what is new, and close the database."""
        with closing(self._database):
            self._write()

    def _write(self) -> None:
        with full_disk_refused(self._folder), self._database:
            self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", self._new)
        self._new, self._written = [], time.monotonic()


# What is kept of pixels is kept under the versions of the libraries that can change a decoded one.
_DECODERS = ("numpy", "torch", "scipy", "pillow", "pydicom", "pylibjpeg-openjpeg", "pyjpegls", "imagecodecs")
_DECODERS += ("nibabel", "monai")  # of volumes


def decoder_versions() -> dict[str, str]:
    """Return the version of each, empty where it is not installed."""
    found = {}
    for name in _DECODERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found
