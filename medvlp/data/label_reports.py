"""A table or manifest of reports -> one of labels, with the mentions as evidence: what ``medvlp data label`` does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.core.files import write_text
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, notify
from medvlp.data.text_table import Table, read_table
from medvlp.text.labels import label_mentions
from medvlp.text.language import is_blank, is_english
from medvlp.text.mentions import read_report
from medvlp.text.ontology import vocabulary
from medvlp.text.sections import check_sections


@dataclass(frozen=True, slots=True)
class LabelledReports:
    """What became of a table of reports.

    Attributes:
        empty: ids of reports without text; their labels are blank.
        foreign: ids of reports in another language than English; their labels are blank.
    """

    reports: int
    empty: tuple[str, ...]
    foreign: tuple[str, ...]


def label_reports(
    reports: Path,
    out: Path,
    *,
    vocabulary_name: str,
    columns: Mapping[str, str] | None = None,
    encoding: str = "utf-8-sig",
    sections: Sequence[str] = ("findings", "impression"),
    evidence: Path | None = None,
    progress: Progress | None = None,
) -> LabelledReports:
    """Label the reports of a table, or of a manifest.

    Args:
        reports: CSV with the columns ``id`` and ``text``; or a manifest (Parquet) with texts.
        out: the same with a column a label (``label.NAME``): 1 present, 0 absent, -1 uncertain, blank not mentioned.
        vocabulary_name: see `medvlp.text.ontology.VOCABULARIES`.
        columns: ``id`` and ``text`` -> columns of the table, where they are called otherwise.
        encoding: of the table.
        sections: that are read.
        evidence: JSON Lines of the mentions, each with its report's id, its words and their place.

    Raises:
        DataError: if the table cannot be read, lacks a column, has an id twice or none, or there is no such section.
    """
    chosen = vocabulary(vocabulary_name)
    check_sections(sections)
    keys = [label.key for label in chosen.labels]
    manifest = Manifest.load(reports) if reports.suffix == ".parquet" else None
    if manifest is None:
        ids, texts = _of_table(read_table(reports, encoding=encoding).renamed(columns or {}, known=("id", "text")))
    else:
        ids, texts = manifest.column("id").tolist(), [text or "" for text in manifest.column("text")]
        if there := [key for key in keys if f"label.{key}" in manifest]:
            raise DataError(f"{reports} has the label {there[0]} already: take a manifest without labels.")
        if columns:
            raise DataError(f"{reports} is no CSV, so --column has no meaning: its columns are named already.")
    rows, lines = list[list[str]](), list[str]()
    empty, foreign = [], []
    for done, (name, text) in enumerate(zip(ids, texts, strict=True), 1):
        if is_blank(text) or not is_english(text):
            (empty if is_blank(text) else foreign).append(name)
            rows.append([name, *("" for _ in keys)])
        else:
            mentions = read_report(text, sections=tuple(sections))
            values = label_mentions(mentions, chosen)
            rows.append([name, *("" if values[key] is None else f"{values[key]:.0f}" for key in keys)])
            lines += [json.dumps({"id": name, **asdict(each)}, ensure_ascii=False) for each in mentions if evidence]
        notify(progress, done, len(ids))
    if manifest is None:
        labels = io.StringIO()
        csv.writer(labels, lineterminator="\n").writerows([["id", *keys], *rows])
        write_text(out, labels.getvalue())
    else:
        for at, key in enumerate(keys, 1):
            manifest = manifest.with_column(f"label.{key}", [float(row[at]) if row[at] else None for row in rows])
        manifest.meta["labels_read"] = vocabulary_name
        manifest.save(out)
    if evidence is not None:
        write_text(evidence, "".join(f"{line}\n" for line in lines))
    return LabelledReports(reports=len(ids), empty=tuple(empty), foreign=tuple(foreign))


def label_caveats(manifest: Manifest) -> tuple[str, ...]:
    """Return what a reader of results has to know of labels that `label_reports` wrote."""
    if (name := manifest.meta.get("labels_read")) is None:
        return ()
    return (f"Labels were read from reports by rules ({name}): numbers say how far a model agrees with that reading.",)


def _of_table(table: Table) -> tuple[list[str], list[str]]:
    """Return ids and texts; refuse a row without an id, or with that of another."""
    ids, first = table.named("id"), dict[str, int]()
    for name, line in zip(ids, table.lines, strict=True):
        if not name:
            raise DataError(f"{table.path}, line {line}, has no id: give every report its own.")
        if first.setdefault(name, line) != line:
            fault = f"has the id of line {first[name]} again in line {line}: give every report its own."
            raise DataError(f"{table.path} {fault}")
    return ids, table.named("text")
