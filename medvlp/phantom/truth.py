"""What was planted, as tables: labels, images, findings, boxes with masks, triplets and the report table.

Each table is written by Arrow with a fixed schema and order of rows, so the bytes are a function of the facts. The rows
of a study are kept as one JSON document until the cohort is complete; that makes an interrupted cohort resumable.

Masks are run lengths in row-major order over the stored image, beginning with background: ``[3, 2, 4]`` for 3 x 3
pixels is three pixels off, two on, four off. They add up to rows x columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medvlp.core.triplet import Triplet
from medvlp.phantom._files import write_atomically
from medvlp.phantom.facts import FINDINGS, Study
from medvlp.phantom.sampling import evolution_of, resolved_of
from medvlp.phantom.write_dicom import study_uid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TABLES", "finding_rows", "rle_decode", "rle_encode", "study_row", "triplet_rows", "write_tables"]

_TEXT, _INT, _REAL, _FLAG = pa.string(), pa.int32(), pa.float64(), pa.bool_()

TABLES: Final[Mapping[str, pa.Schema]] = {
    "studies": pa.schema(
        [
            ("study_id", _TEXT),
            ("accession", _TEXT),
            ("study_uid", _TEXT),
            ("patient_id", _TEXT),
            ("number", _INT),
            ("date", _TEXT),
            ("site", _TEXT),
            ("scanner", _TEXT),
            ("sex", _TEXT),
            ("age", _INT),
            ("height_cm", _REAL),
            ("bmi", _REAL),
            ("split", _TEXT),
            ("held_out", _FLAG),
            ("resolved", pa.list_(_TEXT)),
            *((f"label:{name}", pa.int8()) for name in FINDINGS),
        ]
    ),
    "images": pa.schema(
        [
            ("path", _TEXT),
            ("accession", _TEXT),
            ("view", _TEXT),
            ("sop_uid", _TEXT),
            ("rows", _INT),
            ("columns", _INT),
            ("slices", _INT),
            ("photometric", _TEXT),
            ("transfer_syntax", _TEXT),
        ]
    ),
    "findings": pa.schema(
        [
            ("accession", _TEXT),
            ("finding", _INT),
            ("name", _TEXT),
            ("side", _TEXT),
            ("lobe", _TEXT),
            ("severity", _TEXT),
            ("size_mm", _REAL),
            ("amount", _REAL),
            ("change", _TEXT),
        ]
    ),
    "boxes": pa.schema(
        [
            ("path", _TEXT),
            ("finding", _INT),
            ("name", _TEXT),
            ("side", _TEXT),
            ("x0", _REAL),
            ("y0", _REAL),
            ("x1", _REAL),
            ("y1", _REAL),
            ("mask", pa.list_(_INT)),
        ]
    ),
    "triplets": pa.schema(
        [
            ("accession", _TEXT),
            ("anatomy", _TEXT),
            ("side", _TEXT),
            ("observation", _TEXT),
            ("presence", _TEXT),
            ("severity", _TEXT),
            ("sentence", _TEXT),
        ]
    ),
}
"""Table name -> columns of ``truth/NAME.parquet``. Boxes are half open, in pixels of the stored image: x0 <= x < x1."""

_REPORT_COLUMNS: Final = ("AccessionNumber", "StudyInstanceUID", "PatientID", "StudyDate", "Report")

Row = dict[str, Any]


def rle_encode(mask: NDArray[np.bool_]) -> list[int]:
    """Return the run lengths of a mask (H, W), row-major, beginning with background.

    Example:
        >>> rle_encode(np.array([[False, True], [True, False]]))
        [1, 2, 1]
    """
    flat = np.asarray(mask, bool).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size])))
    return ([0] if flat.size and flat[0] else []) + [int(run) for run in runs]


def rle_decode(counts: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of run lengths.

    Example:
        >>> rle_decode([1, 2, 1], (2, 2)).tolist()
        [[False, True], [True, False]]
    """
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(shape)


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
        OSError: as the file system says; a table is whole or absent.
    """
    for name, schema in TABLES.items():
        rows = [row for study in studies for row in study[name]]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
        write_atomically(out / "truth" / f"{name}.parquet", buffer.getvalue())
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_REPORT_COLUMNS)
    for study in studies:
        row = study["studies"][0]
        writer.writerow([row["accession"], row["study_uid"], row["patient_id"], row["date"], study["report"]])
    write_atomically(out / "reports.csv", text.getvalue().encode())
