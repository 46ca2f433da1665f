"""Reading a predictions table: identifiers as they are written, and nothing wrong taken in."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.evaluation.predictions import (
    check_policy,
    checked_findings,
    groups_of,
    is_synthetic,
    known_rows,
    numeric_columns,
    read_predictions,
)

CSV = "id,patient_id,label:edema,score:edema,group:site\n1,007,1,0.5,NA\n2,7,,0.25,b\n3,08,-1,,b\n"


def test_csv_and_parquet_are_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeff" + CSV, encoding="utf-8")
    table = read_predictions(tmp_path / "a.csv")
    assert table["patient_id"].tolist() == ["007", "7", "08"]  # three patients, not two
    assert table["group:site"].tolist() == ["NA", "b", "b"]
    table.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "a.parquet"), table)
    assert checked_findings(table) == ["edema"]
    numbers = numeric_columns(table)
    assert numbers["label:edema"].isna().tolist() == [False, True, False]
    rows = known_rows(numbers, "edema", policy="u_ignore")
    assert (rows.known.tolist(), rows.positive.tolist()) == ([True, False, False], [True, False, False])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no rows: export the table again"),
        ("\n\n", "has no rows: export the table again"),
        ("id,id,patient_id\n1,2,3\n", "names the column 'id' twice"),
        ("id, id,patient_id\n1,2,3\n", "names the column 'id' twice"),
        (b"\xff\xfe\x00", "is not in the encoding utf-8-sig: save it as UTF-8"),
        ('id,patient_id\n"1,2\n3', "line 2: a quote opens and is never closed"),
        ("id,patient_id\n1,2,3\n4,5,6\n", "line 2: 3 values under 2 columns: quote values that hold ','"),
        ("id,patient_id\n1,2\n4\n", "line 3: 1 values under 2 columns"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text, sentence: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=sentence):
        read_predictions(path)
    with pytest.raises(DataError, match="does not exist: give a predictions table"):
        read_predictions(tmp_path / "none.csv")
    os.mkfifo(tmp_path / "pipe.csv")  # as a shell's <(zcat a.csv.gz) is
    with pytest.raises(DataError, match="is no plain file: give a predictions table"):
        read_predictions(tmp_path / "pipe.csv")


def test_blank_identifiers_and_reserved_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV.replace("007", " "))
    with pytest.raises(DataError, match=r"lack 'patient_id' in 1 of \d+ rows"):
        checked_findings(read_predictions(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_text(CSV.replace("edema", "macro"))
    with pytest.raises(DataError, match="a finding called 'macro', which is no name for one"):
        checked_findings(read_predictions(tmp_path / "a.csv"))


def test_outer_blanks_are_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "id , patient_id,split, label:edema,score:edema\na ,P1 ,test ,1,0.5\nb,P1,test,0,0.4\n"
    )
    table = read_predictions(tmp_path / "a.csv")
    assert checked_findings(table) == ["edema"]
    assert table[["id", "patient_id", "split"]].to_numpy().tolist() == [["a", "P1", "test"], ["b", "P1", "test"]]
    table.assign(**{"group:sex": ["F ", " F"]}).to_parquet(tmp_path / "a.parquet")
    assert [group.name for group in groups_of(read_predictions(tmp_path / "a.parquet"), ["edema"])] == ["sex=F"]


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,patient_id,label:edema,score:edema\n")
    with pytest.raises(DataError, match="has no rows: export the table again"):
        checked_findings(read_predictions(tmp_path / "a.csv"))


def test_a_missing_score_of_an_uncertain_row_matters_only_where_the_row_counts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    table = read_predictions(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"in 1 of \d+ rows with a known label.*diverged: lower optimiser\.rate"):
        known_rows(table, "edema", policy="u_zeros")


def test_a_score_that_is_no_number_is_told_by_its_id_wherever_the_row_stands() -> None:
    scores = [0.5, None, 0.25, float("inf")]  # the second belongs to no known label
    columns = {"id": ["c0", "c1", "c2", "c10"], "label:edema": [1, None, 0, 1], "score:edema": scores}
    for table in (pd.DataFrame(columns), pd.DataFrame(columns).sort_values("id")):
        with pytest.raises(
            DataError, match=r"score:edema is blank, NaN or infinite in 1 of 3 .* \(the first is id c10\)"
        ):
            known_rows(table, "edema")


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is no policy 'ignore' for uncertain labels: use u_ignore"):
        check_policy("ignore")


def test_a_table_says_in_numbers_that_it_is_synthetic() -> None:
    said = [
        is_synthetic(pd.DataFrame({"synthetic": values})) for values in (["1", ""], ["0", None], [True], [1.0, 0.0])
    ]
    assert said == [True, False, True, True]
    for word in ("True", "yes", "2"):
        with pytest.raises(DataError, match=r"Column synthetic holds something that is n.*1"):
            is_synthetic(pd.DataFrame({"synthetic": ["1", word]}))


def test_where_each_image_is_a_patient_the_column_id_is_both(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,label:edema,score:edema\na,1,0.5\nb,0,0.25\n")
    found = read_predictions(tmp_path / "t.csv", columns={"patient_id": "id"})
    assert found["id"].tolist() == found["patient_id"].tolist() == ["a", "b"]
    (tmp_path / "t.csv").write_text("patient_id,label:edema,score:edema\na,1,0.5\nb,0,0.25\n")
    found = read_predictions(tmp_path / "t.csv", columns={"id": "patient_id"})
    assert found["id"].tolist() == found["patient_id"].tolist() == ["a", "b"]


def test_tables_as_hospitals_export_them_are_read(tmp_path: Path) -> None:
    """Semicolons, a byte order mark, a missing value written out, and columns under other names."""
    plain = "id,patient_id,label:edema,score:edema\na,p,1,0.5\nb,q,,0.25\n"
    (tmp_path / "plain.csv").write_text(plain)
    (tmp_path / "other.csv").write_text("\ufeffid;Fall;id2;gt;p\na;p;x;1;0.5\nb;q;y;NaN;0.25\n", encoding="utf-8")
    columns = {"patient_id": "Fall", "label:edema": "gt", "score:edema": "p"}
    expected = numeric_columns(read_predictions(tmp_path / "plain.csv"))
    found = numeric_columns(read_predictions(tmp_path / "other.csv", columns=columns))
    pd.testing.assert_frame_equal(found[list(expected)], expected)
    with pytest.raises(DataError, match="has no column 'fall': did you mean 'Fall'"):
        read_predictions(tmp_path / "other.csv", columns={"patient_id": "fall"})
