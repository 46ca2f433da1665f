"""SemDeDup against a loop over all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable
from medvlp.curation.semdedup import Semdedup


def pool(count: int, folder: Path) -> tuple[np.ndarray, list[dict[str, str]], Path]:
    """Unit rows, of which many are near others, their records, and the table that holds them."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(12, 8))[draw.integers(0, 12, count)] + 0.1 * draw.normal(size=(count, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = [f"r{i}" for i in range(count)]
    FeatureTable(names, {"image/embedding": rows}, {}).save(folder / "table.parquet")
    return rows, [{"id": name} for name in names], folder / "table.parquet"


def left_out(rule: Semdedup, records: list[dict[str, str]]) -> set[str]:
    counts = rule.measure(records)
    assert counts is not None
    return {record["id"] for record in records if rule.apply(record, counts).reason == "near_duplicate"}


@pytest.mark.parametrize("asked", [slice(None), slice(0, 200, 3)])
def test_of_two_duplicates_in_the_pool_the_one_nearer_to_the_centre_goes(asked: slice, tmp_path: Path) -> None:
    rows, records, table = pool(200, tmp_path)
    centre = rows.mean(axis=0)
    inner = rows @ (centre / np.linalg.norm(centre))
    some = records[asked]
    places = [int(record["id"][1:]) for record in some]
    wanted = {
        f"r{i}" for i in places if any(rows[i] @ rows[j] >= 0.95 and inner[j] < inner[i] for j in places if j != i)
    }
    assert 10 < len(wanted) < len(some) - 10
    assert left_out(Semdedup(images=table, similarity=0.95), some) == wanted


def test_no_two_that_stay_are_duplicates_and_each_that_goes_has_one_in_its_cluster(tmp_path: Path) -> None:
    rows, records, table = pool(300, tmp_path)
    rule = Semdedup(images=table, similarity=0.95, clusters=5)
    gone = left_out(rule, records)
    ids, _, _, begins = rule._sorted
    cluster = dict(zip(ids, begins.tolist(), strict=True))
    alike = rows @ rows.T >= 0.95
    np.fill_diagonal(alike, False)
    near = {f"r{i}": [f"r{j}" for j in np.flatnonzero(alike[i])] for i in range(300)}
    inside = {name: [each for each in found if cluster[each] == cluster[name]] for name, found in near.items()}
    assert all(inside[name] for name in gone)
    assert all(gone.issuperset(inside[name]) for name in near.keys() - gone)


def test_of_equal_rows_one_stays_which_the_seed_draws_and_who_has_no_embedding_stays(tmp_path: Path) -> None:
    rows = np.repeat(np.eye(2, 4, dtype=np.float32), 6, axis=0)
    rows[11] = np.nan
    records = [{"id": f"r{i}"} for i in range(12)]
    FeatureTable([each["id"] for each in records], {"image/embedding": rows}, {}).save(tmp_path / "t.parquet")
    stay = []
    for seed in range(6):
        gone = left_out(Semdedup(images=tmp_path / "t.parquet", similarity=1.0, seed=seed), records)
        assert len(gone & {f"r{i}" for i in range(6)}) == 5
        assert len(gone & {f"r{i}" for i in range(6, 11)}) == 4
        assert "r11" not in gone
        stay.append(min({f"r{i}" for i in range(6)} - gone))
    assert len(set(stay)) > 1
    with pytest.raises(DataError, match=r"The table has no column 'text/embedding'"):
        left_out(Semdedup(images=tmp_path / "t.parquet", column="text/embedding"), records)


def test_a_table_without_vectors_of_one_length_is_refused(tmp_path: Path) -> None:
    table = FeatureTable(["a", "b"], {"text/local": [np.ones((2, 4)), np.ones((3, 4))]}, {})
    table.save(tmp_path / "t.parquet")
    rule = Semdedup(images=tmp_path / "t.parquet", column="text/local")
    with pytest.raises(DataError, match=r"'text/local' holds no vectors of one length: make the table with `medvlp e"):
        rule.apply({"id": "a"}, rule.count({"id": "a"}))
