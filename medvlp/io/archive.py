"""Zip and tar archives of images, each member checked before a byte of it is unpacked.

Archive libraries follow what the archive says: `..` and absolute names lead out of the folder, a link can be written
through, a small file can hold terabytes. Here a member's name only decides whether the archive is refused and in which
folders the member lies; sizes are counted while unpacking, not believed.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

import numpy as np

from medvlp.core.passing import passing_folder, remove_passing
from medvlp.io.errors import UnreadableImage, refusing
from medvlp.io.member import size_and_time
from medvlp.io.sniff import open_regular

_MAX_MEMBERS = 100_000
_MAX_BYTES = 16 << 30  # of all members that are unpacked
_MAX_RATIO = 200  # of all members to the archive; empty slices of a CT deflate 100 times, deflate's own limit is 1032
_FREE_BYTES = 64 << 20  # unpacked whatever the ratio
_FREE_ARRAYS, _MAX_ARRAYS_RATIO = 2 << 30, 100  # pictures deflate 2 to 10 times, beyond both it is a bomb
_MAX_IN_MEMORY = 1 << 30  # bytes of one member that is read without a folder
_CHUNK = 1 << 20
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".7z", ".rar", ".xz", ".bz2", ".zst", ".tar.gz")
_HEAD = 512
_OF_MACS = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$)")  # facts about the files, which macOS packs beside them
_NO_ARCHIVE = "the archive cannot be unpacked ({})"
_NO_FILE = "one of its members is a link, a device or sparse"
_MAX_DIRECTORY = 32 << 20  # bytes of a zip's directory: zipfile holds all of it, ten times as large, before we see it
_MAX_NAMES = 1 << 20  # bytes of a tar's header of names and attributes, which tarfile reads whole
_NAMES = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file in an archive: where it lies, with "/" between folders, and the bytes that the archive claims for it."""

    name: str
    size: int


_Opener = Callable[[], AbstractContextManager[IO[bytes]]]


@contextmanager
def unpacked(path: str | os.PathLike[str]) -> Generator[Path]:
    """Unpack a zip, tar or tar.gz into a private folder that is removed afterwards; all of it is checked before.

    Only this user may look into the folder, its files are plain and not executable; a refusal leaves nothing behind.

    Raises:
        UnreadableImage: ``unsafe_archive`` (a name that leads out, a link, a device, an archive in the archive, a name
            that stands twice), ``too_large``, ``archive`` (a kind that is not opened), ``corrupt`` or ``truncated``.

    Example:
        >>> import tempfile, zipfile
        >>> folder = tempfile.mkdtemp()
        >>> with zipfile.ZipFile(Path(folder, "a.zip"), "w") as archive:
        ...     archive.writestr("series/1.dcm", b"12")
        >>> with unpacked(Path(folder, "a.zip")) as inside:
        ...     [file.read_bytes() for file in inside.glob("series/*")]
        [b'12']
    """
    folder = passing_folder("archive")
    try:
        with opened(path) as found:
            budget = Budget(size_and_time(path)[0])
            for member, opener in found:
                target = Path(folder, *PurePosixPath(member.name).parts)
                try:
                    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    file = open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")  # noqa: SIM115
                except (FileExistsError, NotADirectoryError):
                    raise UnreadableImage("unsafe_archive", detail="two of its files have one name") from None
                with file, opener() as source:
                    for chunk in budget.chunks(source):
                        file.write(chunk)
        yield folder
    finally:
        remove_passing(folder)


@contextmanager
def opened_member(path: str | os.PathLike[str], name: str | None = None) -> Generator[BinaryIO]:
    """Read the file called `name`, or the only one, of an archive into memory."""
    with opened(path) as found:
        chosen = [opener for member, opener in found if name in (None, member.name)]
        if not chosen and name is not None:
            raise UnreadableImage("not_found", detail=f"its {len(found)} files include no such member")
        if not chosen:
            raise UnreadableImage("empty", detail="the archive holds no file")
        if name is None and len(found) > 1:
            raise UnreadableImage("several_images", detail=f"the archive holds {len(found)} files")
        budget = Budget(size_and_time(path)[0], most=_MAX_IN_MEMORY)
        data = io.BytesIO()  # grows in place: joining pieces would hold everything twice
        with chosen[0]() as source:
            data.writelines(budget.chunks(source))
    data.seek(0)
    yield data


