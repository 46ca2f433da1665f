"""What was planted, as tables: labels, images, findings, boxes with masks, triplets and the report table.

Each table is written by Arrow with a fixed schema and order of rows, so the bytes are a function of the facts. The rows
of a study are kept as one JSON document until the cohort is complete; that makes an interrupted cohort resumable.

Masks are run lengths over the stored image as `medvlp.core.predictions.Mask` has them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from medvlp.core.files import write_bytes
from medvlp.core.triplet import Triplet
from medvlp.phantom.facts import FINDINGS, Study
from medvlp.phantom.sampling import evolution_of, resolved_of
from medvlp.phantom.write_dicom import study_uid

_TEXT, _INT, _REAL = pa.string(), pa.int32(), pa.float64()


def _schema(*columns: tuple[pa.DataType, str]) -> pa.Schema:
    return pa.schema([(name, kind) for kind, names in columns for name in names.split()])


TABLES: Final[Mapping[str, pa.Schema]] = {
    "studies": _schema(
        (_TEXT, "study_id accession study_uid patient_id"),
        (_INT, "number"),
        (_TEXT, "date site scanner sex"),
        (_INT, "age"),
        (_REAL, "height_cm bmi"),
        (_TEXT, "split"),
        (pa.bool_(), "held_out"),
        (pa.list_(_TEXT), "resolved"),
        (pa.int8(), " ".join(f"label:{name}" for name in FINDINGS)),
    ),
    "images": _schema(
        (_TEXT, "path accession view sop_uid"),
        (_INT, "rows columns slices"),
        (_TEXT, "photometric transfer_syntax"),
    ),
    "findings": _schema(
        (_TEXT, "accession"), (_INT, "finding"), (_TEXT, "name side lobe severity"), (_REAL, "size_mm amount"),
        (_TEXT, "change"),
    ),
    "boxes": _schema(
        (_TEXT, "path"), (_INT, "finding"), (_TEXT, "name side"), (_REAL, "x0 y0 x1 y1"), (pa.list_(_INT), "mask")
    ),
    "triplets": _schema((_TEXT, "accession anatomy side observation presence severity sentence")),
}  # fmt: skip
"""Table name -> columns of ``truth/NAME.parquet``. Boxes are half open, in pixels of the stored image: x0 <= x < x1."""

_REPORT_COLUMNS: Final = ("AccessionNumber", "StudyInstanceUID", "PatientID", "StudyDate", "Report")

Row = dict[str, Any]


def study_row(study: Study, *, age: int, seed: int) -> Row:
    """Return the row of ``studies``."""
    present = {finding.name for finding in study.findings}
    return {
        "study_id": study.id,
        "accession": study.accession,
        "study_uid": study_uid(study, seed),
        "patient_id": study.patient.id,
        "number": study.number,
        "date": study.date,
        "site": study.site,
        "scanner": study.scanner,
        "sex": study.patient.sex,
        "age": age,
        "height_cm": study.patient.height,
        "bmi": study.patient.bmi,
        "split": study.patient.split,
        "held_out": study.patient.split == "test",
        "resolved": [finding.name for finding in resolved_of(study)],
        **{f"label:{name}": int(name in present) for name in FINDINGS},
    }


def finding_rows(study: Study) -> list[Row]:
    """Return the rows of ``findings``: one a planted finding, in the order of ``Study.findings``."""
    return [
        {
            "accession": study.accession,
            "finding": index,
            "name": finding.name,
            "side": finding.side,
            "lobe": finding.lobe,
            "severity": finding.severity,
            "size_mm": finding.size,
            "amount": finding.amount,
            "change": evolution_of(finding, study.prior),
        }
        for index, finding in enumerate(study.findings)
    ]


def triplet_rows(study: Study, triplets: Iterable[Triplet]) -> list[Row]:
    """Return the rows of ``triplets``."""
    return [{"accession": study.accession, **asdict(triplet)} for triplet in triplets]


def write_tables(out: Path, studies: Sequence[Mapping[str, Any]]) -> None:
    """Write ``reports.csv`` and ``truth/*.parquet`` from the rows of all studies, in the order given.

    Args:
        out: root of the cohort.
        studies: one mapping a study: table name -> rows, and ``report`` -> full text.

    Raises:
        UserError: if the disk is full or the folder cannot be written; a table is whole or absent.
    """
    for name, schema in TABLES.items():
        rows = [row for study in studies for row in study[name]]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
        write_bytes(out / "truth" / f"{name}.parquet", buffer.getvalue())
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_REPORT_COLUMNS)
    for study in studies:
        row = study["studies"][0]
        writer.writerow([row["accession"], row["study_uid"], row["patient_id"], row["date"], study["report"]])
    write_bytes(out / "reports.csv", text.getvalue().encode())
