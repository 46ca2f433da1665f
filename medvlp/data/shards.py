"""Write the files of a cohort into tar shards in WebDataset's form, with an offset index and a manifest beside them.

The record in row 42 becomes ``000000000042.dcm`` and ``000000000042.json`` (its other columns); where a record has
several files, a file's column stands in its name: ``000000000042.image.lateral.dcm``, ``000000000042.stack.0003.png``.
A folder of slices becomes a stored zip. The manifest beside names each file by its place (`medvlp.io.member`), so all
that reads manifests reads shards, in the same order. The same manifest gives the same bytes, whenever it was killed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import check_place, read_json, remove_left, sha256_of, write_json, written_whole
from medvlp.core.processes import exclusive
from medvlp.core.provenance import hash_of
from medvlp.data.contents import stamps_anywhere
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import mask_path, within
from medvlp.data.parallel import Progress, notify
from medvlp.data.picture_files import stack_files
from medvlp.data.quarantine import NothingReadableError, Quarantined, quarantined, write_quarantine
from medvlp.data.shard_index import INDEX, SCHEMA
from medvlp.io.errors import UnreadableImage
from medvlp.io.member import BLOCK, TarMember
from medvlp.io.sniff import open_regular, sniff

_MOST = (8 << 30) - 1  # bytes of a member that a plain header can tell
_ENDS = 20 * BLOCK  # a tar ends in zeros, to a multiple of this
_ENDINGS = {"dicom": ".dcm", "nifti": ".nii", "png": ".png", "jpeg": ".jpg", "tiff": ".tif"}


@dataclass(frozen=True)
class Sharded:
    """What `shard_manifest` wrote.

    Attributes:
        manifest: the table beside the shards; those that cannot be read are not in it.
        shards: how many there are.
        quarantined: the records left out.
    """

    manifest: Path
    shards: int
    records: int
    quarantined: tuple[Quarantined, ...]


def shard_manifest(manifest: Manifest, out: Path, *, size: int = 1 << 30, progress: Progress | None = None) -> Sharded:
    """Write ``shard-000000.tar`` ..., ``index.parquet`` (`medvlp.data.shard_index`) and ``manifest.parquet``.

    Start it again after an interruption: a shard is complete or absent, and one whose files changed meanwhile is made
    again. A record one of whose files cannot be opened is
    left out and listed in ``quarantine.csv``; whether pixels can be decoded is `medvlp data index`'s to find.

    Args:
        manifest: the cohort; identifiers, reports and the files themselves are copied as they are.
        out: a new folder, or that of an interrupted run with the same manifest and size.
        size: bytes after which a shard is closed.

    Raises:
        UserError: the folder holds something else, cannot be written, is packed into, or lost a shard since.
        DataError: no record can be read, or a stack file is among the files.
    """
    columns = manifest.file_columns
    masks = tuple(name for name in manifest.names_of("mask") if pa.types.is_string(manifest.arrow(name).type))
    if not columns:
        raise DataError("The manifest names no files, so there is nothing to put into shards: train on it as it is.")
    source, table, parts = hash_of([manifest.hash, size]), out / "manifest.parquet", out / "parts"
    check_place(out)
    if not table.is_file():
        _check_begun(out, parts, source)
        reader = _Reader(manifest, columns, masks)
        with exclusive(parts, what="command", otherwise="name another folder"):
            if not table.is_file():  # whoever held the folder may have finished
                write_json(parts / "source.json", _begun(source))
                _pack(manifest, out, parts, reader, source, size, progress)
    done = _finished(table, source)
    shutil.rmtree(parts, ignore_errors=True)
    return done


def _pack(
    manifest: Manifest, out: Path, parts: Path, reader: _Reader, source: str, size: int, progress: Progress | None
) -> None:
    row, number = 0, 0
    while row < len(manifest):
        part, name = parts / f"{number:06}.parquet", f"shard-{number:06}.tar"
        if not _is_made(part, row, reader):
            shard = _Shard(name, row, {each: [] for each in reader.types})
            with written_whole(out / name) as temporary:
                _write(shard, temporary, reader, size, lambda done: notify(progress, done, len(manifest)))
            if not shard.rows:  # all that was left could not be read
                (out / name).unlink()
            shard.save(part, reader, bytes=(out / name).stat().st_size if shard.rows else 0)
        row, number = int(_facts(part)["stop"]), number + 1
    notify(progress, row, len(manifest))
    _finish(manifest, out, parts, source, count=number)


@dataclass
class _Shard:
    """What one shard holds: rows of the manifest, where each file of theirs lies, and the index's rows.

    `stamps` are sizes and times of the files of all rows from `start` to `stop`, as they were before they were read.
    """

    name: str
    start: int
    places: dict[str, list[Any]]
    rows: list[int] = field(default_factory=list)
    index: list[tuple[str, str, str, int, int, bytes]] = field(default_factory=list)
    bad: list[Quarantined] = field(default_factory=list)
    stamps: list[object] = field(default_factory=list)
    stop: int = 0

    def save(self, part: Path, reader: _Reader, *, bytes: int) -> None:
        """Write the part: first the index, then the manifest's columns, which say that the shard is complete."""
        with written_whole(part.with_suffix(".index")) as temporary:
            rows = zip(*self.index, strict=True) if self.index else [[]] * len(SCHEMA)
            pq.write_table(pa.table([list(each) for each in rows], schema=SCHEMA), temporary, compression="zstd")
        facts = {"stop": self.stop, "name": self.name, "bytes": bytes, "bad": [asdict(each) for each in self.bad]}
        facts |= {"start": self.start, "files": hash_of(self.stamps)}
        values = {name: pa.array(found, reader.types[name]) for name, found in self.places.items()}
        made = pa.table({"row": pa.array(self.rows, pa.int64()), **values})
        with written_whole(part) as temporary:
            pq.write_table(made.replace_schema_metadata({"medvlp": json.dumps(facts)}), temporary, compression="zstd")


