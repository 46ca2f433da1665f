"""What public layouts share: the files of a release listed once, its JSON, and rows that become a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.manifest import Manifest

__all__ = ["Row", "by_name", "list_files", "manifest_of", "read_records", "skip"]

Row = dict[str, object]


def list_files(root: Path, *folders: str, suffixes: Sequence[str] = ()) -> frozenset[str]:
    """Paths of the files below some folders, relative to the root, with forward slashes.

    Each folder is listed once: a hundred thousand names cost a second, a hundred thousand calls of ``is_file`` on a
    network share cost an hour. Hidden files and what archives of other systems leave (``__MACOSX``) are not listed.

    Args:
        root: what the paths are relative to.
        folders: below root; all of it where none is named; one that does not exist holds nothing.
        suffixes: wanted endings in lower case; all where none is named.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "train").mkdir()
        >>> for name in ("a.PNG", "._a.PNG", "notes.txt"):
        ...     (root / "train" / name).touch()
        >>> sorted(list_files(root, "train", suffixes=(".png",)))
        ['train/a.PNG']
    """
    found: set[str] = set()
    for folder in folders or (".",):
        for place, inner, names in os.walk(root / folder):
            inner[:] = [name for name in inner if not name.startswith(".") and name != "__MACOSX"]
            below = Path(place).relative_to(root).as_posix()
            start = "" if below == "." else f"{below}/"
            found.update(
                f"{start}{name}"
                for name in names
                if not name.startswith(".") and (not suffixes or name.lower().endswith(tuple(suffixes)))
            )
    return frozenset(found)


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


def manifest_of(
    rows: Sequence[Row],
    *,
    root: Path,
    layout: str,
    files: Collection[str] | None,
    skipped: dict[str, list[str]],
    field: str = "image",
    meta: Mapping[str, object] | None = None,
) -> Manifest:
    """Make the manifest of the rows whose file is there; the others are listed under ``missing_file``.

    Args:
        rows: column -> value; a column that a row lacks is missing in it.
        root: folder that paths are relative to.
        layout: its name.
        files: paths that exist, as `list_files` gives them; None where nobody asks for the files.
        skipped: reason -> what was left out so far; goes into the manifest's meta.
        field: column of the paths. Rows without one are kept.
        meta: more plain data for the manifest's meta.

    Raises:
        DataError: if no row is left, or none of the files exists.
    """
    kept: list[Row] = []
    for row in rows:
        path = row.get(field)
        if files is None or path is None or path in files:
            kept.append(row)
        else:
            skip(skipped, "missing_file", str(path))
    missing = skipped.get("missing_file", [])
    if missing and not any(row.get(field) is not None for row in kept):
        raise DataError(
            f"None of the {len(missing)} files that the {layout} release names exists below {root}, the first is "
            f"{missing[0]}: check the root, or set require_files to false to index the labels alone."
        )
    if not kept:
        told = ", ".join(f"{len(some)} {reason}" for reason, some in sorted(skipped.items())) or "it names nothing"
        raise DataError(f"{root} holds no usable record of the layout {layout} ({told}): check the root.")
    names = list(dict.fromkeys(name for row in kept for name in row))
    columns = {name: [row.get(name) for row in kept] for name in names}
    return Manifest.of(columns, root=root, meta={"layout": layout, **(meta or {}), "skipped": skipped})
