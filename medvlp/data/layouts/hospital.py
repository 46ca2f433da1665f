"""``hospital``: a tree of DICOM files and a table of reports, joined by accession number or study UID.

Nothing is dropped silently: images without a report, reports without an image, reports whose patient is not the
image's, reports at images of several patients (where the table names none) or studies, and files that are no wanted
image are listed in the manifest's `meta`. Patients, studies and records are keyed hashes in the manifest; the paths of
files and the words of reports stand in it as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from medvlp.core.errors import DataError
from medvlp.core.grouped import grouped
from medvlp.core.pseudonym import pseudonym, secret_key
from medvlp.data.layouts._dicom_tree import Header, Scan, scan_tree
from medvlp.data.layouts._files import OnProgress, Root, skip
from medvlp.data.layouts._published import columns_of, study_numbers
from medvlp.data.manifest import Manifest
from medvlp.data.spellings import number_notes, patient_notes, spelling
from medvlp.data.text_table import Table, read_table

VOLUMES = ("CT", "MR", "PT")  # modalities whose series are volumes


def index(
    root: Root,
    *,
    images: str = ".",
    reports: str = "reports.csv",
    columns: dict[str, str] | None = None,
    join: Literal["auto", "AccessionNumber", "StudyInstanceUID"] = "auto",
    modalities: tuple[str, ...] = ("CR", "DX"),
    keep_unjoined: bool = False,
    encoding: str = "utf-8-sig",
    key_file: Path | None = None,
    workers: int = 0,
    progress: OnProgress = None,
) -> Manifest:
    """Index a hospital folder, one row an image or a series of slices, each with the report of its study.

    Columns: ``id``, ``id.patient`` and ``id.study`` (keyed hashes), ``image``, ``text``, ``view_position``,
    ``laterality``, ``sex``, ``age`` (whole years, 90 and above as 90), ``site``, ``scanner``, ``study_number`` (the
    patient's studies in the order of their dates, which stay out), ``deidentified``. Of CT, MR and PET a row is a
    series: ``volume``, the folder that holds its slices alone, with ``kernel`` and ``series_description``.

    Args:
        root: folder of all.
        images: folder of the DICOM tree, below root.
        reports: report table, below root.
        columns: names in the table of AccessionNumber, StudyInstanceUID, PatientID and Report, where they differ; with
            ``label.NAME`` also of findings: 1 present, 0 absent, -1 uncertain, blank unknown.
        join: which number joins; ``auto`` takes the accession number where both sides have it, else the study UID. Of
            rows of one accession number those of another study UID go where any image has a UID of the table.
        modalities: wanted values of Modality; ``("CT",)`` for volumes.
        keep_unjoined: keep images without a report and reports without an image as rows, beside listing them.
        encoding: of the table.
        key_file: secret of the pseudonyms, made if absent (default `medvlp.core.pseudonym.default_key_file`).
        workers: processes for reading headers.

    Raises:
        DataError: if the table or a column is missing, a label is no number or two rows of a study give it in two
            ways, there is no wanted image, or nothing joins.
    """
    table = read_table(root / reports, encoding=encoding)
    book = _Reports(table, columns or {}, join)
    scan = join_series(scan_tree(root, folder=images, modalities=modalities, workers=workers, progress=progress))
    book.compare(scan.headers)
    key = secret_key(key_file)
    rows: list[dict[str, object]] = []
    dates: list[tuple[str, str]] = []
    bare: list[Header] = []
    for header in scan.headers:
        text, labels = book.of(header)
        if text is None:
            bare.append(header)
        if text is not None or keep_unjoined:
            rows.append(_row(header, text, key) | labels)
            dates.append((header.get("StudyDate"), header.get("StudyTime")))
    unused = [place for place, text in enumerate(book.texts) if text and place not in book.used]  # joined no image
    if keep_unjoined:
        rows += [book.row_of(place, key) for place in unused]
    notes = book.notes(unused, bare)
    if len(bare) == len(scan.headers):
        why = f" ({len(book.contradicted)} of another PatientID than the report's)" if book.contradicted else ""
        raise DataError(
            f"None of the {len(scan.headers)} images of {root / images} joins a report of {table.path} by {book.keys}"
            f"{why}: check `join` and `columns`, and that both come from the same system."
            + "".join(f" {note}" for note in notes)
        )
    there = zip(rows, dates, strict=False)  # reports without an image, at the end, have no date
    when = {str(row["id.study"]): date for row, date in there if row["id.study"] and row["id.patient"] and date[0]}
    patients, studies = ([str(row[name]) for row in rows] for name in ("id.patient", "id.study"))
    numbers = study_numbers(patients, studies, when)
    rows = [{**row, "study_number": number} for row, number in zip(rows, numbers, strict=True)]
    meta: dict[str, object] = {
        "layout": "hospital",
        "images_without_report": [header.path for header in bare],
        "reports_without_image": [table.lines[place] for place in unused],  # lines of the table, no identifiers
        "images_of_another_patient_than_the_report": book.contradicted,
        "reports_of_several_rows": book.several,
        "reports_at_several_patients": [table.lines[place] for place in book.shared(0)],
        "reports_at_several_studies": [table.lines[place] for place in book.shared(1)],
        "skipped": scan.skipped,
        "notes": [*patient_notes(header.get("PatientID") for header in scan.headers), *notes],
    }
    return Manifest.of(columns_of(rows), root=root, meta=meta)


def _row(header: Header, text: str | None, key: bytes) -> dict[str, object]:
    scanner = " ".join(filter(None, (header.get("Manufacturer"), header.get("ManufacturerModelName"))))
    uid, own = header.get("SOPInstanceUID"), {}
    if header.field == "volume":
        uid = header.get("SeriesInstanceUID")
        own = {"kernel": header.get("ConvolutionKernel"), "series_description": header.get("SeriesDescription")}
    return {
        "id": pseudonym(uid, key, prefix="i"),
        "id.patient": pseudonym(header.patient, key, prefix="p"),
        "id.study": pseudonym(header.get("StudyInstanceUID") or header.get("AccessionNumber"), key, prefix="s"),
        header.field: header.path,
        "text": text,
        "view_position": header.get("ViewPosition"),
        "laterality": header.get("ImageLaterality") or header.get("Laterality"),
        "sex": header.get("PatientSex"),
        "age": header.age,
        "site": header.get("InstitutionName"),
        "scanner": scanner,
        "deidentified": header.deidentified,
        **own,
    }


class _Reports:
    """The table's rows by the numbers that join them."""

    def __init__(self, table: Table, columns: Mapping[str, str], join: str) -> None:
        known = ("AccessionNumber", "StudyInstanceUID", "PatientID", "Report")
        labels = {name: column for name, column in columns.items() if name.startswith("label.")}
        unknown = sorted(set(columns) - set(known) - set(labels))
        if unknown:
            raise DataError(
                f"The report table is described by {', '.join(known)} and label.NAME, not {unknown[0]!r}: "
                "change `columns`."
            )
        named = {keyword: columns.get(keyword, keyword) for keyword in known}
        self.texts = table.column(named["Report"], mending="; give yours, columns={Report: COLUMN}")
        wanted = ("AccessionNumber", "StudyInstanceUID") if join == "auto" else (join,)
        there = [keyword for keyword in wanted if named[keyword] in table.names]
        if not there:
            # Refused: it says which columns there are.
            table.column(named[wanted[0]], mending=f"; give yours, columns={{{wanted[0]}: COLUMN}}")
        asked = "PatientID" in columns
        patients = table.column(named["PatientID"]) if asked or named["PatientID"] in table.names else []
        self.patients = patients or [""] * len(self.texts)
        self._table = table
        self._labels = {name: table.numbers(column, name) for name, column in labels.items()}
        self.keys = " or ".join(there)
        self._numbers = {keyword: table.column(named[keyword]) for keyword in there}
        self._by = {
            keyword: grouped((number, place) for place, number in enumerate(numbers) if number and self.texts[place])
            for keyword, numbers in self._numbers.items()
        }
        self.used: set[int] = set()
        self.contradicted: list[str] = []
        self.several = 0
        self._owners: dict[int, set[tuple[str, str]]] = {}
        self._uids: list[str] = []

    def compare(self, headers: Sequence[Header]) -> None:
        """Tell studies by UID where the table has those of the images: one that it has not gets no other's report."""
        uids = self._numbers.get("StudyInstanceUID", [])
        self._uids = uids if {header.get("StudyInstanceUID") for header in headers} & {*uids} - {""} else []

    def of(self, header: Header) -> tuple[str | None, dict[str, object]]:
        """The report of an image's study, rows of a number joined in their order (addenda), and its labels."""
        rows, found = self._rows_of(header), dict[str, object]()
        if not rows:
            return None, found
        texts = list(dict.fromkeys(self.texts[place] for place in rows))
        self.several += len(texts) > 1 and not self.used.issuperset(rows)
        self.used.update(rows)
        self._owners.setdefault(rows[0], set()).add((header.patient, header.get("StudyInstanceUID")))
        for name, values in self._labels.items():  # which its rows give in one way
            given = {values[place]: place for place in rows if values[place] is not None}
            if len(given) > 1:
                raise self._table.fault(max(given.values()), f"{name} is another in a row of the same study: keep one.")
            found[name] = next(iter(given), None)
        return "\n".join(texts), found

    def _rows_of(self, header: Header) -> list[int]:
        for keyword, places in self._by.items():
            found = places.get(header.get(keyword), [])
            # Accession numbers are given anew by each system: a number alone does not make it the same patient. With it
            # 7 and 007 are one (spreadsheets drop zeros), and an image of nobody has no report of several patients.
            who = header.get("PatientID")
            names = {place: spelling(self.patients[place]) for place in found}
            mine = [place for place, name in names.items() if not name or not who or name == spelling(who)]
            mine = mine if who or len({*names.values()} - {""}) < 2 else []
            if found and not mine and header.path not in self.contradicted[-1:]:  # by either number once
                self.contradicted.append(header.path)
            own = header.get("StudyInstanceUID")
            if own and self._uids:  # "0" and "UNKNOWN" number several studies
                mine = [place for place in mine if self._uids[place] in ("", own)]
            if mine:
                return mine
        return []

    def shared(self, part: int) -> list[int]:
        """Rows whose text stands at images of several patients (0) or studies (1): the table does not say of which."""
        owners = {place: {owner[part] for owner in all_} - {""} for place, all_ in self._owners.items()}
        return sorted(place for place, names in owners.items() if len(names) > 1)

    def notes(self, unused: Sequence[int], bare: Sequence[Header]) -> list[str]:
        """Sentences on the numbers of reports and images that found no other, see `number_notes`."""
        return [
            note
            for keyword, numbers in self._numbers.items()
            for note in number_notes((numbers[place] for place in unused), (header.get(keyword) for header in bare))
        ]

    def row_of(self, place: int, key: bytes) -> dict[str, object]:
        """A row of the manifest for a report without image."""
        study = next((n[place] for k, n in reversed(self._numbers.items()) if n[place]), "")
        return {
            "id": pseudonym(f"report {place} {study}", key, prefix="r"),
            "id.patient": pseudonym(self.patients[place], key, prefix="p"),
            "id.study": pseudonym(study, key, prefix="s"),
            "text": self.texts[place],
        }


def join_series(scan: Scan) -> Scan:
    """Put the slices of each CT, MR or PET series together; images of other modalities stay as they are.

    A series becomes the first header of it, with the path of its folder (of its file, where it is one of many frames)
    and ``volume`` as its field. What `medvlp.io.read_volume` could not tell apart is listed among `Scan.skipped`:
    localizers, slices without a series UID, a series of several studies or in several folders, and a folder of several,
    whatever their modality.

    Args:
        scan: of a tree, in the order of paths.

    Raises:
        DataError: if nothing is left.
    """
    skipped = {reason: list(paths) for reason, paths in scan.skipped.items()}
    series: dict[str, list[Header]] = {}
    headers: list[Header] = []
    for header in scan.headers:
        if _is_slice(header):
            series.setdefault(header.get("SeriesInstanceUID"), []).append(header)
        elif header.get("Modality") not in VOLUMES:
            headers.append(header)
        else:
            skip(skipped, "localizer", header.path)
    slices = (header for header in scan.headers + scan.beside if _is_slice(header))
    held = Counter(folder for folder, _ in {(_folder(slice_), slice_.get("SeriesInstanceUID")) for slice_ in slices})
    for uid, own in series.items():
        first, folder, reason = own[0], _folder(own[0]), ""
        if not uid:
            reason = "no_series_uid"
        elif len({(slice_.patient, slice_.get("StudyInstanceUID")) for slice_ in own}) > 1:  # which report is theirs?
            reason = "series_of_several_studies"
        elif len(own) == 1 and first.get("NumberOfFrames") not in ("", "0", "1"):
            folder = first.path
        elif len({_folder(slice_) for slice_ in own}) > 1:
            reason = "series_in_several_folders"
        elif held[folder] > 1:
            reason = "folder_of_several_series"
        if reason:
            skipped.setdefault(reason, []).extend(slice_.path for slice_ in own)
        else:
            headers.append(Header(folder, first.tags, "volume"))
    if not headers:
        counts = ", ".join(f"{len(paths)} {reason}" for reason, paths in skipped.items())
        raise DataError(
            f"No series can be a volume ({counts}): put the slices of each into a folder of "
            "their own, as `medvlp data deidentify` writes them."
        )
    return Scan(tuple(sorted(headers, key=lambda header: header.path)), skipped)


def _is_slice(header: Header) -> bool:
    # Value 3 of Image Type in CT and MR tells localizers (PS3.3 C.8.2.1.1.1).
    return header.get("Modality") in VOLUMES and "LOCALIZER" not in header.get("ImageType").upper()


def _folder(header: Header) -> str:
    return str(PurePosixPath(header.path).parent)
