"""Files in plain tar shards, read where they lie: ``shard.tar/OFFSET+SIZE/NAME`` is SIZE bytes from byte OFFSET on.

Such a name is a path below a file, where no other file can be, and says all that reading needs: nothing is looked up,
listed or unpacked, and any sample of a million is one read. Nothing in it is believed: the header before the bytes must
give the same name and size, and the shard must be as long. In the PAX form that header may have "?" for each letter
beyond ASCII. A shard may lie behind a URL that fsspec knows (``s3://``, ``gs://``, ``https://``); as a path such a URL
has lost a slash, which is put back here.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from medvlp.core.errors import UserError
from medvlp.io.errors import UnreadableImage

BLOCK = 512
"""Bytes of a tar's header; a member's bytes are padded to a multiple of it."""
_MEMBER = re.compile(r"(.+\.tar)/(\d{1,15})\+(\d{1,15})/([^/\0]+)", re.DOTALL)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
_CUT_NAME = 100  # characters of a header's name; longer ones stand in a header before it


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar shard: where its bytes begin, how many they are, and the last part of its name."""

    shard: str
    offset: int
    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.shard}/{self.offset}+{self.size}/{self.name}"


def member_of(path: str | os.PathLike[str]) -> TarMember | None:
    """Return what a path says of a member of a shard; None where it is another path.

    Example:
        >>> member_of("cohort/shard-000003.tar/1536+20480/000000000042.dcm")
        TarMember(shard='cohort/shard-000003.tar', offset=1536, size=20480, name='000000000042.dcm')
        >>> member_of("cohort/42.dcm")
    """
    found = _MEMBER.fullmatch(os.fspath(path))
    if found is None or int(found[2]) < BLOCK or found[4] in (".", ".."):
        return None
    return TarMember(found[1], int(found[2]), int(found[3]), found[4])


def url_of(path: str | os.PathLike[str]) -> str | None:
    """Return the URL that a path stands for, that of a file without a host; None where it is a path of this machine.

    Example:
        >>> url_of(Path("s3://bucket/data")), url_of(Path("file:///data")), url_of("/data"), url_of("C:/data")
        ('s3://bucket/data', 'file:///data', None, None)
    """
    name = os.fspath(path)
    found = _URL.match(name)
    return f"{found[1]}:{'///' if found[1] == 'file' else '//'}{name[found.end() :]}" if found else None


def below(root: Path, name: str) -> Path | None:
    """Return the real path of a file below a real root; None where it leads out of it.

    Raises:
        ValueError, RuntimeError, OSError: for what is no path (NUL, links in a circle).
    """
    if url_of(root) is not None:
        return None if ".." in Path(name).parts or Path(name).is_absolute() else root / name
    member = member_of(name)
    if member is None:
        path = root / name
        steps = accumulate(path.parts[len(root.parts) :], os.path.join, initial=str(root))
        if os.path.isabs(name) or ".." in name or "\0" in name or any(map(os.path.islink, steps)):  # noqa: PTH117
            path = path.resolve()  # else it is real as it stands
            if any(map(os.path.islink, (path, *path.parents))):  # Python 3.13 leaves a circle as it is
                raise OSError(errno.ELOOP, "links in a circle")
        return path if path.is_relative_to(root) else None
    shard = _real(os.path.join(root, member.shard))  # noqa: PTH118 (three times as quick)
    return Path(shard, f"{member.offset}+{member.size}", member.name) if shard.is_relative_to(root) else None


@lru_cache(maxsize=1 << 16)
def _real(shard: str) -> Path:
    return Path(shard).resolve()


