"""Choose records of a manifest by a rule of `medvlp.curation`: count, decide, write both the chosen and the others."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa

from medvlp.config.yaml import override
from medvlp.core.curator import Curator, Record, Verdict
from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.files import check_outputs, inert, written_whole
from medvlp.core.registry import build
from medvlp.data._columns import normal, pc
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, Workers, chunked, notify, run_chunks
from medvlp.runs.index import check_manifest_name

_CHUNK = 4096  # rows


@dataclass(frozen=True)
class Curated:
    """What a rule made of a manifest.

    Attributes:
        records: how many stay; the written manifest has them, with the fields that they gained.
        left_out: reason -> how many.
        listed: CSV (id, reason) of those that were left out.
    """

    records: int
    left_out: dict[str, int]
    listed: Path


def curate(
    path: Path,
    out: Path,
    *,
    rule: str,
    options: Sequence[str] = (),
    part: str | None = None,
    workers: Workers = 0,
    progress: Progress | None = None,
) -> Curated:
    """Apply a rule to a manifest, a chunk of rows at a time: in memory are the counts and, of each process, a chunk.

    Both files are the same bytes for any number of processes.

    Args:
        path: of the manifest.
        out: of the chosen records; those left out are listed beside it, ``NAME.left_out.csv``.
        rule: component of `medvlp.curation`.
        options: of the rule, ``key.path=value``.
        part: split that is curated; records of the others stay as they are. None: all records.
        workers: processes, 0 works in this one; or what spreads the work over other machines.
        progress: called with (done, total).

    Raises:
        ConfigError: for an unknown rule or option, or another ending than ``.parquet``.
        DataError: if a column that the rule reads or the split is missing, or no record stays.
    """
    listed = out.with_suffix(".left_out.csv")
    check_manifest_name(out)
    check_outputs([out, listed], inputs=[path])
    spec = reduce(override, options, {"name": rule})
    curator: Curator[object] = build("curation", spec, where=f"rule {rule!r}")
    manifest = Manifest.load(path)
    lacking = [name for name in (*curator.reads, *(["split"] if part else [])) if name not in manifest]
    if lacking:
        raise DataError(f"{path} has no column {lacking[0]!r}, which rule {rule!r} reads: it has {manifest.names}.")
    pool = _Pool(curator, manifest, *_asked(path, manifest, curator, part))
    left_out: Counter[str] = Counter()
    with written_whole(listed) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["id", "reason"])

        def chosen() -> Iterator[pa.Table]:
            stay = 0
            for table, asked, verdicts in _judged(pool, workers, progress):
                gone = [(name, v.reason) for name, v in zip(table["id"].to_pylist(), verdicts, strict=True) if v.reason]
                writer.writerows([inert(name), reason] for name, reason in gone)
                left_out.update(reason for _, reason in gone)
                stay += len(verdicts) - len(gone)
                yield _with_more(table, asked, verdicts, curator.adds)
            if not stay:
                reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
                raise DataError(f"Rule {rule!r} leaves no record of {path} ({reasons}): give other options.")

        count = manifest.save_pieces(out, chosen())
    return Curated(count, dict(left_out), listed)


def _asked(path: Path, manifest: Manifest, curator: Curator[object], part: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Which records are curated, and which of them have what the rule reads: (N,) bool each."""
    asked = np.ones(len(manifest), bool)
    if part is not None:
        split = manifest.arrow("split")
        if part not in (known := sorted(str(each) for each in split.unique().to_pylist() if each)):
            raise DataError(f"{path} has no split {part!r}: {did_you_mean(part, known)}.")
        asked = pc.fill_null(pc.equal(split, part), False).to_numpy(zero_copy_only=False)
    whole = asked.copy()
    for name in curator.reads:
        whole &= manifest.arrow(name).is_valid().to_numpy(zero_copy_only=False)
    return asked, whole


@dataclass
class _Pool:
    """What each process needs.

    Attributes:
        asked: (N,) records that are curated.
        whole: (N,) those of them that have what the rule reads.
        counts: over these, once they are known.
    """

    curator: Curator[object]
    manifest: Manifest
    asked: np.ndarray
    whole: np.ndarray
    counts: object = None

    def records(self, rows: Sequence[int]) -> Iterator[Record]:
        """Those of some rows that are whole, without their blanks."""
        table = self.manifest.piece(rows[0], rows[-1] + 1).to_pylist()
        for at, record in zip(rows, table, strict=True):
            if self.whole[at]:
                yield {name: value for name, value in record.items() if value is not None}


def _judged(
    pool: _Pool, workers: Workers, progress: Progress | None
) -> Iterator[tuple[pa.Table, np.ndarray, list[Verdict]]]:
    """Count over all records, then give chunk by chunk its rows, which of them are curated and what becomes of each.

    A record without what is read is ``blank``, one of another part stays.
    """
    total = len(pool.whole)
    chunks = chunked(range(total), _CHUNK)
    first = list(pool.records([int(np.argmax(pool.whole))]))
    for record in first:  # what the rule loads is loaded before there are processes, which then share its memory
        pool.curator.count(record)
    for rows, more in zip(chunks, run_chunks(_count, pool, chunks, workers=workers), strict=True):
        if more is not None:
            pool.counts = pool.curator.add(pool.counts, more)
        notify(progress, (rows[-1] + 1) // 2, total)
    for record in first:
        pool.curator.apply(record, pool.counts)
    for rows, verdicts in zip(chunks, run_chunks(_decide, pool, chunks, workers=workers), strict=True):
        given = iter(verdicts)
        each = [next(given) if pool.whole[at] else Verdict("blank" if pool.asked[at] else "") for at in rows]
        yield pool.manifest.piece(rows[0], rows[-1] + 1), pool.asked[rows[0] : rows[-1] + 1], each
        notify(progress, (total + rows[-1] + 1) // 2, total)


def _count(pool: _Pool, rows: Sequence[int]) -> object:
    return pool.curator.measure(pool.records(rows))


def _decide(pool: _Pool, rows: Sequence[int]) -> list[Verdict]:
    return [pool.curator.apply(record, pool.counts) for record in pool.records(rows)]


def _with_more(table: pa.Table, asked: np.ndarray, verdicts: list[Verdict], adds: Sequence[str]) -> pa.Table:
    """Rows that stay, those that are curated with what they gained, the others with what they had."""
    if stray := {name for verdict in verdicts for name in verdict.more} - set(adds):
        raise ValueError(f"The rule gives {sorted(stray)} and does not say so: name all in `adds`.")
    remaining = pa.array([not verdict.reason for verdict in verdicts])
    stay, curated = table.filter(remaining), pa.array(asked).filter(remaining)
    for name in adds:
        values = pa.array([v.more.get(name) for v in verdicts if not v.reason], pa.string())
        column, place = normal(name, values, None, ""), stay.schema.get_field_index(name)
        if place < 0:
            stay = stay.append_column(name, column)
        else:
            stay = stay.set_column(place, name, pc.if_else(curated, column, stay.column(place)))
    return stay
