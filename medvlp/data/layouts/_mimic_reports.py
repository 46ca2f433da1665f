"""The reports of MIMIC-CXR, from the archive as it is downloaded, unpacked, or cut into sections by others' script."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.data.parallel import Progress, chunked, notify, run_chunks
from medvlp.data.text_table import read_table

_NAMES = ("mimic-cxr-reports.zip", "mimic-cxr-reports", "mimic_cxr_sectioned.csv", "mimic_cxr_sectioned.csv.gz", ".")
_LARGEST = 1 << 20  # bytes of one report: the longest ones have some thousands
_CHUNK = 512
_BLOCK = 32 * _CHUNK


@dataclass(frozen=True)
class Report:
    """The wanted sections of a report as text, the sections used, and whether others stand for them."""

    text: str
    used: tuple[str, ...]
    fell_back: bool


def read_reports(
    root: Path,
    place: Path | None,
    patients: Mapping[str, str],
    wanted: Sequence[str],
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Report] | None:
    """Read the reports of some studies.

    Args:
        root: folder of the data set.
        place: archive, folder or table, absolute or below root; None looks for what is there.
        patients: study -> patient, of the studies that are wanted.
        wanted: sections; none keeps the whole report.
        workers: processes that cut reports into sections.

    Returns:
        study -> report, of those that have words; None where no reports are there and none were asked for.
    """
    found = next((root / name for name in _NAMES if (root / name).exists()), root) if place is None else root / place
    if not found.exists():
        raise DataError(f"The reports {found} do not exist: give mimic-cxr-reports.zip, its folder, or leave it out.")
    if found.is_file() and ".csv" in found.suffixes:
        book = _sectioned(found, wanted)
    else:
        from medvlp.text.sections import check_sections

        if wanted:
            check_sections(wanted)
        book = {}
        done = 0
        with _reader(found) as read:
            studies = sorted(patients)
            for block in chunked(studies, _BLOCK):  # a block's texts are in memory, not all of them
                texts = [(study, read(patients[study], study)) for study in block]
                for some in run_chunks(_cut, tuple(wanted), chunked(texts, _CHUNK), workers=workers):
                    book |= some
                done += len(block)
                notify(progress, done, len(studies))
    wanted_studies = {study: report for study, report in book.items() if study in patients}
    if wanted_studies or place is None:
        return wanted_studies or None
    raise DataError(
        f"{found} holds no report of the {len(patients)} studies (files/p10/p10000032/s50414267.txt): check that both "
        "are MIMIC-CXR."
    )


@contextmanager
def _reader(place: Path) -> Iterator[Callable[[str, str], str]]:
    """Give (patient, study) -> text, empty where there is none."""
    if place.is_dir():
        base = next((place / name for name in ("mimic-cxr-reports/files", "files") if (place / name).is_dir()), place)

        def from_folder(patient: str, study: str) -> str:
            try:
                with open(base / _path(patient, study), "rb") as stream:
                    return stream.read(_LARGEST).decode("utf-8", "replace")
            except FileNotFoundError:
                return ""

        yield from_folder
        return
    try:
        archive = zipfile.ZipFile(place)
    except zipfile.BadZipFile:
        raise DataError(f"{place} is no whole zip archive: download mimic-cxr-reports.zip again.") from None
    with archive:
        names = {name.removeprefix("mimic-cxr-reports/"): name for name in archive.namelist()}

        def from_archive(patient: str, study: str) -> str:
            name = names.get(f"files/{_path(patient, study)}")
            if name is None:
                return ""
            with archive.open(name) as stream:
                return stream.read(_LARGEST).decode("utf-8", "replace")

        yield from_archive


def _path(patient: str, study: str) -> str:
    return f"p{patient[:2]}/p{patient}/s{study}.txt"


def _cut(wanted: tuple[str, ...], texts: Sequence[tuple[str, str]]) -> dict[str, Report]:
    from medvlp.text.sections import report_text, split_sections

    book = {}
    for study, text in texts:
        if text.strip():
            found = report_text(text, wanted) if wanted else None
            book[study] = (
                Report(text.strip(), tuple(split_sections(text)), fell_back=False)
                if found is None
                else Report(found.text, found.used, found.fell_back)
            )
    return book


def _sectioned(path: Path, wanted: Sequence[str]) -> dict[str, Report]:
    """A table with a column of studies (s50414267) and one a section; last_paragraph stands for missing ones."""
    table = read_table(path)
    columns = {name: table.column(name) for name in table.names if name != "study"}
    book = {}
    for row, study in enumerate(table.column("study")):
        parts = {name: column[row] for name, column in columns.items() if column[row]}
        used = tuple(name for name in wanted or parts if name in parts)
        chosen = used or tuple(name for name in ("last_paragraph", "impression", "findings") if name in parts)[:1]
        if chosen:
            text = "\n\n".join(parts[name] for name in chosen)
            book[study.removeprefix("s")] = Report(text, chosen, not used)
    return book