class _Reader:
    """The members of each record, all of them read before one is written."""

    def __init__(self, manifest: Manifest, columns: tuple[str, ...], masks: tuple[str, ...]) -> None:
        self.manifest, self._columns, self._masks = manifest, columns, masks
        self._words = [name for name in manifest.names if name not in (*columns, *masks)]
        self._only = len(columns) == 1 and not columns[0].startswith("stack") and not masks
        # A stack may be a folder, which becomes the list of its files.
        listed = {name: name.partition(".")[0] == "stack" for name in columns}
        self.types = {name: pa.list_(pa.string()) if listed.get(name) else pa.string() for name in (*columns, *masks)}

    def __call__(self, row: int) -> tuple[list[tuple[str, bytes]], dict[str, list[tuple[int, str]]]]:
        """Return endings and bytes of a record's members, and column -> which of them it names, with what follows."""
        found: list[tuple[str, bytes]] = []
        named: dict[str, list[tuple[int, str]]] = {}
        for name in self._columns:
            paths = self.manifest.paths(row, name)
            paths = stack_files(paths) if pa.types.is_list(self.types[name]) else paths
            for path in paths:
                data, ending = _content(path)
                inner = f".{len(named.get(name, [])):04}" if pa.types.is_list(self.types[name]) else ""
                named.setdefault(name, []).append((len(found), ""))
                found.append((ending if self._only else f".{name}{inner}{ending}", data))
        seen: dict[Path, int] = {}
        for name in self._masks:
            value = self.manifest.arrow(name)[row].as_py()
            if value:
                file, values = mask_path(value)
                path = within(self.manifest.root, file)
                if path not in seen:
                    data, ending = _content(path)
                    seen[path] = len(found)
                    found.append((f".{name}{ending}", data))
                named[name] = [(seen[path], f"#{','.join(map(str, values))}" if values else "")]
        words = {name: self.manifest.arrow(name)[row].as_py() for name in self._words}
        words = {name: value for name, value in words.items() if value is not None}
        return [*found, (".json", json.dumps(words, ensure_ascii=False).encode())], named

    def stamps(self, row: int) -> list[object]:
        """Return size and time of each file of a record, None of one that is not there."""
        paths = [path for name in self._columns for path in self.manifest.paths(row, name)]
        masks = (self.manifest.arrow(name)[row].as_py() for name in self._masks)
        paths += [within(self.manifest.root, mask_path(value)[0]) for value in masks if value]
        return [*stamps_anywhere(paths)]


def _content(path: Path) -> tuple[bytes, str]:
    """Return the bytes of a file, or of a zip of a folder's files, and the ending that says what they are."""
    if path.suffix == ".safetensors":
        raise DataError(f"{path} is a stack file, which is read slice by slice from the disk: leave such as files.")
    if path.is_dir():
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:  # stored, dated 1980: the same folder gives the same bytes
            for number, file in enumerate(sorted(each for each in path.iterdir() if each.is_file())):
                archive.writestr(zipfile.ZipInfo(f"{number:06}{file.suffix.lower()}"), _content(file)[0])
        return whole.getvalue(), ".zip"
    with open_regular(path) as stream:
        data = stream.read()
    if not data:
        raise UnreadableImage("empty", detail="it has 0 bytes", path=path)
    if len(data) > _MOST:
        raise UnreadableImage("too_large", detail=f"it has {len(data)} bytes, a tar's header tells {_MOST}", path=path)
    name = path.name.lower()
    if name.endswith(".nii.gz") or re.fullmatch(r"\.[a-z][a-z0-9]{0,9}", path.suffix.lower()):
        return data, ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()
    try:
        return data, _ENDINGS[sniff(io.BytesIO(data))]
    except UnreadableImage:
        return data, ".bin"


