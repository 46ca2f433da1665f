"""Run lengths and tables: exact, and the same bytes again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medvlp.core.predictions import Mask
from medvlp.core.triplet import Triplet
from medvlp.phantom.sampling import sample_cohort
from medvlp.phantom.truth import TABLES, finding_rows, study_row, triplet_rows, write_tables


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()))
def test_run_lengths_give_the_mask_back(mask: np.ndarray) -> None:
    counts = Mask.of(mask).runs.tolist()
    assert sum(counts) == mask.size
    assert all(count > 0 for count in counts[1:])
    assert (Mask(mask.shape, np.array(counts)).array() == mask).all()


def test_run_lengths_are_row_major_and_begin_with_background() -> None:
    mask = np.array([[False, False, False], [True, True, False], [False, False, False]])
    assert Mask.of(mask).runs.tolist() == [3, 2, 4]
    assert Mask.of(np.array([[True, False]])).runs.tolist() == [0, 1, 1]


def documents() -> list[dict]:
    studies = sample_cohort(patients=8, seed=0, modality="cxr")
    triplet = Triplet("pleural space", "left", "effusion", "present", "mild", "Small left effusion.")
    return [
        {
            "studies": [study_row(study, age=60, seed=0)],
            "images": [],
            "findings": finding_rows(study),
            "boxes": [],
            "triplets": triplet_rows(study, [triplet]),
            "report": 'FINDINGS:\nSmall left effusion, "layering".\n',
        }
        for study in studies
    ]


def test_tables_hold_their_rows_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    rows = documents()
    for name in "ab":
        write_tables(tmp_path / name, rows)
    for name, schema in TABLES.items():
        first, second = ((tmp_path / root / "truth" / f"{name}.parquet").read_bytes() for root in "ab")
        assert first == second
        table = pq.read_table(tmp_path / "a" / "truth" / f"{name}.parquet")
        assert table.schema.equals(schema)
        assert table.to_pylist() == [row for document in rows for row in document[name]]


def test_the_report_table_keeps_lines_and_quotes(tmp_path: Path) -> None:
    rows = documents()
    write_tables(tmp_path, rows)
    with (tmp_path / "reports.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["AccessionNumber", "StudyInstanceUID", "PatientID", "StudyDate", "Report"]
    assert [row["Report"] for row in read] == [document["report"] for document in rows]
    assert [row["AccessionNumber"] for row in read] == [document["studies"][0]["accession"] for document in rows]


def test_labels_say_what_is_planted_and_held_out_is_the_test_split() -> None:
    for study in sample_cohort(patients=30, seed=0, modality="cxr"):
        row = study_row(study, age=60, seed=0)
        planted = {finding["name"] for finding in finding_rows(study)}
        assert {name[6:] for name, value in row.items() if name.startswith("label:") and value} == planted
        assert row["held_out"] == (row["split"] == "test")
        if study.prior is None:
            assert all(finding["change"] == "" for finding in finding_rows(study))
            assert row["resolved"] == []
