"""Files that are complete or absent: written beside, synced, renamed."""

from __future__ import annotations

import csv
import ctypes
import errno
import glob
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from medvlp.core.errors import DataError, UserError

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
_FORMULA = re.compile(r"[=+@\t\r]|-(?![\d.]*%?$)")
_HOST = re.sub(r"\W", "-", platform.node())[:32]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, or a share of it


def no_file(path: Path) -> str:
    """Return why there is no plain file to read."""
    return "is a folder" if path.is_dir() else "is no plain file" if path.exists() else "does not exist"


def check_outputs(outputs: Sequence[Path], *, inputs: Sequence[Path]) -> None:
    """Refuse, before any work, to write a file over one that is read, or where none can be written; or twice.

    Raises:
        UserError: if an output is an input, a folder or a device, two are the same, or a folder cannot be written to.
    """
    read, written = {path.resolve() for path in inputs}, set[Path]()
    for path in outputs:
        place = path.resolve()
        if place in read:
            raise UserError(f"{path} is read by this command and would be written over: name another file to write.")
        if path.exists() and (not path.is_file() or path.parent == Path("/dev")):  # root would replace a device
            raise UserError(f"{path} is {'a folder' if path.is_dir() else 'no plain file'}: name a file to write.")
        if place in written:
            raise UserError(f"{path} would be written twice by this command: give each output a name of its own.")
        written.add(place)
        remove_abandoned(place.parent, f".{glob.escape(place.name)}.*.part")
    for folder in dict.fromkeys(_led_to(path).parent for path in outputs):
        check_place(folder)


