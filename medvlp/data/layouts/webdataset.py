"""``webdataset``: tar shards in WebDataset's form, read where they lie: files of one name are one sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError, did_you_mean
from medvlp.data._columns import plain_numbers
from medvlp.data.layouts._files import OnProgress, Root
from medvlp.data.layouts._published import alike, columns_of
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import notify
from medvlp.data.text_table import SHORT_NAMES
from medvlp.io.member import tar_members

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")
_NIFTI = (".nii.gz", ".nii")
_WORDS = (".txt", ".caption", ".report")


def index(
    root: Root,
    *,
    shards: str = "*.tar",
    columns: dict[str, str] | None = None,
    classes: tuple[str, ...] = (),
    progress: OnProgress = None,
) -> Manifest:
    """Index shards by one pass over their headers, one row a sample: ``00012.png`` and ``00012.json`` are one.

    Columns: ``id`` (``SHARD/NAME``), ``image`` (PNG, JPEG, TIFF or DICOM) or ``volume`` (NIfTI), ``text`` (of a txt,
    caption or report file), ``shard``, ``label.CLASS`` of a cls file, and what `columns` takes of the json files.
    Nothing is unpacked: pictures are read out of the shards (`medvlp.io.member`).

    Args:
        root: folder of the shards.
        shards: which of its files they are, plain tar files.
        columns: manifest column -> key in the json files, ``a.b`` for one inside another: ``{patient_id: subject,
            label.effusion: labels.effusion, split: split}``. ``patient_id`` and ``study_id`` are ``id.patient`` and
            ``id.study``.
        classes: names of the numbers in the cls files, in their order.

    Raises:
        DataError: if there is no shard or sample, a json file is none, a key is in no file, or a class has no name.
        UnreadableImage: for a shard that is packed, cut off, or holds links or names that lead out.
    """
    rows, left = list[dict[str, Any]](), list[str]()
    paths = sorted(root.glob(shards))
    if not paths:
        raise DataError(f"{root} holds no shard {shards!r}: check the root, or say which files they are.")
    wanted = {SHORT_NAMES.get(name, name): key for name, key in (columns or {}).items()}
    seen: set[str] = set()
    for done, path in enumerate(paths, start=1):
        place = path.relative_to(root)
        for name, files in _samples(path, place).items():
            row = _row(f"{path}: {name}", files, wanted, classes, seen)
            shard = place.with_suffix("").as_posix()
            if row.keys() & {"image", "volume", "text"}:
                rows.append({"id": f"{shard}/{name}", "shard": shard, **row})
            else:
                left.append(f"{shard}/{name}")
        notify(progress, done, len(paths))
    for name, key in wanted.items():
        if not any(name in row for row in rows):
            raise DataError(f"No json file of {root} has {key!r}, asked for {name}: {did_you_mean(key, seen)}.")
    if not rows:
        raise DataError(f"The {len(paths)} shards of {root} hold no picture and no text: check which files they are.")
    values = columns_of(rows)
    values |= {name: plain_numbers(name, alike(name, values[name])) for name in wanted}  # pyrefly: ignore
    meta = {"layout": "webdataset", "skipped": {"nothing_to_encode": left} if left else {}}
    return Manifest.of(values, root=root, meta=meta)


def _samples(path: Path, place: Path) -> dict[str, dict[str, str | bytes]]:
    """Return name -> ending -> place of a picture, content of another file that is read.

    The ending begins at the first dot of a file's name, as in WebDataset.
    """
    found: dict[str, dict[str, str | bytes]] = {}
    for name, member, read in tar_members(path):
        stem, dot, ending = member.name.partition(".")
        key = f"{name[: -len(member.name)]}{stem}"
        ending = f"{dot}{ending}".lower()
        found.setdefault(key, {})[ending] = (
            read() if ending in (*_WORDS, ".cls", ".json") else f"{place.as_posix()}{str(member)[len(str(path)) :]}"
        )
    return found


def _row(
    where: str, files: dict[str, str | bytes], wanted: dict[str, str], classes: Sequence[str], seen: set[str]
) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for kind, endings in (("image", _IMAGES), ("volume", _NIFTI)):
        found = next((files[ending] for ending in endings if ending in files), None)
        if found is not None:
            row[kind] = found
    words = next((ending for ending in _WORDS if ending in files), None)
    if words is not None:
        row["text"] = _text(where, words, files)
    if ".cls" in files:
        number = _text(where, ".cls", files)
        if not number.isdecimal() or int(number) >= len(classes):
            raise DataError(f"{where}.cls is {number!r}, and classes names {len(classes)}: name each class.")
        row |= {f"label.{label}": int(at == int(number)) for at, label in enumerate(classes)}
    if ".json" in files:
        facts = _facts(f"{where}.json", _text(where, ".json", files))
        seen.update(facts)
        row |= {column: facts[key] for column, key in wanted.items() if facts.get(key) is not None}
    return row


def _text(where: str, ending: str, files: dict[str, str | bytes]) -> str:
    try:
        return bytes(files[ending]).decode().strip()  # pyrefly: ignore
    except UnicodeDecodeError:
        raise DataError(f"{where}{ending} is not UTF-8: write the shard again.") from None


def _facts(where: str, text: str) -> dict[str, Any]:
    """Return the values of a json file by their keys, those inside others as ``a.b``."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}): write the shard again.") from None
    found: dict[str, Any] = {}
    waiting = [("", tree)]
    while waiting:
        head, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{head}.{key}" if head else str(key), inner) for key, inner in value.items()]
        elif head:
            found[head] = value
    return found
