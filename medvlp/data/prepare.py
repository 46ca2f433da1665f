"""Before training: read every record once, leave out what cannot be read, keep the rest where it is quick to reach."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import sha256_of
from medvlp.core.provenance import code_hash, hash_of
from medvlp.core.sample import Sample
from medvlp.core.views import ReadsBeside, ShapedByFile, View
from medvlp.data.cache import Cache, locked, make_room
from medvlp.data.contents import content_hashes, decoder_versions
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, notify
from medvlp.data.pipeline import Records, read_numbers, view_spec
from medvlp.data.pool import Pool
from medvlp.data.pool_rows import Array, Row, depths_of, open_arrays, read_row
from medvlp.data.quarantine import NothingReadableError, Quarantined, allowed_failures, refuse_too_many


class Store:
    """What the prefix made of the records of one manifest, in its order.

    Args:
        pool: open pool; it is held until the store is gone.
        changes: words and geometry of each record, JSON.
    """

    def __init__(self, pool: Pool, rows: np.ndarray, changes: pa.Array) -> None:
        self._pool: Pool | None = pool
        self._folder = pool.folder
        self._arrays: dict[str, Array] = dict(pool.arrays)
        self._rows = rows
        self._changes = changes
        self._data = pool.open_arrays()

    def sample(self, index: int, base: Sample, *, pixels: bool = True) -> Sample:
        """Put the prefix's work over the fields of a record."""
        row, changes = int(self._rows[index]), self._changes[index].as_py()
        return read_row(self._folder, self._arrays, self._data if pixels else {}, row, changes, base)

    def stacked_bytes(self) -> np.ndarray | None:
        """Bytes of each record's stacks as a batch holds them, (N,) int64; None where there are no stacks."""
        stacks = {name: math.prod(array.shape) for name, array in self._arrays.items() if array.depth is not None}
        if not stacks:
            return None
        depths = (depths_of(changes.as_py()).items() for changes in self._changes)
        return np.array([4 * sum(stacks[name] * depth for name, depth in some) for some in depths], np.int64)

    def __getstate__(self) -> dict[str, object]:
        # A spawned worker maps the files again; a forked one shares them.
        return {**self.__dict__, "_pool": None, "_data": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._data = open_arrays(self._folder, self._arrays)


@dataclass(frozen=True)
class Prepared:
    """A cohort that is ready to be loaded.

    Attributes:
        manifest: the readable records.
        quarantined: the others, with reasons.
        records: rows as samples.
        store: what the prefix made of them; None where there was no prefix.
    """

    manifest: Manifest
    quarantined: tuple[Quarantined, ...]
    records: Records
    store: Store | None

    def __len__(self) -> int:
        return len(self.manifest)

    def sample(self, index: int, *, pixels: bool = True) -> Sample:
        """Record `index` after the prefix; without `pixels` nothing is read that the prefix made of its films."""
        base = self.records.sample(index, paths=self.store is None)
        return base if self.store is None else self.store.sample(index, base, pixels=pixels)


def prepare(
    manifest: Manifest,
    prefix: Sequence[View],
    *,
    cache: Cache | Path | None = None,
    workers: int = 0,
    cap: float = 0.02,
    progress: Progress | None = None,
) -> Prepared:
    """Run the deterministic prefix over a cohort, from the cache where it was done before.

    A record is known by the SHA-256 of its files' bytes and its words, so a moved or re-indexed archive, another
    split and a smaller cohort all find it again. Several processes may prepare the same data: one works, the others
    wait.

    Args:
        manifest: the cohort.
        prefix: views, all with ``random = False``; they may read image-like and text fields, and the numbers that they
            name in a property `numbers`.
        cache: the cache or its folder; default `Cache.default()`.
        workers: processes for hashing and reading; 0 works in this one.
        cap: largest fraction of unreadable records; more stop the run.

    Raises:
        ConfigError: if a view of the prefix is random, or makes what the cache cannot hold.
        DataError: if more than `cap` of the records cannot be read, or the cache is too small.
        NothingReadableError: if none can be read, whatever `cap` is.

    Example:
        >>> from medvlp.data.views.sections import Sections
        >>> m = Manifest.of({"id": ["a"], "text": ["IMPRESSION: Normal."]}, root=Path("."))
        >>> import tempfile
        >>> prepare(m, [Sections()], cache=Cache(Path(tempfile.mkdtemp()))).sample(0).fields
        {'text': 'Normal.'}
    """
    records = Records(manifest)
    for view in prefix:
        if view.random:
            raise ConfigError(f"The view {view_spec(view)['name']!r} is random: move it from the prefix to the suffix.")
    if not prefix:
        return Prepared(manifest, (), records, None)
    cache = Cache(cache) if isinstance(cache, Path) else cache or Cache.default()
    keys, unread = _keys(records, prefix, cache, workers)
    pool = Pool(cache.pools / pool_name(prefix, records), prefix)
    failed = _fill(pool, records, keys, cache=cache, workers=workers, cap=cap, progress=progress, unread=unread)
    found = pool.lookup(keys)
    pool.finish()
    readable = np.array([place is not None and index not in failed for index, place in enumerate(found)])
    lost = tuple(failed[index] for index in sorted(failed))
    if int(readable.sum()) + len(failed) < len(manifest):
        raise DataError(
            f"The cache pool {pool.folder} lost records while it was in use: start again, they will be made again."
        )
    refuse_too_many(lost, total=len(manifest), root=manifest.root, cap=cap)
    good = [place for place, here in zip(found, readable, strict=True) if place is not None and here]
    if not good:
        raise NothingReadableError(lost)
    store = Store(
        pool,
        np.array([row for row, _ in good], np.int64),
        pa.array([changes for _, changes in good], pa.large_string()),
    )
    if readable.all():
        return Prepared(manifest, lost, records, store)
    rest = manifest.take(readable)
    return Prepared(rest, lost, Records(rest), store)


def pool_name(prefix: Sequence[View], records: Records | None = None) -> str:
    """Return the hash of the views with all options, of the code that runs them, and of the decoders' versions.

    Where files of the records alone say what shape the views make, of that of the first that can be read too.
    """
    sources = [sha256_of(Path(inspect.getfile(type(view)))) for view in prefix]
    shapes = [
        next(filter(None, map(view.shape_of, map(records.sample, range(len(records.manifest))))), None)
        for view in prefix
        if records is not None and isinstance(view, ShapedByFile)
    ]
    return hash_of([[view_spec(view) for view in prefix], sources, _code(), decoder_versions(), *shapes])


def _code() -> str:
    return code_hash("io", "text", "data/views")


def _keys(records: Records, prefix: Sequence[View], cache: Cache, workers: int) -> tuple[list[str], set[int]]:
    """Return the key of each record, and the records one of whose files could not be hashed."""
    manifest = records.manifest
    parts: list[list[str]] = []
    unread: set[int] = set()
    read: dict[str, list[tuple[Path, ...]]] = {}
    for name in manifest.file_columns:
        there = manifest.arrow(name).is_valid().to_numpy(zero_copy_only=False)
        read[name] = [manifest.paths(i, name) if there[i] else () for i in range(len(manifest))]
    for place, view in enumerate(prefix):
        if isinstance(view, ReadsBeside):
            found, known = [], []
            for sample in map(records.sample, range(len(manifest))):
                found.append(view.beside(sample))
                # Which boxes and masks it leaves out stands in the row: with others the row is another one.
                marks = [name for name in sample.fields if name.partition(".")[0] in ("boxes", "mask")]
                known.append(chr(31).join((*found[-1], *marks)))
            read[f"beside {place}"] = [tuple(each.values()) for each in found]
            parts.append(known)
    for name, paths in read.items():
        flat = iter(content_hashes([path for files in paths for path in files], cache=cache, workers=workers))
        hashes = [[next(flat) for _ in files] for files in paths]
        unread |= {i for i, found in enumerate(hashes) if not all(found)}
        parts.append([f"{name}\x1f{chr(31).join(found)}" for found in hashes])
    for name in manifest.names_of("text"):
        parts.append([f"{name}\x1f{value or ''}" for value in manifest.arrow(name).to_pylist()])
    for name in (n for n in read_numbers(prefix) if n in manifest):
        parts.append([f"{name}\x1f{value}" for value in manifest.arrow(name).to_pylist()])
    joined = ("\x1e".join(row) for row in zip(*parts, strict=True))
    return [hashlib.sha256(text.encode()).hexdigest()[:32] for text in joined], unread


def _fill(
    pool: Pool,
    records: Records,
    keys: Sequence[str],
    *,
    cache: Cache,
    workers: int,
    cap: float,
    progress: Progress | None,
    unread: set[int],
) -> dict[int, Quarantined]:
    """Make what is missing; return the records that failed."""
    total = len(keys)
    failed: dict[int, Quarantined] = {}

    def note(results: Sequence[Row]) -> None:
        failed.update({result.index: result.failure for result in results if result.failure is not None})
        if len(failed) > allowed_failures(total, cap):
            refuse_too_many(list(failed.values()), total=total, root=records.manifest.root, cap=cap, stopped=True)

    if all(place is not None for place in pool.lookup(keys)) and not unread:
        return failed
    with locked(pool.folder / "fill"):
        pool.catch_up()  # whoever held the lock may have filled the pool
        found = pool.lookup(keys)
        # A file without a hash has no key of its own: it is only tried to learn why it cannot be read.
        missing = {
            key: i for i, (key, place) in enumerate(zip(keys, found, strict=True)) if place is None and i not in unread
        }
        todo = sorted([(index, key) for key, index in missing.items()] + [(i, f"{keys[i]}?{i}") for i in unread])
        note(pool.learn_shapes(records, [index for index, _ in todo], patience=allowed_failures(total, cap)))
        todo = [(index, key) for index, key in todo if index not in failed]
        room, used = len(todo) * pool.row_bytes, 0
        make_room(cache, pool=pool.folder.name, needed=max(0, room - pool.reserved))
        done = first = total - len(todo)
        for results in pool.fill(records, todo, workers=workers):
            note(results)
            done += len(results)
            used += sum(result.bytes for result in results)
            if used > room:  # stacks are deeper than the first one was, and so may the others be
                needed = used * (total - done) // (done - first)
                make_room(cache, pool=pool.folder.name, needed=needed)
                room = used + needed
            notify(progress, done, total)
    for index in unread - set(failed):
        failed[index] = Quarantined(
            records.sample(index, paths=False).id, "changed", "the file changed while it was read"
        )
    # Records with the same content as one that failed are unreadable too.
    bad = {keys[index]: entry for index, entry in failed.items() if index not in unread}
    for index, key in enumerate(keys):
        if key in bad and index not in failed:
            failed[index] = Quarantined(records.sample(index, paths=False).id, bad[key].reason, bad[key].hint)
    return failed
