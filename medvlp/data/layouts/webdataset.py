"""``webdataset``: tar shards in WebDataset's form: files of one name are one sample; pictures are unpacked once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError
from medvlp.core.files import make_folder, put_in_place
from medvlp.core.suggest import did_you_mean
from medvlp.data._columns import plain_numbers
from medvlp.data.layouts._files import OnProgress, Root
from medvlp.data.layouts._published import columns_of
from medvlp.data.layouts._table import SHORT_NAMES
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import notify
from medvlp.io.archive import unpacked

__all__ = ["index"]

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")
_NIFTI = (".nii.gz", ".nii")
_WORDS = (".txt", ".caption", ".report")


def index(
    root: Root,
    *,
    shards: str = "*.tar",
    columns: dict[str, str] | None = None,
    classes: tuple[str, ...] = (),
    unpack: Path | None = None,
    progress: OnProgress = None,
) -> Manifest:
    """Index shards, one row a sample: ``00012.png``, ``00012.txt`` and ``00012.json`` are one.

    Columns: ``id`` (``SHARD/NAME``), ``image`` (PNG, JPEG, TIFF or DICOM) or ``volume`` (NIfTI), ``text`` (of a txt,
    caption or report file), ``shard``, ``label.CLASS`` of a cls file, and what `columns` takes of the json files.

    Args:
        root: folder of the shards.
        shards: which of its files they are.
        columns: manifest column -> key in the json files, ``a.b`` for one inside another: ``{patient_id: subject,
            label.effusion: labels.effusion, split: split}``. ``patient_id`` and ``study_id`` are ``id.patient`` and
            ``id.study``.
        classes: names of the numbers in the cls files, in their order.
        unpack: folder that pictures are written to; default ``root/unpacked``. A shard that is there stays.

    Raises:
        DataError: if there is no shard or sample, a json file is none, a key is in no file, or a class has no name.
        UnreadableImage: for an archive that should not be unpacked.
    """
    rows, left = list[dict[str, Any]](), list[str]()
    paths = sorted(root.glob(shards))
    if not paths:
        raise DataError(f"{root} holds no shard {shards!r}: check the root, or say which files they are.")
    wanted = {SHORT_NAMES.get(name, name): key for name, key in (columns or {}).items()}
    seen: set[str] = set()
    for done, path in enumerate(paths, start=1):
        folder = (unpack or root / "unpacked") / path.stem
        if not folder.is_dir():
            temporary = folder.with_name(f".{folder.name}.part")
            make_folder(folder.parent)
            shutil.rmtree(temporary, ignore_errors=True)
            with unpacked(path) as inside:
                shutil.copytree(inside, temporary)
            put_in_place(temporary, folder)
        for name, files in _samples(folder).items():
            row = _row(folder, name, files, wanted, classes, seen)
            if row.keys() & {"image", "volume", "text"}:
                place = {key: f"{path.stem}/{row[key]}" for key in ("image", "volume") if key in row}
                rows.append({"id": f"{path.stem}/{name}", "shard": path.stem, **row, **place})
            else:
                left.append(f"{path.stem}/{name}")
        notify(progress, done, len(paths))
    for name, key in wanted.items():
        if not any(name in row for row in rows):
            raise DataError(f"No json file of {root} has {key!r}, asked for {name}: {did_you_mean(key, seen)}.")
    if not rows:
        raise DataError(f"The {len(paths)} shards of {root} hold no picture and no text: check which files they are.")
    values = columns_of(rows)
    values |= {name: plain_numbers(name, values[name]) for name in wanted}  # pyrefly: ignore
    meta = {"layout": "webdataset", "skipped": {"nothing_to_encode": left} if left else {}}
    return Manifest.of(values, root=unpack or root / "unpacked", meta=meta)


def _samples(folder: Path) -> dict[str, dict[str, Path]]:
    """Return name -> ending -> file; the ending begins at the first dot of a file's name, as in WebDataset."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        stem, dot, ending = path.name.partition(".")
        name = path.with_name(stem).relative_to(folder).as_posix()
        found.setdefault(name, {})[f"{dot}{ending}".lower()] = path
    return found


def _row(
    folder: Path, name: str, files: dict[str, Path], wanted: dict[str, str], classes: Sequence[str], seen: set[str]
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for kind, endings in (("image", _IMAGES), ("volume", _NIFTI)):
        path = next((files[ending] for ending in endings if ending in files), None)
        if path is not None:
            row[kind] = path.relative_to(folder).as_posix()
    words = next((files[ending] for ending in _WORDS if ending in files), None)
    if words is not None:
        row["text"] = words.read_text(encoding="utf-8").strip()
    if ".cls" in files:
        number = files[".cls"].read_text(encoding="utf-8").strip()
        if not number.isdecimal() or int(number) >= len(classes):
            raise DataError(f"{files['.cls']} is {number!r}, and classes names {len(classes)}: name each class.")
        row |= {f"label.{label}": int(at == int(number)) for at, label in enumerate(classes)}
    if ".json" in files:
        facts = _facts(files[".json"])
        seen.update(facts)
        row |= {column: facts[key] for column, key in wanted.items() if facts.get(key) is not None}
    return row


def _facts(path: Path) -> dict[str, Any]:
    """Return the values of a json file by their keys, those inside others as ``a.b``."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): write the shard again.") from None
    found: dict[str, Any] = {}
    waiting = [("", tree)]
    while waiting:
        head, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{head}.{key}" if head else str(key), inner) for key, inner in value.items()]
        elif head:
            found[head] = value
    return found