def _led_to(path: Path) -> Path:
    """Return what is written for a path: of a symbolic link what it leads to."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def check_place(folder: Path) -> None:
    """Refuse a folder that cannot be created or written to, before any work starts; leaves nothing behind.

    Raises:
        UserError: if an empty file cannot be written there, or the path begins with ``~``, which only a shell knows:
            some libraries would write to the home folder, and others to one of that name.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "file"
        >>> file.touch()
        >>> check_place(file / "inside")
        Traceback (most recent call last):
        medvlp.core.errors.UserError: .../file/inside cannot be written (...): choose a folder you may write to.
        >>> check_place(file.parent / "a" / "b"), (file.parent / "a").exists()
        (None, False)
    """
    if folder.parts[:1] == ("~",):
        raise UserError(f"{folder} is no folder below your home, the shell left ~ as it is: write the whole path.")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    trial = folder / f".{os.getpid()}.part"
    made: list[Path] = []
    try:
        for each in reversed(missing):
            each.mkdir(parents=True, exist_ok=True)  # another process may have removed what it made here
            made.append(each)
        os.close(os.open(trial, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        if error.errno in FULL:
            refuse_write(error, folder)
        raise UserError(f"{folder} cannot be written ({error}): choose a folder you may write to.") from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
        with suppress(OSError):  # of another process, by now not empty
            for each in reversed(made):
                each.rmdir()


def check_replaced(folder: Path, *, mark: str | None, inputs: Sequence[Path] = ()) -> None:
    """Refuse, before any work, to put a finished folder where other files would be removed, or where it cannot be put.

    Args:
        folder: that will be written, whole.
        mark: file that a folder holds which may be replaced; None: only an empty one may.
        inputs: what is read; none may be the folder or lie in it.

    Raises:
        UserError: if it may not be replaced, or cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "keep.txt").touch()
        >>> check_replaced(folder, mark="MANIFEST.sha256")
        Traceback (most recent call last):
        medvlp.core.errors.UserError: ... holds other files, which would be removed: name a folder that does not ...
    """
    read = {place for path in inputs for place in (path.resolve(), *path.resolve().parents)}
    if folder.exists() and folder.resolve() in read:
        raise UserError(f"{folder} is read by this command and would be replaced: name another folder.")
    if folder.name in ("", ".."):
        raise UserError(f"{folder} would be replaced whole: name a folder that does not exist yet.")
    if folder.is_dir() and any(folder.iterdir()) and (mark is None or not (folder / mark).is_file()):
        raise UserError(f"{folder} holds other files, which would be removed: name a folder that does not exist yet.")
    check_place(folder)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they do not exist.

    Raises:
        UserError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse_write(error, folder)


def remove_abandoned(folder: Path, *patterns: str) -> None:
    """Remove what `written_whole` and `folder_whole` left under such names when killed on this host."""
    for left in itertools.chain.from_iterable(map(folder.glob, patterns)):
        number, _, host = left.name.removesuffix(".part").rpartition(".")[2].partition("@")
        if host != _HOST or not number.isdecimal():
            continue
        with suppress(OSError, OverflowError):
            try:
                os.kill(int(number), 0)
            except ProcessLookupError:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def temporary_of(place: Path) -> Path:
    """Return where this process writes what `place` becomes: hosts that share a disk have processes of one number."""
    return place.with_name(f".{place.name}.{os.getpid()}@{_HOST}.part")


def remove_left(folder: Path) -> None:
    """Remove what writers that were killed left of files in a folder; nobody else may be writing there."""
    for left in folder.rglob(".*.part"):
        left.unlink()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is synced and renamed over it, on failure it is removed.

    Where `path` is a symbolic link, the file that it leads to is written, as `open` does.

    Raises:
        UserError: when the disk is full or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with written_whole(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    place = _led_to(path)
    temporary = temporary_of(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, place)
    except Exception as error:  # writers in compiled code have errors of their own
        refuse_write(error, path)
    finally:
        with suppress(OSError):  # of a disk that refuses, what went wrong is already said
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_whole(folder: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `folder`; on success it is put in its place, on failure it is removed.

    Where `folder` is a symbolic link, the folder that it leads to is replaced.

    Raises:
        UserError: when the disk is full or the folder cannot be written.
    """
    place = _led_to(folder)
    temporary = temporary_of(place)
    remove_abandoned(place.parent, f".{glob.escape(place.name)}.*.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        put_in_place(temporary, place)
    except Exception as error:  # as of `written_whole`
        refuse_write(error, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(temporary: Path, folder: Path) -> None:
    """Sync a finished temporary folder and rename it into place; an older folder of that name is removed last.

    Where the system can swap two folders (Linux), one of the two is there at any moment.
    """
    for path in [*sorted(temporary.rglob("*")), temporary]:
        _sync(path)
    older = temporary
    if not (folder.exists() and _swapped(temporary, folder)):
        older = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(older, ignore_errors=True)
        if folder.exists():
            os.replace(folder, older)
        os.replace(temporary, folder)
    _sync(folder.parent)
    shutil.rmtree(older, ignore_errors=True)


def _swapped(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_write(error: Exception, path: Path) -> NoReturn:
    """Raise the sentence for a write that failed, or the error itself where the user cannot mend it.

    Raises:
        UserError: when the disk is full or the folder cannot be written.

    Example:
        >>> refuse_write(OSError(errno.ENOSPC, "No space left on device"), Path("a"))
        Traceback (most recent call last):
        medvlp.core.errors.UserError: The disk is full: a could not be written; ...
    """
    # Writers in compiled code report the system's error only as words: safetensors, OpenVINO and numpy.
    words = (*(f"(os error {code})" for code in FULL), "iostream error", " requested and ")
    full = any(each in str(error) for each in words)
    if full or getattr(error, "errno", None) in FULL:
        raise UserError(
            f"The disk is full: {path} could not be written; nothing that was complete is lost, make room and "
            "start the same command again."
        ) from error
    # A file where a folder should be is the user's too.
    refused = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
    if (isinstance(error, FileNotFoundError) and not path.parent.is_dir()) or getattr(error, "errno", None) in refused:
        raise UserError(f"{path} cannot be written ({error}): choose a folder you may write to.") from error
    raise error


def write_list(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a list for people as CSV, or take an old one away if it is empty; no word in it runs in a spreadsheet."""
    if not (cells := [[inert(str(cell)) for cell in row] for row in rows]):
        path.unlink(missing_ok=True)
        return
    with written_whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(cells)


def inert(words: str) -> str:
    """Return words for a cell of a CSV, with a quote before what a spreadsheet would run; a number stays one.

    Example:
        >>> inert("=1+1"), inert("-1+1"), inert("-0.12"), inert("-")
        ("'=1+1", "'-1+1", '-0.12', '-')
    """
    return f"'{words}" if _FORMULA.match(words) else words


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole."""
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: object) -> None:
    """Write JSON whole, keys in the order given, NaN refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        DataError: if the file is missing or not a JSON object.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path} {no_file(path)}: name a JSON file.")
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors write a byte order mark
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the path.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): it may be damaged, make it again.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds {type(value).__name__}, not a JSON object: check that it is the right file.")
    return value


def plain_yaml(path: Path, *, refused: type[UserError] = DataError, mend: str) -> object:
    """Return what a YAML file of plain data holds; if it cannot be read, `refused` says why, and `mend` what to do."""
    import yaml

    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # written in C, six times as quick
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise refused(f"{path} cannot be read as YAML ({why}): {mend}.") from None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
