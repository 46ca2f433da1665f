"""``hugging_face``: a data set as the Hugging Face hub stores it, Parquet files with pictures inside, unpacked once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet

from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.files import write_bytes
from medvlp.data._columns import plain_numbers
from medvlp.data.layouts._files import OnProgress, Root
from medvlp.data.layouts._published import alike, columns_of
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import notify
from medvlp.data.splits._lists import PART_WORDS
from medvlp.data.text_table import SHORT_NAMES

_KINDS = ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"))


def index(
    root: Root, *, columns: dict[str, str], subset: str = "", unpack: Path | None = None, progress: OnProgress = None
) -> Manifest:
    """Index the Parquet files, one row a row; the part is the beginning of a file's name (``test-00000-of-00002``).

    Columns: ``id`` (file and row), ``split``, and what `columns` takes. A column of pictures (bytes, or a struct with
    ``bytes``) is written into files named by their content; a column of class numbers, whose names the files tell, that
    is taken as ``label`` becomes ``label.NAME`` of each class.

    Args:
        root: folder of the data set (a clone, or a snapshot in the hub's cache).
        columns: manifest column -> column of the files: ``{image: image, text: caption, patient_id: subject, label:
            diagnosis}``. ``patient_id`` and ``study_id`` are ``id.patient`` and ``id.study``.
        subset: folder of the Parquet files, below root, where there are several sets.
        unpack: folder that pictures are written to; default ``root/unpacked``.

    Raises:
        DataError: if there is no Parquet file, a column is missing, or ``label`` names no classes.
    """
    folder = unpack or root / "unpacked"
    paths = sorted((root / subset).rglob("*.parquet"))
    if not paths:
        raise DataError(f"{root / subset} holds no Parquet file: give the data set's own folder.")
    wanted = {SHORT_NAMES.get(name, name): column for name, column in columns.items()}
    rows: list[dict[str, Any]] = []
    for done, path in enumerate(paths, start=1):
        part = PART_WORDS.get(path.name.partition("-")[0].removesuffix(".parquet"))
        for at, row in enumerate(_rows(path, wanted, folder)):
            rows.append({"id": f"{path.stem}/{at:06d}", "split": part, **row})
        notify(progress, done, len(paths))
    values = columns_of(rows)
    values |= {n: plain_numbers(n, alike(n, values[n])) for n in wanted if n in values}
    return Manifest.of(values, root=folder, meta={"layout": "hugging_face", "files": len(paths)})


def _rows(path: Path, wanted: Mapping[str, str], folder: Path) -> Iterator[dict[str, Any]]:
    file = pyarrow.parquet.ParquetFile(path)
    names = file.schema_arrow.names
    for column in wanted.values():
        if column not in names:
            raise DataError(f"{path} has no column {column!r}: {did_you_mean(column, names)}.")
    classes = _classes(file, path, wanted.get("label"))
    for batch in file.iter_batches(batch_size=64, columns=sorted(set(wanted.values()))):
        for record in batch.to_pylist():
            row: dict[str, Any] = {}
            for name, column in wanted.items():
                value = record[column]
                data = value.get("bytes") if isinstance(value, dict) else value
                if isinstance(data, bytes):
                    row[name] = _stored(data, folder)
                elif isinstance(value, dict) and "bytes" in value:
                    raise DataError(f"{path} names pictures of {column!r} and does not hold them: embed their bytes.")
                elif name == "label":
                    if value is not None and value not in range(-1, len(classes)):
                        raise DataError(f"{path}: {column!r} holds {value!r}, no class's number: use label.NAME.")
                    known = value is not None and value >= 0  # the hub writes -1 where there is no label
                    row |= {f"label.{word}": int(value == at) if known else None for at, word in classes}
                elif value is not None:
                    row[name] = value
            yield row


def _classes(file: pyarrow.parquet.ParquetFile, path: Path, column: str | None) -> list[tuple[int, str]]:
    """Return the classes of a column as the hub's library writes them into a file."""
    if column is None:
        return []
    info = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
    feature = info.get("info", {}).get("features", {}).get(column)
    names = feature.get("names") if isinstance(feature, dict) else None  # a list: of several classes a row
    if not names:
        raise DataError(f"{path} does not name the classes of {column!r}: take it as label.NAME, a column a finding.")
    return [(at, str(name).strip().lower().replace(" ", "_")) for at, name in enumerate(names)]


def _stored(data: bytes, folder: Path) -> str:
    """Write a picture under its own hash, once, and return its path."""
    ending = next((end for begin, end in _KINDS if data.startswith(begin)), ".dcm")
    name = hashlib.sha256(data).hexdigest()[:32]
    path = folder / name[:2] / f"{name}{ending}"
    if not path.is_file():
        write_bytes(path, data)
    return path.relative_to(folder).as_posix()
