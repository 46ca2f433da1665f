"""What layouts share of files: what they are given, a release listed once, names to paths, boxes on copies, JSON."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

import numpy as np

from medvlp.core.errors import DataError
from medvlp.core.files import write_bytes
from medvlp.core.grouped import grouped
from medvlp.core.registry import FromModel
from medvlp.data.parallel import Progress, chunked, notify, run_chunks
from medvlp.io.errors import UnreadableImage
from medvlp.io.raster import probe_raster
from medvlp.io.read import frames_placed
from medvlp.io.sniff import sniff

Root = Annotated[Path, FromModel("root")]
OnProgress = Annotated[Progress | None, FromModel("progress")]  # called with (done, total)
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

    A hundred thousand names cost a second; as many calls of ``is_file`` on a network share cost an hour. Hidden files,
    what archives of other systems leave (``__MACOSX``) and links to folders are left out.

    Args:
        root: what paths are relative to, with forward slashes.
        folders: below root; those that do not exist hold nothing.
        suffixes: wanted endings, in lower case, with the dot; all where none is named.
    """
    found: set[str] = set()
    wanted = list(folders)
    chunks = chunked(wanted, _CHUNK)
    for done, some in enumerate(run_chunks(_walk, (str(root), tuple(suffixes)), chunks, workers=workers), start=1):
        found.update(some)
        notify(progress, min(done * _CHUNK, len(wanted)), len(wanted))
    if odd := sorted(filter(re.compile("[\udc80-\udcff]").search, found)):  # bytes that Python could not decode
        raise DataError(
            f"Names below {root} that are not in UTF-8, as old archives of Windows give them: {len(odd)}, "
            f"the first {odd[0]!r}: rename them, for example with convmv."
        )
    return sorted(found)


def _walk(shared: tuple[str, tuple[str, ...]], folders: Sequence[str]) -> list[str]:
    root, suffixes = shared
    found = []
    for folder in folders:
        for place, below, names in os.walk(os.path.join(root, folder), onerror=_refuse_closed):  # noqa: PTH118
            below[:] = [name for name in below if not name.startswith((".", "__MACOSX"))]
            inside = os.path.relpath(place, root).replace(os.sep, "/")
            head = "" if inside == "." else f"{inside}/"
            wanted = (n for n in names if not n.startswith(".") and (not suffixes or n.lower().endswith(suffixes)))
            found += [head + n for n in wanted]
    return found


def _refuse_closed(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):  # its files would be missing, and nobody told
        raise DataError(f"The folder {error.filename} cannot be read ({error.strerror}): give this user the right.")


def linked_folders(root: Path, folder: str = ".") -> list[str]:
    """List the links to folders below a folder, which are not followed: they may lead out of the root, or in a circle.

    Returns:
        paths relative to root, with forward slashes.
    """
    found = []
    for place, below, _ in os.walk(os.path.join(root, folder)):  # noqa: PTH118
        links = (os.path.join(place, name) for name in below if not name.startswith("."))  # noqa: PTH118
        found += [os.path.relpath(link, root).replace(os.sep, "/") for link in links if os.path.islink(link)]  # noqa: PTH114
    return sorted(found)


def by_stem(paths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return name without folder and ending -> path, and the paths whose name stood before."""
    files: dict[str, str] = {}
    repeated = [path for path in paths if files.setdefault(path.rpartition("/")[2].rpartition(".")[0], path) != path]
    return files, repeated


def by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    """Sort paths under the name of their file."""
    return grouped((path.rpartition("/")[2], path) for path in sorted(paths))


def skip(skipped: dict[str, list[str]], reason: str, what: str) -> None:
    """Note what was left out; nothing is dropped in silence."""
    skipped.setdefault(reason, []).append(what)


def finding_name(words: str) -> str:
    """The name of a label: ``Pleural effusion`` is pleural_effusion; letters of any language stay."""
    return re.sub(r"[\W_]+", "_", normalize("NFC", words).lower()).strip("_") or "unnamed"


def read_records(path: Path, *, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read a JSON list of objects that all have some keys; anything else is a `DataError`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check the root of the data.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): download it again.") from None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DataError(f"{path} is no list of objects: check that it is the right file.")
    for place, entry in enumerate(value):
        for key in keys:
            if key not in entry:
                raise DataError(f"{path}, entry {place}, has no {key!r}: download the file again.")
    return value


def on_file(boxes: Sequence[Sequence[float]], path: Path | None, drawn: tuple[float, float]) -> list[list[float]]:
    """Return boxes x0, y0, x1, y1 that were drawn on a picture of width and height `drawn` in pixels of its copy."""
    size = (bool(boxes) and path is not None and size_of(path)) or drawn
    across, down = size[0] / drawn[0], size[1] / drawn[1]
    return [[x0 * across, y0 * down, x1 * across, y1 * down] for x0, y0, x1, y1 in boxes]


def size_of(path: Path) -> tuple[int, int] | None:
    """Return width and height in pixels; None where they cannot be told: whoever reads the picture quarantines it."""
    try:
        if (found := frames_placed(path)) is not None:
            (rows, columns), _ = found
            return columns, rows
        with open(path, "rb") as stream:
            header = probe_raster(stream, sniff(stream), 0)
    except (UnreadableImage, OSError):
        return None
    return header.columns, header.rows


def write_volume(path: Path, voxels: np.ndarray, *, spacing: float = 1.0) -> None:
    """Write voxels (z, y, x), which run to the head, back and left, as ``.nii.gz``; spacing in mm."""
    import nibabel

    image = nibabel.Nifti1Image(voxels.T.copy(), np.diag([-spacing, -spacing, spacing, 1.0]))
    write_bytes(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