def is_archive(stream: BinaryIO) -> bool:
    r"""Whether this is a zip file, or a tar file, plain or in gzip; leaves the stream at its start.

    Example:
        >>> is_archive(io.BytesIO(b"PK\x03\x04"))
        True
    """
    head = stream.read(_HEAD)
    stream.seek(0)
    if head[128:132] == b"DICM":  # a preamble may hold the head of anything
        return False
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEAD)
        except zlib.error:
            return False
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or head[257:262] == b"ustar"


def read_arrays(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Return arrays of an ``.npz`` file; a ValueError says why there are none, or that they swell without end."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(each.file_size for each in packed.infolist())
        if size > max(_FREE_ARRAYS, _MAX_ARRAYS_RATIO * path.stat().st_size):
            raise ValueError(f"it says that it unpacks to {size} bytes")
        with np.load(path, allow_pickle=False) as opened:
            return [opened[name] for name in names]
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from None


class Budget:
    """Bytes that may still come out of an archive, counted while they come."""

    def __init__(self, packed: int, *, most: int = _MAX_BYTES) -> None:
        self._limit = min(most, max(_FREE_BYTES, _MAX_RATIO * packed))
        self._left = self._limit

    def claim(self, size: int) -> None:
        """Refuse what is announced to be too large, before it is unpacked."""
        if size < 0:  # tarfile takes it, and goes back in the archive for ever
            raise UnreadableImage("corrupt", detail="a file of the archive has a negative size")
        self._left -= size
        if self._left < 0:
            detail = f"its files are larger than {self._limit >> 20} MB unpacked"
            raise UnreadableImage("too_large", detail=detail, hint="if you trust it, unpack it and give its files")

    def chunks(self, source: IO[bytes]) -> Iterator[bytes]:
        """Yield the content of a member, refusing it as soon as it is too large, and an archive in the archive."""
        for number, chunk in enumerate(iter(lambda: source.read(_CHUNK), b"")):
            self.claim(len(chunk))
            if not number and is_archive(io.BytesIO(chunk)):
                raise UnreadableImage("unsafe_archive", detail="one of its files is an archive")
            yield chunk


@contextmanager
def opened(path: str | os.PathLike[str]) -> Generator[list[tuple[Member, _Opener]]]:
    """Open an archive, check all of its members, and turn its library's errors into refusals.

    Returns:
        a context manager of the files in the archive's order, each with what opens it for reading.
    """
    with open_regular(path) as stream, refusing(path):
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if not is_archive(stream):
            raise UnreadableImage("archive", detail="it is no zip file and no tar file, plain or in gzip")
        try:
            with _zip(stream) if stream.read(2) == b"PK" else _tar(stream, size) as found:
                budget = Budget(size)
                names: set[str] = set()
                for member, _ in found:
                    budget.claim(member.size)
                    folded = member.name.casefold()  # one file on systems that do not tell case
                    if folded in names:
                        raise UnreadableImage("unsafe_archive", detail="two of its files have one name")
                    names.add(folded)
                yield [each for each in found if not _OF_MACS.search(each[0].name)]
        except (EOFError, tarfile.ReadError) as error:
            raise UnreadableImage("truncated", detail=f"the archive is cut off ({type(error).__name__})") from None
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):  # the disk's errors; a place before the file's start is not one
                raise
            raise UnreadableImage("corrupt", detail=_NO_ARCHIVE.format("OSError")) from None
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, NotImplementedError, RuntimeError) as error:
            # RuntimeError: a password is needed; NotImplementedError: a method of compression that zipfile lacks.
            raise UnreadableImage("corrupt", detail=_NO_ARCHIVE.format(type(error).__name__)) from None


