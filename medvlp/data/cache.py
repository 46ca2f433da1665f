"""The folder in which prepared pixels are kept between runs, and the rules for it.

It holds patients' pixels: folders are 0700 and files 0600, a size cap evicts what was used longest ago, `cache_info`
shows what is there and `clear_cache` removes it. It lies in ``$MEDVLP_CACHE``, else in ``~/.cache/medvlp``, and may
hold ``$MEDVLP_CACHE_GIB``, else 50 GiB; nothing in it is needed, everything can be made again.

One *pool* (a folder) belongs to one prefix of views, its code and its decoders (`medvlp.data.pool`); every manifest
that is prepared in this way shares it, record by record.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import FULL
from medvlp.core.processes import open_locked

_GIB = 1 << 30


def _cap() -> int:
    """Return the bytes that the user allows."""
    named = os.environ.get("MEDVLP_CACHE_GIB") or "50"
    try:
        return int(float(named) * _GIB)
    except (ValueError, OverflowError):
        raise UserError(f"MEDVLP_CACHE_GIB is {named!r}: set it to how many GiB the cache may hold.") from None


class CacheFullError(DataError):
    """More is to be prepared than the cache may hold."""


@dataclass(frozen=True)
class Cache:
    """Where prepared data are kept.

    Attributes:
        folder: made with mode 0700 if absent.
        cap: largest total size in bytes.

    Example:
        >>> Cache.default().cap // 2**30
        50
    """

    folder: Path
    cap: int = field(default_factory=_cap)

    @classmethod
    def default(cls) -> Cache:
        """``$MEDVLP_CACHE``, else ``~/.cache/medvlp``."""
        named = os.environ.get("MEDVLP_CACHE", "")
        return cls(Path(named) if named else Path.home() / ".cache" / "medvlp")

    @property
    def pools(self) -> Path:
        """Folder of the pools."""
        return private_folder(private_folder(self.folder) / "prepared")

    @property
    def files(self) -> Path:
        """Folder of what is known of the source files."""
        return private_folder(private_folder(self.folder) / "contents")


@dataclass(frozen=True)
class PoolInfo:
    """One pool: its name (a hash), bytes on disk, number of records, when it was last used (Unix time), and whether a
    process holds it now.
    """

    name: str
    bytes: int
    records: int
    used: float
    held: bool


@dataclass(frozen=True)
class CacheInfo:
    """Summary of the cache: its pools and their sizes."""

    folder: Path
    bytes: int
    cap: int
    pools: tuple[PoolInfo, ...]


def cache_info(cache: Cache | None = None) -> CacheInfo:
    """Return what is in the cache, pools used longest ago first.

    Example:
        >>> import tempfile
        >>> cache_info(Cache(Path(tempfile.mkdtemp()))).pools
        ()
    """
    cache = cache or Cache.default()
    pools = sorted((_pool_info(path) for path in cache.pools.iterdir() if path.is_dir()), key=lambda pool: pool.used)
    total = sum(pool.bytes for pool in pools) + _bytes_in(cache.files)
    return CacheInfo(cache.folder, total, cache.cap, tuple(pools))


def clear_cache(cache: Cache | None = None) -> int:
    """Remove every pool that no process holds, and what is known of source files; return the bytes freed."""
    cache = cache or Cache.default()
    freed = sum(_remove(cache.pools / pool.name, pool) for pool in cache_info(cache).pools)
    freed += _bytes_in(cache.files)
    shutil.rmtree(cache.files)
    return freed


def make_room(cache: Cache, *, pool: str, needed: int) -> None:
    """Evict other pools, used longest ago first, until `needed` more bytes of `pool` fit under the cap."""
    info = cache_info(cache)
    total = info.bytes
    for other in info.pools:
        if total + needed <= cache.cap:
            return
        if other.name != pool:
            total -= _remove(cache.pools / other.name, other)
    if total + needed > cache.cap:
        raise CacheFullError(
            f"The prepared images need {(total + needed) / _GIB:.2f} GiB and the cache {cache.folder} may hold "
            f"{cache.cap / _GIB:.2f} GiB: set MEDVLP_CACHE_GIB to more, or choose a smaller image size."
        )


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can look into, or close one that others could."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if stat.S_IMODE(path.stat().st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise DataError(
            f"The cache folder {path} cannot be made private ({error.strerror}): set MEDVLP_CACHE to a folder of yours."
        ) from None
    return path


def open_database(path: Path, table: str) -> sqlite3.Connection:
    """Open a small database with mode 0600; several processes may."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    os.close(descriptor)
    try:
        database = sqlite3.connect(path, timeout=120)
        database.execute(table)
    except sqlite3.OperationalError as error:  # of the disk: without locks, room or rights
        mended = "start again, or set MEDVLP_CACHE to a disk with locks and room"
        raise UserError(f"{path} cannot be used ({error}): {mended}.") from None
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} is damaged ({error}): remove it, it will be made again.") from None
    return database


@contextmanager
def full_disk_refused(folder: Path) -> Iterator[None]:
    """Turn a full disk into a sentence."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if error.errno not in FULL if isinstance(error, OSError) else "full" not in str(error):
            raise
        raise UserError(
            f"The disk of the cache {folder} is full: make room, or set MEDVLP_CACHE to a folder elsewhere; what was "
            "prepared is kept."
        ) from error


@contextmanager
def locked(path: Path, *, mode: int = 0o600) -> Iterator[None]:
    """Hold a lock file alone; other processes wait."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def hold(path: Path) -> int:
    """Share a lock for as long as the returned descriptor is open: says that a pool is in use; its folder is made."""
    while True:
        private_folder(path.parent)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)  # somebody evicted the pool meanwhile


def _is_held(path: Path) -> bool:
    with suppress(UserError):
        if path.exists():
            os.close(open_locked(path, busy="held"))
        return False
    return True


def _pool_info(path: Path) -> PoolInfo:
    index = path / "index.sqlite"
    records, used = 0, path.stat().st_mtime
    if index.exists():
        database = sqlite3.connect(index, timeout=120)
        try:
            records = int(database.execute("SELECT COUNT(*) FROM rows").fetchone()[0])
        except sqlite3.DatabaseError:
            records = 0  # half made or damaged: shown as empty, and removable
        finally:
            database.close()
    mark = path / "used"
    used = mark.stat().st_mtime if mark.exists() else used
    return PoolInfo(path.name, _bytes_in(path), records, used, _is_held(path / "held"))


def _bytes_in(path: Path) -> int:
    # Blocks on disk, not lengths: rows of unreadable images are holes.
    return sum(512 * p.lstat().st_blocks for p in path.rglob("*") if p.is_file())


def _remove(path: Path, pool: PoolInfo) -> int:
    """Remove a pool, unless somebody holds it by now, and return the bytes freed."""
    if pool.held or not path.is_dir():
        return 0
    try:
        descriptor = open_locked(path / "held", busy="held")
    except UserError:
        return 0
    shutil.rmtree(path, ignore_errors=True)
    os.close(descriptor)
    return pool.bytes
