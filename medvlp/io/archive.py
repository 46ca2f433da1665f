"""Zip and tar archives of images: one file of them in memory, or all of them in a private folder."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from medvlp.io.archive_members import Budget, Member, is_archive, opened
from medvlp.io.errors import UnreadableImage

__all__ = ["Member", "is_archive", "members", "only_image", "opened_member", "unpacked"]

_MAX_IN_MEMORY = 1 << 30  # bytes of one member that is read without a folder


def members(path: str | os.PathLike[str]) -> tuple[Member, ...]:
    """Return the files of an archive in its order, after all of them were checked.

    Raises:
        UnreadableImage: ``unsafe_archive`` (a name that leads out, a link, a device, an archive in the archive, a name
            that stands twice), ``too_large``, ``archive`` (a kind that is not opened), ``corrupt`` or ``truncated``.

    Example:
        >>> import zipfile
        >>> folder = tempfile.mkdtemp()
        >>> with zipfile.ZipFile(Path(folder, "a.zip"), "w") as archive:
        ...     archive.writestr("series/1.dcm", b"12")
        >>> members(Path(folder, "a.zip"))
        (Member(name='series/1.dcm', size=2),)
    """
    with opened(path) as found:
        return tuple(member for member, _ in found)


@contextmanager
def unpacked(path: str | os.PathLike[str]) -> Generator[Path]:
    """Unpack an archive into a private folder that is removed afterwards.

    Args:
        path: zip, tar or tar.gz.

    Returns:
        a context manager of the folder; only this user may look into it, its files are plain and not executable.

    Raises:
        UnreadableImage: as `members`; nothing is left behind.

    Example:
        >>> import zipfile
        >>> folder = tempfile.mkdtemp()
        >>> with zipfile.ZipFile(Path(folder, "a.zip"), "w") as archive:
        ...     archive.writestr("series/1.dcm", b"12")
        >>> with unpacked(Path(folder, "a.zip")) as inside:
        ...     [file.read_bytes() for file in inside.glob("series/*")]
        [b'12']
    """
    with tempfile.TemporaryDirectory(prefix="medvlp-") as folder:  # made with mode 0700
        with opened(path) as found:
            budget = Budget(Path(path).stat().st_size)
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
        yield Path(folder)


@contextmanager
def opened_member(path: str | os.PathLike[str], name: str | None = None) -> Generator[BinaryIO]:
    """Read one file of an archive into memory.

    Args:
        path: the archive.
        name: of the file; None where the archive holds only one.

    Raises:
        UnreadableImage: as `members`; ``several_images`` or ``not_found`` when the name does not choose one.
    """
    with opened(path) as found:
        wanted = only_image(tuple(member for member, _ in found), name)
        opener = next(opener for member, opener in found if member == wanted)
        budget = Budget(Path(path).stat().st_size, most=_MAX_IN_MEMORY)
        data = io.BytesIO()
        with opener() as source:
            for chunk in budget.chunks(source):
                data.write(chunk)
    data.seek(0)
    yield data


def only_image(found: tuple[Member, ...], name: str | None) -> Member:
    """Choose the member called `name`, or the only one.

    Raises:
        UnreadableImage: ``several_images`` or ``not_found``.

    Example:
        >>> only_image((Member("a", 1), Member("b", 1)), "b").name
        'b'
    """
    if name is not None:
        chosen = [member for member in found if member.name == name]
        if not chosen:
            raise UnreadableImage("not_found", detail=f"its {len(found)} files include no such member")
        return chosen[0]
    if not found:
        raise UnreadableImage("empty", detail="the archive holds no file")
    if len(found) > 1:
        raise UnreadableImage("several_images", detail=f"the archive holds {len(found)} files")
    return found[0]
