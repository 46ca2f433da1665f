"""Choose records of a manifest by a rule of `medvlp.curation`: count, decide, write both the chosen and the others."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medvlp.config.yaml import override
from medvlp.core.curator import Curator, Verdict
from medvlp.core.errors import DataError
from medvlp.core.files import check_outputs, written_whole
from medvlp.core.registry import build
from medvlp.core.suggest import did_you_mean
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress


@dataclass(frozen=True)
class Curated:
    """A curated manifest.

    Attributes:
        manifest: the records that stay, with the fields that they gained.
        left_out: reason -> how many.
        listed: CSV (id, reason) of those that were left out.
    """

    manifest: Manifest
    left_out: dict[str, int]
    listed: Path


def curate(
    path: Path,
    out: Path,
    *,
    rule: str,
    options: Sequence[str] = (),
    part: str | None = None,
    progress: Progress | None = None,
) -> Curated:
    """Apply a rule to a manifest.

    Args:
        path: of the manifest.
        out: of the chosen records; those left out are listed beside it, ``NAME.left_out.csv``.
        rule: component of `medvlp.curation`.
        options: of the rule, ``key.path=value``.
        part: split that is curated; records of the others stay as they are. None: all records.
        progress: called with (done, total).

    Raises:
        ConfigError: for an unknown rule or option.
        DataError: if a column that the rule reads or the split is missing, or no record stays.
    """
    listed = out.with_suffix(".left_out.csv")
    check_outputs([out, listed], inputs=[path])
    spec: dict[str, object] = {"name": rule}
    for text in options:
        spec = override(spec, text)
    curator: Curator[object] = build("curation", spec, where=f"rule {rule!r}")
    manifest = Manifest.load(path)
    lacking = [name for name in (*curator.reads, *(["split"] if part else [])) if name not in manifest]
    if lacking:
        raise DataError(f"{path} has no column {lacking[0]!r}, which rule {rule!r} reads: it has {manifest.names}.")
    if part is not None and part not in (known := sorted({str(each) for each in manifest.column("split") if each})):
        raise DataError(f"{path} has no split {part!r}: {did_you_mean(part, known)}.")
    verdicts = _verdicts(curator, manifest, part, progress)
    stays = [not verdict.reason for verdict in verdicts]
    if not any(stays):
        raise DataError(f"Rule {rule!r} leaves no record of {path}: give other options.")
    chosen = manifest.take([place for place, stay in enumerate(stays) if stay])
    for name in sorted({name for verdict in verdicts for name in verdict.more}):
        chosen = chosen.with_column(name, [v.more.get(name) for v in verdicts if not v.reason])
    chosen.save(out)
    ids = manifest.column("id")
    with written_whole(listed) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["id", "reason"])
        writer.writerows([ids[place], v.reason] for place, v in enumerate(verdicts) if v.reason)
    return Curated(chosen, dict(Counter(v.reason for v in verdicts if v.reason)), listed)


def _verdicts(
    curator: Curator[object], manifest: Manifest, part: str | None, progress: Progress | None
) -> list[Verdict]:
    """Count, then decide; a record without what is read is ``blank``, one of another part stays."""
    total = len(manifest)
    records = [manifest.record(place) for place in range(total)]
    asked = [part is None or record.get("split") == part for record in records]
    whole = [own and all(name in record for name in curator.reads) for own, record in zip(asked, records, strict=True)]
    counts = curator.measure(record for record, there in zip(records, whole, strict=True) if there)
    verdicts = []
    for place, record in enumerate(records):
        blank = Verdict("blank" if asked[place] else "")
        verdicts.append(curator.apply(record, counts) if whole[place] else blank)
        if progress is not None:
            progress(place + 1, total)
    return verdicts