def size_and_time(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return bytes of a file and when it last changed, in nanoseconds; of a member its bytes and its shard's time.

    What lies behind a URL is taken not to change: its time is 0.
    """
    try:
        facts = Path(path).stat()
        return facts.st_size, facts.st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        member = member_of(path)
        if member is None:
            raise
        return member.size, 0 if url_of(path) else Path(member.shard).stat().st_mtime_ns


def open_member(member: TarMember) -> BinaryIO:
    """Open a member for reading; of one behind a URL the bytes are fetched.

    Raises:
        UnreadableImage: ``truncated``, where the shard ends before; ``corrupt``, where another file lies there.
        OSError: of the shard.
    """
    start, stop = member.offset - BLOCK, member.offset + member.size
    url = url_of(member.shard)
    if url is not None:
        data = fetch(url, start, stop)
        _check(data[:BLOCK], member, len(data) - BLOCK)
        return io.BytesIO(data[BLOCK:])
    if not stat.S_ISREG(Path(member.shard).stat().st_mode):
        raise UnreadableImage("not_regular", detail="its shard is not a regular file")
    file = open(member.shard, "rb", buffering=0)  # noqa: SIM115 (closed by the part of it that is returned)
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(start)
        _check(file.read(BLOCK), member, size - member.offset)
        return io.BufferedReader(_Part(file, member.offset, member.size))
    except BaseException:
        file.close()
        raise


def fetch(url: str, start: int | None = None, stop: int | None = None) -> bytes:
    """Return bytes start..stop-1 of what lies behind a URL, or all; fewer where it ends before.

    Raises:
        UserError: fsspec, or what it needs for such a URL, is not installed; or what serves it sends no parts of files.
        OSError: it is not there, or cannot be reached.
    """
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{url.partition('://')[0]}:// cannot be read ({reason}): pip install 'openmedvlp[scale]', and what fsspec "
            "needs for such an address."
        ) from None
    try:
        data = bytes(files.cat_file(path, start=start, end=stop))
    except OSError:
        raise
    except Exception as error:  # every store has errors of its own
        raise OSError(errno.EIO, f"the store refused ({type(error).__name__})") from error
    if start is not None and stop is not None and len(data) > stop - start:
        raise UserError(f"{url} comes whole where a part is asked for: its server must send ranges (HTTP 206).")
    return data


def _check(block: bytes, member: TarMember, there: int) -> None:
    if there < member.size:
        raise UnreadableImage("truncated", detail="its shard ends before it does")
    try:
        head = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        head = None
    plain = member.name.encode("ascii", "replace").decode("ascii")  # Python's PAX form: the name is in a header before
    named = head is not None and head.name.rpartition("/")[2] in (member.name, plain, "")
    if head is None or not head.isreg() or head.size != member.size or not (named or len(head.name) >= _CUT_NAME):
        raise UnreadableImage(
            "corrupt", detail="no file of this name and size begins there in its shard",
            hint="use the manifest that was written with the shards, or index them again",
        )  # fmt: skip


class _Part(io.RawIOBase):
    """A part of an open file, as a file of its own; closing it closes the file."""

    def __init__(self, file: io.FileIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyrefly: ignore[bad-override]
        room = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(room)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        place = (0, self._at, self._size)[whence] + offset
        if place < 0:
            raise OSError(errno.EINVAL, "before the file's start")
        self._at = place
        return place

    def close(self) -> None:
        self._file.close()
        super().close()


def tar_members(path: Path) -> Iterator[tuple[str, TarMember, Callable[[], bytes]]]:
    """Go once over the headers of a shard: whole name, member, and what reads its bytes before the next is asked for.

    Raises:
        UnreadableImage: ``archive`` where it is no plain tar, ``unsafe_archive`` for a link, a device, a sparse file or
            a name that leads out, ``truncated``, ``corrupt``.
    """
    from medvlp.io.archive import CheckedEntry, safe_name
    from medvlp.io.errors import refusing
    from medvlp.io.sniff import open_regular

    with open_regular(path) as stream, refusing(path):
        if stream.read(BLOCK)[257:262] != b"ustar":
            raise UnreadableImage(
                "archive", detail="it is no plain tar file, and of a packed one no part can be read",
                hint="unpack it (gunzip) to a .tar",
            )  # fmt: skip
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r:", tarinfo=CheckedEntry) as archive:
                for entry in archive:
                    name = safe_name(entry.name)
                    if entry.isdir():
                        continue
                    if not entry.isreg() or entry.issparse():
                        raise UnreadableImage("unsafe_archive", detail="one of its members is a link or a device")
                    member = TarMember(str(path), entry.offset_data, entry.size, name.rpartition("/")[2])
                    yield name, member, lambda entry=entry: _read(stream, entry)
        except tarfile.TarError as error:
            raise UnreadableImage("truncated", detail=f"the shard is cut off ({type(error).__name__})") from None


_MOST_WORDS = 64 << 20


def _read(stream: BinaryIO, entry: tarfile.TarInfo) -> bytes:
    if entry.size > _MOST_WORDS:
        raise UnreadableImage("too_large", detail=f"a text in it has {entry.size} bytes, more than {_MOST_WORDS}")
    stream.seek(entry.offset_data)
    return stream.read(entry.size)
