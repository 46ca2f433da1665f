"""A table of reports -> a table of labels, with the mentions as evidence: what ``medvlp data label`` does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.core.files import write_text
from medvlp.data.parallel import notify
from medvlp.data.text_table import read_table
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
    sections: Sequence[str] = ("findings", "impression"),
    evidence: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LabelledReports:
    """Label the reports of a table.

    Args:
        reports: CSV with the columns ``id`` and ``text``.
        out: CSV with ``id`` and one column a label: 1 present, 0 absent, -1 uncertain, blank not mentioned.
        vocabulary_name: see `medvlp.text.ontology.VOCABULARIES`.
        columns: ``id`` and ``text`` -> columns of the table, where they are called otherwise.
        sections: that are read.
        evidence: JSON Lines of the mentions, each with its report's id, its words and their place.

    Raises:
        DataError: if the table cannot be read, lacks a column, has an id twice or none, or there is no such section.
    """
    chosen = vocabulary(vocabulary_name)
    check_sections(sections)
    table = read_table(reports).renamed(columns or {}, known=("id", "text"))
    ids, texts = table.named("id"), table.named("text")
    first: dict[str, int] = {}
    for name, line in zip(ids, table.lines, strict=True):
        if not name:
            raise DataError(f"{reports}, line {line}, has no id: give every report its own.")
        if first.setdefault(name, line) != line:
            again = f"the id of line {first[name]} again in line {line}"
            raise DataError(f"{reports} has {again}: give every report its own.")
    keys = [label.key for label in chosen.labels]
    labels = io.StringIO()
    writer = csv.writer(labels, lineterminator="\n")
    writer.writerow(["id", *keys])
    lines: list[str] = []
    empty, foreign = [], []
    for done, (name, text) in enumerate(zip(ids, texts, strict=True), 1):
        if is_blank(text) or not is_english(text):
            (empty if is_blank(text) else foreign).append(name)
            writer.writerow([name, *("" for _ in keys)])
        else:
            mentions = read_report(text, sections=tuple(sections))
            values = label_mentions(mentions, chosen)
            writer.writerow([name, *("" if values[key] is None else f"{values[key]:.0f}" for key in keys)])
            lines += [json.dumps({"id": name, **asdict(each)}, ensure_ascii=False) for each in mentions if evidence]
        notify(progress, done, len(ids))
    write_text(out, labels.getvalue())
    if evidence is not None:
        write_text(evidence, "".join(f"{line}\n" for line in lines))
    return LabelledReports(reports=len(ids), empty=tuple(empty), foreign=tuple(foreign))
