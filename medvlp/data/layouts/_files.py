"""What layouts share of files: a release listed once, names to paths, and its JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.parallel import Progress, chunked, run_chunks

__all__ = ["by_name", "by_stem", "list_files", "read_records", "skip"]

_CHUNK = 256  # folders


def list_files(
    root: Path,
    folders: Iterable[str] = (".",),
    *,
    suffixes: Sequence[str] = (),
    workers: int = 0,
    progress: Progress | None = None,
) -> list[str]:
    """List files below folders, without asking for any of them.

    A hundred thousand names cost a second, as many calls of ``is_file`` on a network share cost an hour.

    Args:
        root: what paths are relative to.
        folders: below root; those that do not exist hold nothing.
        suffixes: wanted endings, in lower case, with the dot; all where none is named.
        workers: processes.
        progress: told (done, total) folders.

    Returns:
        paths with forward slashes, sorted, each once. Hidden files and what archives of other systems leave
        (``__MACOSX``) are left out; links to folders are not followed.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("b.PNG", "a.png", "a.txt", ".a.png"):
        ...     (root / name).touch()
        >>> list_files(root, ["."], suffixes=[".png"])
        ['a.png', 'b.PNG']
    """
    found: set[str] = set()
    wanted = list(folders)
    chunks = chunked(wanted, _CHUNK)
    for done, some in enumerate(run_chunks(_walk, (str(root), tuple(suffixes)), chunks, workers=workers), start=1):
        found.update(some)
        if progress is not None:
            progress(min(done * _CHUNK, len(wanted)), len(wanted))
    return sorted(found)


def _walk(shared: tuple[str, tuple[str, ...]], folders: Sequence[str]) -> list[str]:
    root, suffixes = shared
    found = []
    for folder in folders:
        for place, below, names in os.walk(os.path.join(root, folder)):  # noqa: PTH118
            below[:] = [name for name in below if not name.startswith((".", "__MACOSX"))]
            inside = os.path.relpath(place, root).replace(os.sep, "/")
            head = "" if inside == "." else f"{inside}/"
            kept = (n for n in names if not n.startswith(".") and (not suffixes or n.lower().endswith(suffixes)))
            found += [head + n for n in kept]
    return found


def by_stem(paths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return name without folder and ending -> path, and the paths whose name stood before.

    Example:
        >>> by_stem(["a/1.2.3.dcm", "b/1.2.3.dcm"])
        ({'1.2.3': 'a/1.2.3.dcm'}, ['b/1.2.3.dcm'])
    """
    files: dict[str, str] = {}
    repeated = [path for path in paths if files.setdefault(path.rpartition("/")[2].rpartition(".")[0], path) != path]
    return files, repeated


def by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    """Sort paths under the name of their file.

    Example:
        >>> by_name(["train/1.png", "copy/1.png"])
        {'1.png': ['copy/1.png', 'train/1.png']}
    """
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        found.setdefault(path.rpartition("/")[2], []).append(path)
    return found


def skip(skipped: dict[str, list[str]], reason: str, what: str) -> None:
    """Note what was left out; nothing is dropped in silence."""
    skipped.setdefault(reason, []).append(what)


def read_records(path: Path) -> list[dict[str, object]]:
    """Read a JSON list of objects.

    Raises:
        DataError: if the file is missing, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the root of the data.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): download it again.") from None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DataError(f"{path} is no list of objects: check that it is the right file.")
    return value
