"""``mimic_cxr``: MIMIC-CXR-JPG or MIMIC-CXR, images with the sections of their reports and the labellers' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from medvlp.core.errors import DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts._files import OnProgress, Root, list_files
from medvlp.data.layouts._mimic_reports import Report, read_reports
from medvlp.data.layouts._published import find_table, label_columns, lookup_table, published_manifest, study_numbers
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.text_table import Table, read_table

Labels = Literal["chexpert", "negbio", "radiologist", "none"]
Part = Literal["train", "validate", "test"]

_MAIN = ("mimic-cxr-*-metadata.csv", "cxr-record-list.csv")
_SPLIT = ("mimic-cxr-*-split.csv",)
_LABELS = {
    "chexpert": ("mimic-cxr-*-chexpert.csv",),
    "negbio": ("mimic-cxr-*-negbio.csv",),
    "radiologist": ("mimic-cxr-*-test-set-labeled.csv",),
}
_OTHER_WORDS = {"lung_opacity": "Airspace Opacity"}  # the radiologist's table
_FRONTAL = ("PA", "AP")
_SUFFIXES = {"jpg": (".jpg",), "dicom": (".dcm",)}


def index(
    root: Root,
    *,
    images: Literal["auto", "jpg", "dicom"] = "auto",
    labels: Labels = "chexpert",
    reports: Path | None = None,
    sections: tuple[str, ...] = ("findings", "impression"),
    parts: tuple[Part, ...] = (),
    frontal_only: bool = False,
    require_files: bool = True,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    r"""Index MIMIC-CXR(-JPG), one row an image, each with the report of its study.

    Columns: ``id`` (dicom_id), ``id.patient``, ``id.study``, ``image``, ``text`` (the wanted sections, by
    `medvlp.text.sections`), ``text_sections`` (those that it came from: others where none of the wanted has words),
    ``label.FINDING`` (14, of the study: 1, 0, -1 or missing), ``split``, ``view_position`` (blank stays missing),
    ``study_number`` (the patient's studies in their order in time), ``source``, ``deidentified``. Dates are shifted
    from patient to patient, and none enters the manifest.

    Args:
        root: folder of ``files`` and of the tables. Reports and images of two downloads may have two folders: give the
            images' here.
        images: endings that are looked for; auto takes JPEG files where there are any.
        labels: table whose labels are taken; radiologist is the hand-labelled test part of release 2.1.0.
        reports: ``mimic-cxr-reports.zip``, a folder that holds its ``files``, or ``mimic_cxr_sectioned.csv``;
            absolute or below root. Without it these are looked for at the root.
        sections: wanted ones, joined in this order; none for the whole report.
        parts: wanted parts of the official split; empty for all.
        frontal_only: keep the views PA and AP alone; images of no known view are left out too, and listed apart.
        require_files: leave out rows whose image is not there, and list them; false for the tables alone.
        workers: processes for listing folders and for reading reports.

    Raises:
        ConfigError: if reports that are cut here have no section of a name.
        DataError: if a table or column is missing, reports that were asked for are not there, or no image is there.
    """
    table = read_table(find_table(root, _MAIN, what="metadata of MIMIC-CXR"))
    names, subjects, studies = (table.column(name) for name in ("dicom_id", "subject_id", "study_id"))
    files = _files(root, sorted(set(subjects)), images, workers, progress)
    paths = [files.get(name) for name in names]
    positions = table.column_or("ViewPosition")
    split_of = lookup_table(root, _SPLIT, "dicom_id", "split")
    splits = [split_of.get(name) for name in names] if split_of else []
    if parts and not splits:
        raise DataError(f"{root} holds no {_SPLIT[0]}, which tells the parts: download it, or leave `parts` out.")
    reasons = [
        ("other_part" if parts and split not in parts else "")
        or ("unknown_view" if frontal_only and not view else "")
        or ("other_view" if frontal_only and view not in _FRONTAL else "")
        or ("missing_file" if require_files and path is None else "")
        for split, view, path in zip(splits or [None] * len(names), positions, paths, strict=True)
    ]
    # No report of a row that is left out: a quarter of a million take minutes, and an hour on a network share.
    wanted = {study: who for study, who, why in zip(studies, subjects, reasons, strict=True) if not why}
    book = read_reports(root, reports, wanted, sections, workers=workers, progress=progress) if wanted else None
    columns: dict[str, Sequence[object]] = {
        "id": names,
        "id.patient": subjects,
        "id.study": studies,
        "image": paths,
        **_texts(book, studies),
        **_labels(root, labels, studies),
        **({"split": splits} if splits else {}),
        "view_position": positions,
        **_numbers(table, subjects, studies),
        "source": ["mimic_cxr"] * len(names),
        "deidentified": ["yes"] * len(names),
    }
    meta: dict[str, object] = {"layout": "mimic_cxr", "labels": labels, "sections": list(sections)}
    if book is not None:
        meta["studies_without_report"] = sorted(set(wanted) - set(book))
        meta["studies_without_wanted_sections"] = sorted(study for study, report in book.items() if report.fell_back)
    listed = [f"p{who[:2]}/p{who}/s{study}/{name}" for name, who, study in zip(names, subjects, studies, strict=True)]
    return published_manifest(columns, root=root, reasons=reasons, listed=listed, source=str(table.path), meta=meta)


def _files(root: Path, subjects: Sequence[str], images: str, workers: int, progress: Progress | None) -> dict[str, str]:
    """Return dicom_id -> path. JPEG and DICOM files of one image may lie side by side."""
    folders = [f"files/p{who[:2]}/p{who}" for who in subjects]
    ends = (*_SUFFIXES["jpg"], *_SUFFIXES["dicom"]) if images == "auto" else _SUFFIXES[images]
    found = list_files(root, folders, suffixes=ends, workers=workers, progress=progress)
    if images == "auto" and any(path.endswith(".jpg") for path in found):
        found = [path for path in found if path.endswith(".jpg")]
    return {path.rpartition("/")[2].rpartition(".")[0]: path for path in found}


def _labels(root: Path, labels: Labels, studies: Sequence[str]) -> dict[str, list[int | None]]:
    """Labels are a study's: each of its images gets them; a study without a row has none."""
    if labels == "none":
        return {}
    table = read_table(find_table(root, _LABELS[labels], what=f"table of {labels} labels"))
    words = {
        finding: other if (other := _OTHER_WORDS.get(finding, "")) in table.names else word
        for finding, word in load_card("mimic_cxr").labels.items()
    }
    row_of = {study: row for row, study in enumerate(table.column("study_id"))}
    rows = [row_of.get(study) for study in studies]
    return {
        name: [None if row is None else column[row] for row in rows]
        for name, column in label_columns(table, words).items()
    }


def _texts(book: Mapping[str, Report] | None, studies: Sequence[str]) -> dict[str, list[str | None]]:
    if book is None:
        return {}
    found = [book.get(study) for study in studies]
    return {
        "text": [report.text if report else None for report in found],
        "text_sections": [" ".join(name or "preamble" for name in report.used) if report else None for report in found],
    }


def _numbers(table: Table, subjects: Sequence[str], studies: Sequence[str]) -> dict[str, list[int | None]]:
    """Number a patient's studies in their order; intervals and dates stay out."""
    if "StudyDate" not in table.names or "StudyTime" not in table.names:
        return {}
    # hhmmss.fff, published without its leading zeros
    parts = (time.partition(".") for time in table.column("StudyTime"))
    times = (f"{whole.zfill(6)}.{rest}" if whole else "" for whole, _, rest in parts)
    when = dict(zip(studies, zip(table.column("StudyDate"), times, strict=True), strict=True))
    return {"study_number": study_numbers(subjects, studies, when)}