def _write(shard: _Shard, path: Path, reader: _Reader, size: int, tell: Callable[[int], None]) -> None:
    with open(path, "wb") as tar:
        shard.stop = shard.start
        while shard.stop < len(reader.manifest) and tar.tell() < size:
            row, shard.stop = shard.stop, shard.stop + 1
            shard.stamps.append(reader.stamps(row))
            try:
                members, named = reader(row)
            except UnreadableImage as error:
                shard.bad.append(quarantined(reader.manifest.arrow("id")[row].as_py(), error))
                continue
            places = [str(_add(shard, tar, f"{row:012}", ending, data)) for ending, data in members]
            shard.rows.append(row)
            for name, values in shard.places.items():
                found = [places[at] + suffix for at, suffix in named.get(name, [])]
                values.append((found if pa.types.is_list(reader.types[name]) else found[0]) if found else None)
            tell(shard.stop)
        tar.write(bytes(-(tar.tell() + 2 * BLOCK) % _ENDS + 2 * BLOCK))


def _add(shard: _Shard, tar: io.BufferedWriter, key: str, ending: str, data: bytes) -> TarMember:
    """Write a member: mode 0644, no owner, no time."""
    head = tarfile.TarInfo(f"{key}{ending}")
    head.size = len(data)
    tar.write(head.tobuf(tarfile.USTAR_FORMAT))
    place = TarMember(shard.name, tar.tell(), len(data), head.name)
    tar.write(data)
    tar.write(bytes(-len(data) % BLOCK))
    shard.index.append((shard.name, key, head.name, place.offset, len(data), hashlib.sha256(data).digest()))
    return place


def _begun(source: str) -> dict[str, object]:
    return {"source": source, "code": sha256_of(Path(__file__))}


def _check_begun(out: Path, parts: Path, source: str) -> None:
    if (parts / "source.json").is_file():
        if read_json(parts / "source.json") != _begun(source):
            raise UserError(
                f"{out} was begun with another manifest or size, or by another version of medvlp: use the same, or "
                "another folder."
            )
    elif any(each != parts for each in out.glob("*")) or any(each.name[0] != "." for each in parts.glob("*")):
        raise UserError(f"{out} holds other files: name a new folder for the shards.")


def _is_made(part: Path, row: int, reader: _Reader) -> bool:
    """Whether a shard is there that begins at a row, and whose files are still those that it was made of."""
    if not part.is_file():
        return False
    facts = _facts(part)
    stamps = [reader.stamps(each) for each in range(row, facts["stop"])]
    return facts["start"] == row and facts["files"] == hash_of(stamps)


def _facts(part: Path) -> dict[str, Any]:
    return json.loads((pq.read_schema(part).metadata or {})[b"medvlp"])


def _finish(manifest: Manifest, out: Path, parts: Path, source: str, *, count: int) -> None:
    files = [parts / f"{number:06}.parquet" for number in range(count)]
    facts = [_facts(file) for file in files]
    bad = tuple(Quarantined(**entry) for each in facts for entry in each["bad"])
    made = pa.concat_tables([pq.read_table(file).replace_schema_metadata(None) for file in files])
    if not len(made):
        raise NothingReadableError(bad)
    sizes = {each["name"]: each["bytes"] for each in facts if each["bytes"]}
    schema = SCHEMA.with_metadata({"medvlp": json.dumps({"shards": sizes})})
    with written_whole(out / INDEX) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for file in files:
            writer.write_table(pq.read_table(file.with_suffix(".index")).replace_schema_metadata(schema.metadata))
    write_quarantine(out / "quarantine.csv", bad)
    sharded = manifest.take(made["row"].to_numpy())
    for name in made.column_names[1:]:
        sharded = sharded.with_column(name, made[name])
    sharded.root = out
    listed = [asdict(entry) for entry in bad]
    sharded.meta |= {"shards": {"source": source, "count": len(sizes), "quarantined": listed}}
    for tar in out.glob("shard-*.tar"):  # of files that were larger when a run was interrupted
        if tar.name not in sizes:
            tar.unlink()
    remove_left(out)
    sharded.save(out / "manifest.parquet")


def _finished(table: Path, source: str) -> Sharded:
    known: Any = Manifest.load(table).meta.get("shards") if table.is_file() else None
    if not isinstance(known, dict) or known.get("source") != source:
        raise UserError(f"{table.parent} holds shards of another manifest or size: name a new folder.")
    try:
        sizes = json.loads((pq.read_schema(table.parent / INDEX).metadata or {})[b"medvlp"])["shards"]
    except (OSError, ValueError, KeyError):
        sizes = {INDEX: -1}
    there = {path.name: path.stat().st_size for path in table.parent.iterdir()}
    if lost := [name for name, size in sizes.items() if there.get(name) != size]:
        raise UserError(
            f"{table.parent / lost[0]} is gone or has another size than when it was packed ({len(lost)} files are so): "
            "bring it back, or pack into a new folder."
        )
    bad = tuple(Quarantined(**entry) for entry in known["quarantined"])
    return Sharded(table, int(known["count"]), pq.read_metadata(table).num_rows, bad)