@contextmanager
def _zip(stream: BinaryIO) -> Generator[list[tuple[Member, _Opener]]]:
    _refuse_large_directory(stream)
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        _refuse_many(len(entries))
        found: list[tuple[Member, _Opener]] = []
        for entry in entries:
            mode = entry.external_attr >> 16
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or not stat.S_IFMT(mode)):
                raise UnreadableImage("unsafe_archive", detail=_NO_FILE)
            # orig_filename, since zipfile cuts a name at its NUL and so hides what another program would write.
            name = _checked(entry.orig_filename)
            if entry.flag_bits & 1:
                raise UnreadableImage("archive", detail="it is encrypted", hint="unpack it with its password")
            if not entry.is_dir():
                found.append((Member(name, entry.file_size), lambda entry=entry: archive.open(entry)))
        yield found


def _refuse_large_directory(stream: BinaryIO) -> None:
    """Look for the directory's size in every end record that the file's tail could be taken to hold (APPNOTE 4.3)."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - (1 << 16) - 200))
    tail = stream.read()
    stream.seek(0)
    for mark, place, code in ((b"PK\x05\x06", 12, "<I"), (b"PK\x06\x06", 40, "<Q")):
        start = tail.find(mark)
        while start >= 0:
            field = tail[start + place : start + place + struct.calcsize(code)]
            if len(field) == struct.calcsize(code):
                (claimed,) = struct.unpack(code, field)
                if _MAX_DIRECTORY < claimed != 0xFFFFFFFF:  # that number says: see the larger record
                    raise UnreadableImage("too_large", detail="the directory of the archive is too large")
            start = tail.find(mark, start + 1)


class CheckedEntry(tarfile.TarInfo):
    """A header that is refused before tarfile reads what it announces into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> CheckedEntry:
        """Parse one header."""
        entry = super().frombuf(buf, encoding, errors)
        if entry.size < 0:
            raise UnreadableImage("corrupt", detail="a file of the archive has a negative size")
        if entry.type in _NAMES and entry.size > _MAX_NAMES:
            raise UnreadableImage("too_large", detail="a name in the archive is too long")
        if entry.type == tarfile.GNUTYPE_SPARSE:
            raise UnreadableImage("unsafe_archive", detail=_NO_FILE)
        return entry


@contextmanager
def _tar(stream: BinaryIO, size: int) -> Generator[list[tuple[Member, _Opener]]]:
    stream.seek(0)
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r:gz" if packed else "r:", tarinfo=CheckedEntry) as archive:
        found: list[tuple[Member, _Opener]] = []
        budget = Budget(size)
        for count, entry in enumerate(archive, 1):  # stepping to the next header inflates what lies between
            _refuse_many(count)
            name = _checked(entry.name)
            if not (entry.isreg() or entry.isdir()) or entry.issparse():
                raise UnreadableImage("unsafe_archive", detail=_NO_FILE)
            budget.claim(entry.size)
            if entry.isreg():
                found.append((Member(name, entry.size), lambda entry=entry: _content(archive, entry)))
        yield found


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(entry)
    if content is None:
        raise UnreadableImage("corrupt", detail="a file of the archive has no content")
    return content


def _refuse_many(count: int) -> None:
    if count > _MAX_MEMBERS:
        raise UnreadableImage("too_large", detail=f"the archive has more than {_MAX_MEMBERS} members")


def _checked(name: str) -> str:
    """Return `safe_name`, or refuse an archive in the archive."""
    safe = safe_name(name)
    if safe.casefold().endswith(_ARCHIVE_SUFFIXES):
        raise UnreadableImage("unsafe_archive", detail="one of its files is an archive")
    return safe


def safe_name(name: str) -> str:
    """Return a member's name in its one form, or refuse one that leads out of any folder on any system."""
    parts = name.replace("\\", "/").split("/")
    bare = [part for part in parts if part not in ("", ".")]
    outside = ".." in bare or name[:1] in ("/", "\\") or any(":" in part for part in bare[:1])
    if not bare and name in (".", "./"):
        return ""  # the archive's own folder
    if outside or "\0" in name or not bare or len(name) > 1000 or max(map(len, bare)) > 200:
        raise UnreadableImage("unsafe_archive", detail="the name of one of its members leads out of it, or is no name")
    return "/".join(bare)
