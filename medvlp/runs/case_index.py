"""From a feature table and its manifest to an index of cases that a reader can search and show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.features.case_index import CaseIndex
from medvlp.text.mentions import read_report, sentences_of_image


def make_case_index(manifest: Path, table: FeatureTable, *, root: Path | None) -> CaseIndex:
    """Return the index of the pictures of a feature table.

    Findings are those of the manifest's labels, where it has none those that the report states. A report is kept, its
    findings and impression, where the manifest's column ``deidentified`` says yes of the record.

    Args:
        manifest: that it was made of.
        table: of `embed_manifest`, whose ``meta`` names the model.
        root: folder of the files.

    Raises:
        DataError: if the table has no features of pictures.
    """
    records = Manifest.load(manifest, root=root)
    columns_of_images = [name for name in table.columns if not name.startswith("text/")]
    seen = [np.isfinite(table[name]).all(axis=1) for name in columns_of_images]
    if not columns_of_images or not np.any(seen):
        raise DataError(f"{manifest} names no picture that was embedded, so there is nothing to find: index pictures.")
    sentences = {"reports": table["text/embedding"]} if "text/embedding" in table.columns else {}
    table = table.rows(np.any(seen, axis=0))
    at = {name: row for row, name in enumerate(records.column("id").tolist())}
    rows = [at[name] for name in table.ids]
    reports = _column(records, "text", rows)
    free = [value == "yes" for value in _column(records, "deidentified", rows)]
    studies = {study: number for number, study in enumerate(dict.fromkeys(_column(records, "id.study", rows)), start=1)}
    words = [" ".join(sentences_of_image(str(text))) if text else "" for text in reports]  # a history tells who it is
    columns = {
        **{name: table.columns[name] for name in columns_of_images},
        "findings": [", ".join(each) for each in _findings(records, rows, words)],
        "report": [text if open_ else "" for text, open_ in zip(words, free, strict=True)],
        "study": [studies[each] if each else 0 for each in _column(records, "id.study", rows)],
    }
    ids = [f"case {number:05d}" for number in range(1, len(rows) + 1)]
    meta = {
        "model": table.meta["model"],
        "data": records.hash,
        "synthetic": bool(records.meta.get("synthetic", False)),
        "reports": sum(1 for text in columns["report"] if text),
    }
    return CaseIndex(FeatureTable(ids, columns), meta).with_lists(sentences)


def _column(records: Manifest, name: str, rows: Sequence[int]) -> list[object]:
    values = records.column(name).tolist() if name in records else [None] * len(records)
    return [values[row] for row in rows]


def _findings(records: Manifest, rows: Sequence[int], reports: Sequence[str]) -> list[list[str]]:
    names = records.names_of("label")
    if not names:
        return [sorted({m.finding for m in read_report(text) if m.presence == "present"}) for text in reports]
    labels = {name.removeprefix("label."): records.column(name) for name in names}
    return [[name for name, values in labels.items() if values[row] == 1] for row in rows]
