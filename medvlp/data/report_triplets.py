"""A table of reports, or a RadGraph file -> the triplets of its studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.parallel import Progress, notify
from medvlp.data.text_table import read_table
from medvlp.text.language import is_blank, is_english
from medvlp.text.mention_triplets import of_report
from medvlp.text.radgraph import read_radgraph
from medvlp.text.sections import check_sections
from medvlp.text.triplet_files import StudyTriplets, of_radgraph


@dataclass(frozen=True, slots=True)
class ReadStudies:
    """Studies that were read.

    Attributes:
        studies: in the order of the file.
        images: split -> {image path: study id}, where the table names images; the split of a table without such a
            column is ``train``.
        skipped: reason -> lines of the table.
    """

    studies: tuple[StudyTriplets, ...]
    images: dict[str, dict[str, str]]
    skipped: dict[str, tuple[int, ...]]


def studies_of_table(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str = "utf-8-sig",
    sections: tuple[str, ...] = ("findings", "impression"),
    vocabulary: str | None = None,
    progress: Progress | None = None,
) -> ReadStudies:
    r"""Read the reports of a table by medvlp's rules.

    Args:
        path: CSV with the columns ``text`` and ``id`` or ``id.study``; ``id.patient``, ``image`` and ``split`` are used
            where they are. Rows of one study (several images) must carry the same text, which is read once.
        columns: names of these -> columns of the table, where they are called otherwise.
        encoding: of the table.
        sections: of the reports that are read.
        vocabulary: label list whose labels are the observations; default: all findings of the ontology.

    Raises:
        DataError: if a column is missing, an id is blank, or a study has two texts.
        ConfigError: if there is no vocabulary or section of that name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "reports.csv"
        >>> _ = path.write_text("id,text\ns1,Left effusion.\ns2,\n")
        >>> found = studies_of_table(path)
        >>> len(found.studies), found.skipped
        (1, {'no text': (3,)})
    """
    check_sections(sections)
    known = ("id", "text", "id.study", "id.patient", "image", "split")
    table = read_table(path, encoding=encoding).renamed(columns or {}, known=known)
    ids, texts = table.named("id.study" if "id.study" in table.names else "id"), table.named("text")
    blank = [""] * len(ids)
    patients, images, splits = (
        table.column(name) if name in table.names else blank for name in ("id.patient", "image", "split")
    )
    first: dict[str, int] = {}
    studies: list[StudyTriplets] = []
    lists: dict[str, dict[str, str]] = {}
    without: list[int] = []
    foreign: list[int] = []
    for place, (study, text) in enumerate(zip(ids, texts, strict=True)):
        line = table.lines[place]
        if not study:
            raise DataError(f"{path}, line {line}, has no id: give every report the id of its study.")
        if is_blank(text) or not is_english(text):
            (without if is_blank(text) else foreign).append(line)
            continue
        if study not in first:
            first[study] = place
            studies.append(
                of_report(text, study_id=study, subject_id=patients[place], sections=sections, vocabulary=vocabulary)
            )
        elif text != texts[first[study]]:
            raise DataError(
                f"{path}, lines {table.lines[first[study]]} and {line}, give one study two texts: join them in one "
                "row, or give each report an id of its own."
            )
        if images[place]:
            lists.setdefault(splits[place] or "train", {})[images[place]] = study
        notify(progress, place + 1, len(ids))
    skipped = {"no text": tuple(without), "not in English": tuple(foreign)}
    return ReadStudies(tuple(studies), lists, {reason: lines for reason, lines in skipped.items() if lines})


def studies_of_radgraph(
    path: Path,
    *,
    linked_observations: bool = False,
    nested_modifiers: bool = False,
    across_sentences: bool = False,
    progress: Progress | None = None,
) -> ReadStudies:
    """Read a RadGraph JSON file; the options are those of `medvlp.text.radgraph`."""
    reports = read_radgraph(path)
    studies: dict[str, StudyTriplets] = {}
    for place, report in enumerate(reports, start=1):
        if report.study_id in studies:
            raise DataError(f"{path}, report {place}, is the second one of its study: keep one report a study.")
        studies[report.study_id] = of_radgraph(
            report,
            linked_observations=linked_observations,
            nested_modifiers=nested_modifiers,
            across_sentences=across_sentences,
        )
        notify(progress, place, len(reports))
    return ReadStudies(tuple(studies.values()), {}, {})
