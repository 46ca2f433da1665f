"""The offset index beside tar shards: where each file's bytes begin, how many they are, and their SHA-256.

``index.parquet`` has a row a member, in the shards' order: ``shard``, ``key`` (of the sample), ``member`` (name in the
tar), ``offset`` and ``size`` (bytes), ``sha256`` (32 bytes). Its metadata name each shard's own size: the hashes of a
shard that has another by now are not believed.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medvlp.data._columns import pc
from medvlp.data.manifest import Manifest
from medvlp.io.member import TarMember, fetch, member_of, size_and_time, url_of

INDEX = "index.parquet"
_PARTS = r"(?s)^(?P<shard>.+\.tar)/(?P<offset>\d{1,15})\+(?P<size>\d{1,15})/[^/]+$"
SCHEMA = pa.schema(
    [("shard", pa.string()), ("key", pa.string()), ("member", pa.string()), ("offset", pa.int64()),
     ("size", pa.int64()), ("sha256", pa.binary(32))]
)  # fmt: skip
_PLACE = 44  # bits of an offset: shards of up to 16 TB


def indexed_hashes(paths: Sequence[Path | None]) -> list[str]:
    """Return the SHA-256, in hex, of files in shards that have an index; empty for all others.

    Example:
        >>> indexed_hashes([None, Path("a.png")])
        ['', '']
    """
    found = [""] * len(paths)
    folders: dict[str, list[tuple[int, TarMember]]] = defaultdict(list)
    for place, path in enumerate(paths):
        name = "" if path is None else str(path)
        member = member_of(name) if ".tar/" in name else None
        if member is not None:
            folders[member.shard.rpartition("/")[0]].append((place, member))
    for folder, asked in folders.items():
        index = _index(folder, _stamp(Path(folder, INDEX)))
        if index is not None:
            for (place, _), sha in zip(asked, index.hashes([member for _, member in asked]), strict=True):
                found[place] = sha
    return found


def column_hashes(manifest: Manifest, name: str) -> pa.Array | None:
    """Return the SHA-256 of a column's files, (N,) 32 bytes each, missing where the row has none.

    None where one of them is in no shard with an index, or not all shards lie in one folder.
    """
    words = manifest.arrow(name)
    if not pa.types.is_string(words.type):
        return None
    there = words.is_valid().to_numpy(zero_copy_only=False)
    found = pc.extract_regex(words.drop_null(), _PARTS)
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if found.null_count or not len(found):
        return None
    shard = found.field("shard").dictionary_encode()
    folders = {each.rpartition("/")[0] for each in shard.dictionary.to_pylist()}
    folder = str(manifest.root / folders.pop())
    index = None if folders else _index(folder, _stamp(Path(folder, INDEX)))
    if index is None:
        return None
    names = [index.shards.get(each.rpartition("/")[2], -1) for each in shard.dictionary.to_pylist()]
    places = [pc.cast(found.field(each), pa.int64()).to_numpy() for each in ("offset", "size")]
    at, known = index.rows(np.array(names, np.int64)[shard.indices.to_numpy()], *places)
    if not known.all():
        return None
    rows = np.zeros(len(there), np.int64)
    rows[there] = at
    values = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(index.sha256), [None, pa.py_buffer(index.sha256)])
    return values.take(pa.array(rows, mask=~there))


@dataclass(frozen=True, eq=False)
class _Index:
    """Numbers of the shards, and of each member (N,), sorted: its place, its size and its hash (N, 32)."""

    shards: dict[str, int]
    places: np.ndarray
    sizes: np.ndarray
    sha256: np.ndarray

    def rows(self, numbers: np.ndarray, offsets: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of members, and whether they are known."""
        wanted = (numbers << _PLACE) + offsets
        at = np.minimum(np.searchsorted(self.places, wanted), len(self.places) - 1)
        return at, (numbers >= 0) & (self.places[at] == wanted) & (self.sizes[at] == sizes)

    def hashes(self, members: Sequence[TarMember]) -> list[str]:
        numbers = [self.shards.get(member.shard.rpartition("/")[2], -1) for member in members]
        places = [[member.offset for member in members], [member.size for member in members]]
        at, known = self.rows(*(np.array(each, np.int64) for each in (numbers, *places)))
        return [self.sha256[row].tobytes().hex() if here else "" for row, here in zip(at, known, strict=True)]


@lru_cache(maxsize=4)
def _index(folder: str, stamp: tuple[int, int]) -> _Index | None:
    """Read the index of a folder of shards, or of a URL; None where there is none that can be read; by `stamp` too."""
    url = url_of(folder)
    try:
        table = pq.read_table(Path(folder, INDEX) if url is None else io.BytesIO(fetch(f"{url}/{INDEX}")))
        if not len(table) or not table.schema.remove_metadata().equals(SCHEMA):
            return None
        sizes = json.loads((table.schema.metadata or {}).get(b"medvlp", b"{}")).get("shards", {})
    except (OSError, pa.ArrowInvalid, ValueError):
        return None  # its files are then hashed themselves
    whole = {name: size for name, size in sizes.items() if url is not None or _stamp(Path(folder, name))[0] == size}
    names = {name: number for number, name in enumerate(sizes)}
    shard = table["shard"].combine_chunks().dictionary_encode()
    numbers = np.array([names.get(name, -1) for name in shard.dictionary.to_pylist()], np.int64)
    places = (numbers[shard.indices.to_numpy()] << _PLACE) + table["offset"].to_numpy()
    order = np.argsort(places, kind="stable")
    sha256 = np.frombuffer(table["sha256"].combine_chunks().buffers()[1], np.uint8)[: 32 * len(table)].reshape(-1, 32)
    shards = {name: number for name, number in names.items() if name in whole}
    return _Index(shards, places[order], table["size"].to_numpy()[order], np.ascontiguousarray(sha256[order]))


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file; -1 bytes where there is none."""
    try:
        return size_and_time(path)
    except OSError:
        return -1, 0
