"""Cases found are those of a full sort, one of each group, however they are proposed."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from medvlp.core.errors import UserError
from medvlp.core.table import FeatureTable
from medvlp.features import case_index
from medvlp.features.case_index import CaseIndex, alike

COLUMN = "image/embedding"


def index_of(rows: np.ndarray, studies: np.ndarray, findings: list[str], **more: np.ndarray) -> CaseIndex:
    columns = {COLUMN: rows, "findings": findings, "report": [""] * len(rows), "study": studies, **more}
    return CaseIndex(FeatureTable([str(row) for row in range(len(rows))], columns), {"model": "m"})


def sorted_out(products: np.ndarray, group: np.ndarray, usable: np.ndarray, k: int) -> list[int]:
    """Return the first of each group in a full sort; of equals the earlier row."""
    found: dict[int, int] = {}
    for row in np.lexsort((np.arange(len(products)), -products)):
        if usable[row]:
            found.setdefault(int(group[row]), int(row))
    return list(found.values())[:k]


@given(st.integers(0, 10_000))
def test_it_is_the_first_of_each_group_of_a_full_sort(seed: int) -> None:
    draws = np.random.default_rng(seed)
    count, k = int(draws.integers(1, 80)), int(draws.integers(1, 12))
    rows = draws.choice([-0.5, 0.5], (count, 4)).astype(np.float32)  # at unit length, with exact products and many ties
    rows[draws.random(count) < 0.1] = np.nan
    studies, findings = draws.integers(0, 30, count), draws.choice(["", "edema", "edema, nodule"], count).tolist()
    index, query = index_of(rows, studies, findings), draws.choice([-0.5, 0.5], 4).astype(np.float32)
    group = alike(studies, rows)
    for asked in ((), ("edema",), ("nodule", "edema")):
        usable = np.isfinite(rows).all(axis=1) & [set(asked) <= set(each.split(", ")) for each in findings]
        found = index.search(query, [COLUMN], k, findings=asked)
        expected = sorted_out(rows.astype(float) @ query, group, usable, k)
        assert [int(case.id) for case in found.cases] == expected
        assert [case.similarity for case in found.cases] == (rows.astype(float) @ query)[expected].tolist()
        assert found.folded == int(np.isin(group[usable], group[expected]).sum()) - len(expected)


def test_rows_are_alike_by_name_or_by_vector_and_through_each_other() -> None:
    names = np.array(["a", "a", "b", "c", "", ""])
    table = np.array([[0.0], [1.0], [1.0], [2.0], [np.nan], [np.nan]])
    groups = alike(names, table).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4], groups[5]}) == 4


def test_telling_rows_that_are_alike_holds_no_second_copy_of_their_vectors() -> None:
    table = np.random.default_rng(0).random((2000, 768), np.float32)
    table[5] = table[1999]
    tracemalloc.start()
    groups = alike(np.zeros(2000, np.int64), table)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert groups[5] == groups[1999]
    assert len(set(groups.tolist())) == 1999
    assert held < table.nbytes / 2


# lists --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> tuple[CaseIndex, CaseIndex, np.ndarray]:
    """An index of 3,000 cases around 60 points, the same with lists, and queries like them."""
    pytest.importorskip("faiss", reason="lists need faiss-cpu")
    draws = np.random.default_rng(0)
    points = draws.normal(size=(60, 24))
    rows = (points[draws.integers(0, 60, 3000)] + 0.4 * draws.normal(size=(3000, 24))).astype(np.float32)
    rows[::50] = np.nan
    findings = ["nodule" if row % 300 == 7 else "mass" if row % 10 == 3 else "" for row in range(3000)]
    queries = (points[draws.integers(0, 60, 100)] + 0.4 * draws.normal(size=(100, 24))).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = index_of(rows, draws.integers(1, 1500, 3000), findings)
    return exact, exact.with_lists({"reports": queries}, above=1000), queries


def test_lists_find_what_they_say_and_are_scored_exactly(large: tuple[CaseIndex, CaseIndex, np.ndarray]) -> None:
    exact, listed, queries = large
    facts = listed.meta["search"][COLUMN]
    assert facts["queries"] == {"its own": 256, "reports": 100}
    assert min(facts["recall"].values()) >= 0.99
    assert facts["probes"] <= facts["lists"] // 4
    assert (
        f"{COLUMN} is searched by lists, {facts['probes']} of {facts['lists']} at a time, which finds" in listed.how()
    )
    found = 0
    for query in queries:
        wanted, got = (each.search(query, [COLUMN], 10) for each in (exact, listed))
        similar = {case.id: case.similarity for case in wanted.cases}
        assert all(similar.get(case.id, case.similarity) == case.similarity for case in got.cases)
        assert len(got.cases) == 10
        found += sum(case.id in similar for case in got.cases)
    assert found >= 0.98 * 10 * len(queries)


def test_cases_with_a_finding_are_the_nearest_of_all_that_have_it(
    large: tuple[CaseIndex, CaseIndex, np.ndarray],
) -> None:
    """Few neighbours of a query have a finding that few have, and its nearest cases lie in further lists."""
    exact, listed, queries = large
    for finding in ("nodule", "mass"):  # ten cases, and a tenth of all
        for query in queries:
            found = listed.search(query, [COLUMN], 10, findings=[finding])
            assert found == exact.search(query, [COLUMN], 10, findings=[finding])
            assert all(finding in case.findings for case in found.cases)


def test_a_stored_index_answers_as_before_with_faiss_and_exactly_without(
    large: tuple[CaseIndex, CaseIndex, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, listed, queries = large
    listed.save(tmp_path)
    assert json.loads((tmp_path / "index.json").read_text())["search"] == listed.meta["search"]
    again = CaseIndex.load(tmp_path, model="m")
    assert again.meta["search"] == listed.meta["search"]
    assert [again.search(q, [COLUMN], 5) for q in queries] == [listed.search(q, [COLUMN], 5) for q in queries]
    monkeypatch.setattr(case_index, "find_spec", lambda name: None)
    without = CaseIndex.load(tmp_path, model="m")
    assert without.meta["search"] == {}
    assert [without.search(q, [COLUMN], 5) for q in queries] == [exact.search(q, [COLUMN], 5) for q in queries]


def test_few_rows_or_rows_without_clusters_are_searched_exactly(large: tuple[CaseIndex, CaseIndex, np.ndarray]) -> None:
    exact, _, _ = large
    assert exact.with_lists({}).meta["search"] == {}  # far below the size
    assert exact.with_lists({}).how() == "Search is exact."
    rows = np.random.default_rng(1).normal(size=(2000, 64)).astype(np.float32)
    strewn = index_of(rows, np.arange(2000), [""] * 2000)
    assert strewn.with_lists({}, above=1000).meta["search"] == {}  # no quarter of the lists holds 99 % of neighbours


@pytest.mark.parametrize("fault", ["place", "width", "rows", "probes", "bytes", "absent"])
def test_lists_that_are_not_the_tables_are_refused_before_faiss_sees_them(
    large: tuple[CaseIndex, CaseIndex, np.ndarray], tmp_path: Path, fault: str
) -> None:
    _, listed, _ = large
    listed.save(tmp_path)
    (file,) = tmp_path.glob("lists.*.safetensors")
    stored = load_file(file)
    if fault == "place":
        stored["place"][5] = len(stored["centroids"])
    elif fault == "width":
        stored["centroids"] = stored["centroids"][:, :-1].copy()
    elif fault == "rows":
        stored["place"] = stored["place"][:-1].copy()
    save_file(stored, file)
    if fault == "probes":
        meta = json.loads((tmp_path / "index.json").read_text())
        meta["search"][COLUMN]["probes"] = 0
        (tmp_path / "index.json").write_text(json.dumps(meta))
    elif fault == "bytes":
        file.write_bytes(b"not at all")
    elif fault == "absent":
        file.unlink()
    with pytest.raises(UserError, match=r"The index .* cannot be searched \(.*\): make it again with medvlp embed"):
        CaseIndex.load(tmp_path, model="m")


def test_an_index_killed_while_it_replaces_another_is_none(
    large: tuple[CaseIndex, CaseIndex, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, listed, _ = large
    exact.save(tmp_path)

    def full(path: Path, value: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(case_index, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        listed.save(tmp_path)
    assert CaseIndex.load(tmp_path, model="m").meta["search"] == {}  # the older one, whole
    monkeypatch.undo()
    monkeypatch.setattr(case_index, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        listed.save(tmp_path)
    with pytest.raises(UserError, match="is no index of cases: make one with medvlp embed"):
        CaseIndex.load(tmp_path, model="m")
