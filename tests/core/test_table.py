from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable


def table() -> FeatureTable:
    fixed = np.arange(6, dtype=np.float32).reshape(3, 2)
    ragged = [np.zeros((0, 2), np.float32), np.ones((1, 2), np.float32), np.full((2, 2), 2, np.float32)]
    return FeatureTable(
        ["a", "b", "b"],
        {
            "image/raw": fixed,
            "text/tokens": ragged,
            "text": ["x", "", "ü"],
            "label.effusion": np.array([1.0, 0.0, -1.0]),
        },
        {"model": "0123"},
    )


def test_a_table_is_read_back_from_its_file(tmp_path):
    made = table()
    made.save(tmp_path / "t.parquet")
    read = FeatureTable.load(tmp_path / "t.parquet")
    assert list(read.ids) == list(made.ids)
    assert dict(read.meta) == {"model": "0123"}
    assert list(read.columns) == list(made.columns)
    assert read["image/raw"].dtype == np.float32
    assert (read["image/raw"] == made["image/raw"]).all()
    assert (read["label.effusion"] == made["label.effusion"]).all()
    assert list(read.columns["text"]) == ["x", "", "ü"]
    for left, right in zip(read.columns["text/tokens"], made.columns["text/tokens"], strict=True):
        assert left.reshape(-1, 2).tolist() == right.tolist()


def test_columns_in_several_pieces_are_read_as_one(tmp_path):
    """Of words above 2 GiB, as of a million reports, Arrow makes no one array."""
    columns = {"text": ["x", None, "z"], "local": [[[1.0]], [[2.0], [3.0]], []], "number": [1, 2, 3]}
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float32)), 2)
    pq.write_table(pa.table({"id": list("abc"), **columns, "wide": wide}), tmp_path / "t.parquet", row_group_size=1)
    table = FeatureTable.load(tmp_path / "t.parquet")
    assert table["wide"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert list(table.columns["text"]) == columns["text"]
    assert table["number"].tolist() == columns["number"]
    assert [each.tolist() for each in table.columns["local"]] == columns["local"]


def test_rows_by_index_and_by_mask_are_the_same_rows(tmp_path):
    made = table()
    for chosen in (made.rows(np.array([0, 2])), made.rows(np.array([True, False, True]))):
        assert list(chosen.ids) == ["a", "b"]
        assert chosen["image/raw"].tolist() == [[0, 1], [4, 5]]
        assert list(chosen.columns["text"]) == ["x", "ü"]
        assert len(chosen) == 2


def test_tables_end_to_end_are_the_table_and_shorter_axes_end_in_zeros():
    made = table()
    again = FeatureTable.join([made.rows(np.array([i])) for i in range(3)])
    assert (list(again.ids), dict(again.meta)) == (list(made.ids), dict(made.meta))
    assert list(again.columns) == list(made.columns)
    assert again["image/raw"].tolist() == made["image/raw"].tolist()
    assert again["label.effusion"].tolist() == [1.0, 0.0, -1.0]
    assert again.columns["text"] == made.columns["text"]
    assert [each.tolist() for each in again.columns["text/tokens"]] == [e.tolist() for e in made.columns["text/tokens"]]
    long, short = (
        FeatureTable([name], {"text/local": np.full((1, n, 2), 7.0), "text/mask": np.ones((1, n), bool)})
        for name, n in (("a", 3), ("b", 1))
    )
    joined = FeatureTable.join([short, long])
    assert joined["text/local"][:, :, 0].tolist() == [[7.0, 0.0, 0.0], [7.0, 7.0, 7.0]]
    assert joined["text/mask"].tolist() == [[True, False, False], [True, True, True]]


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DataError, match="Column 'image/raw' has 2 rows, the table has 1"):
        FeatureTable(["a"], {"image/raw": np.eye(2)})
    with pytest.raises(DataError, match=r"no column 'image/row': did you mean 'image/raw'\?"):
        _ = table()["image/row"]
    with pytest.raises(DataError, match="does not exist: make the table with `medvlp embed`"):
        FeatureTable.load(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        FeatureTable.load(tmp_path / "bad.parquet")


def test_a_parquet_file_without_ids_is_no_table(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="has no column 'id': it is not a feature table"):
        FeatureTable.load(tmp_path / "x.parquet")


def test_an_empty_table_is_read_back(tmp_path):
    FeatureTable([], {"image/raw": np.zeros((0, 4), np.float32)}).save(tmp_path / "e.parquet")
    assert FeatureTable.load(tmp_path / "e.parquet")["image/raw"].shape == (0, 4)


def test_a_blank_row_that_another_program_wrote_is_one_of_nan(tmp_path):
    rows = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"id": list("abc"), "image/raw": rows}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(
        FeatureTable.load(tmp_path / "t.parquet").vectors("image/raw"), [[1, 2], [np.nan, np.nan], [3, 4]]
    )


@pytest.mark.parametrize("values", [[[1.0], [1.0, 2.0]], ["x", "y"], [1.0, 2.0]], ids=["ragged", "words", "numbers"])
def test_a_column_that_holds_no_vectors_is_refused_as_such(values, tmp_path):
    pq.write_table(pa.table({"id": ["a", "b"], "image/raw": values}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"Column 'image/raw' holds no vectors of one length: make the table with"):
        FeatureTable.load(tmp_path / "t.parquet").vectors("image/raw")
