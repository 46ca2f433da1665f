from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medvlp.core.errors import DataError
from medvlp.data import _mapped
from medvlp.data._columns import take_rows
from medvlp.data._mapped import string_hashes
from medvlp.data.joined import in_part, join_sets
from medvlp.data.manifest import Manifest


def small(root: Path = Path(), **more: list[object]) -> Manifest:
    columns = {"id": ["a", "b", "c"], "text": ["x", " ", None], "label.f": [1, 0, None], "sex": ["F", "M", "F"]}
    return Manifest.of({**columns, **more}, root=root)


def test_blank_strings_and_nan_are_missing_and_records_leave_them_out() -> None:
    manifest = small(age=[61, float("nan"), None])
    assert manifest.record(0) == {"id": "a", "text": "x", "label.f": 1.0, "sex": "F", "age": 61.0}
    assert manifest.record(1) == {"id": "b", "label.f": 0.0, "sex": "M"}
    assert np.isnan(manifest.column("label.f")[2])
    assert manifest.column("text").tolist() == ["x", None, None]


def test_saved_and_loaded_is_the_same_manifest_with_its_root_and_meta(tmp_path: Path) -> None:
    manifest = Manifest(small(tmp_path).table, root=tmp_path / "images", meta={"layout": "csv"})
    manifest.save(tmp_path / "m.parquet")
    loaded = Manifest.load(tmp_path / "m.parquet")
    assert loaded.hash == manifest.hash
    assert loaded.root.resolve() == (tmp_path / "images").resolve()
    assert loaded.meta == {"layout": "csv"}
    (tmp_path / "moved").mkdir()
    (tmp_path / "m.parquet").rename(tmp_path / "moved" / "m.parquet")
    assert Manifest.load(tmp_path / "moved" / "m.parquet").root.resolve() == (tmp_path / "moved" / "images").resolve()


def test_facts_of_many_megabytes_are_read_again(tmp_path: Path) -> None:
    """Half a million names of files that were left out; Parquet keeps them twice, and Arrow reads 100 MB by itself."""
    Manifest(small().table, root=tmp_path, meta={"skipped": "x" * 60_000_000}).save(tmp_path / "m.parquet")
    assert len(str(Manifest.load(tmp_path / "m.parquet").meta["skipped"])) == 60_000_000


def test_an_absolute_root_is_kept_and_a_given_root_confines_a_manifest_from_elsewhere(tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    near.mkdir()
    Manifest(small(image=["a.png", "../b.png", "a.png"]).table, root=far).save(near / "m.parquet")
    assert Manifest.load(near / "m.parquet").root == far
    given = Manifest.load(near / "m.parquet", root=near)
    assert given.path(0) == near / "a.png"
    with pytest.raises(DataError, match="leaves the folder"):
        given.path(1)


def test_a_relative_root_that_climbs_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    small(tmp_path).save(tmp_path / "m.parquet")
    table = pq.read_table(tmp_path / "m.parquet")
    pq.write_table(table.replace_schema_metadata({"medvlp": '{"root": "images/../.."}'}), tmp_path / "m.parquet")
    with pytest.raises(DataError, match="climbs out of its folder: give root"):
        Manifest.load(tmp_path / "m.parquet")
    assert Manifest.load(tmp_path / "m.parquet", root=tmp_path).root == tmp_path


def test_a_csv_with_manifest_columns_loads_with_its_types(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        'id,text,label.f,id.patient,age\n1,"two\nlines",-1,007,33\n2,,,8,\n', encoding="utf-8"
    )
    manifest = Manifest.load(tmp_path / "m.csv")
    assert manifest.record(0) == {"id": "1", "text": "two\nlines", "label.f": -1.0, "id.patient": "007", "age": 33.0}
    assert manifest.record(1) == {"id": "2", "id.patient": "8"}


@pytest.mark.parametrize("kind", [pa.large_list, lambda of: pa.list_(of, 3)])
def test_lists_are_one_thing_whatever_library_wrote_them(tmp_path: Path, kind: Callable[..., pa.DataType]) -> None:
    """Polars writes large lists, and arrays of one size."""
    paths, runs = pa.array([["a", "b", "c"]], kind(pa.large_string())), pa.array([[1, 2, 2]], kind(pa.int32()))
    pq.write_table(pa.table({"id": ["1"], "stack": paths, "mask.f": runs}), tmp_path / "m.parquet")
    assert Manifest.load(tmp_path / "m.parquet").record(0) == {"id": "1", "stack": ["a", "b", "c"], "mask.f": [1, 2, 2]}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_has_the_separator_that_its_header_has(tmp_path: Path, separator: str) -> None:
    with open(tmp_path / "m.csv", "w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle, delimiter=separator)
        writer.writerows([("id", "text", "age"), ("a", f"two{separator} or three", 33), ("b", "", 7)])
    manifest = Manifest.load(tmp_path / "m.csv")
    assert manifest.record(0) == {"id": "a", "text": f"two{separator} or three", "age": 33.0}


@pytest.mark.parametrize("above", ["\n", "sep=,\n", " ,,,,\n"])
def test_what_a_spreadsheet_puts_around_a_csv_changes_no_patient(tmp_path: Path, above: str) -> None:
    (tmp_path / "m.csv").write_text(f"{above}id,text,id.patient,,\na,x,007,,\nb,y,NA,,\n", encoding="utf-8")
    manifest = Manifest.load(tmp_path / "m.csv")
    assert manifest.names == ("id", "text", "id.patient")
    assert manifest.column("id.patient").tolist() == ["007", "NA"]  # not 7 and a blank


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\x89PNG\r\n\x1a\n", "save it as UTF-8"),
        ("id,text\na,kräftig\n".encode("latin-1"), "save it as UTF-8"),
        ("id,tëxt\na,b\n".encode("latin-1"), "save it as UTF-8"),
        (b"id,text,text\na,b,c\n", "names the column 'text' twice: rename or drop one"),
        ("id,text\na,b\n".encode("utf-16"), "save it as UTF-8"),
        (b"id,text\n" + b"a,b\n" * 4000 + b"c,Gr\xf6\xdfe\n", "save it as UTF-8"),
        (b"id,text\na,b\nc,Ms Meier, born 1950\n", "line 3: 3 values under 2 columns: quote values that hold ','"),
        (b"", "has no rows"),
    ],
)
def test_a_text_table_that_is_none_is_one_sentence_without_a_word_of_a_report(
    tmp_path: Path, data: bytes, told: str
) -> None:
    (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(DataError, match=told) as refused:
        Manifest.load(tmp_path / "m.csv")
    assert "Meier" not in str(refused.value)


def test_the_hash_is_of_values_not_of_chunks_root_or_order_of_columns() -> None:
    whole = small().table
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1)]).select(["sex", "label.f", "text", "id"])
    assert Manifest(pieces, root=Path("elsewhere")).hash == small().hash
    assert small(sex=["F", "M", "M"]).hash != small().hash
    assert small(text=["x", None, "y"]).hash != small(text=["x", "y", None]).hash


@pytest.mark.slow
def test_reports_of_more_than_two_gib_together_are_a_column() -> None:
    """Arrow's strings have offsets of 32 bits: one array of them ends at 2 GiB, which 200,000 long reports pass."""
    part = pa.array(["a" * (1 << 20), "b" * (1 << 20), " "])  # the same memory a thousand times
    long = {"id": [str(i) for i in range(3300)], "text": pa.chunked_array([part] * 1100)}
    manifest = Manifest(pa.table(long), root=Path())
    rows = [3299, 0, 5, 1000, 4, 0]
    assert [manifest.value("text", row) for row in (0, 1, 2)] == ["a" * (1 << 20), "b" * (1 << 20), None]
    some = manifest.take(rows[:5]).column("text").tolist()
    assert some == [manifest.value("text", row) for row in rows[:5]]
    assert take_rows(manifest.arrow("text"), np.array(rows)).to_pylist() == [*some, some[1]]
    assert len(take_rows(manifest.arrow("text"), np.zeros(0, np.int64))) == 0


def test_where_takes_values_lists_and_missing() -> None:
    manifest = small()
    assert manifest.where({"sex": "F"}).column("id").tolist() == ["a", "c"]
    assert manifest.where({"sex": ["F", "M"], "label.f": [0, None]}).column("id").tolist() == ["b", "c"]
    assert manifest.having("text", "label.f").column("id").tolist() == ["a"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: small().where({"sexx": "F"}), "did you mean 'sex'?"),
        (lambda: small().where({"sex": "X"}), "no record left where sex is 'X': the column holds F, M"),
        (lambda: small().where({"label.f": "many"}), "holds float, not 'many'"),
        (lambda: small().split_of("train"), "no column 'split'"),
        (lambda: small().column("label.effusion"), "no column 'label.effusion'"),
        (lambda: Manifest.of({"text": ["x"]}, root=Path()), "no column 'id'"),
        (lambda: Manifest.of({"id": ["a"], "sex": ["F"]}, root=Path()), "nothing to encode"),
        (lambda: Manifest.of({"id": [], "text": []}, root=Path()), "is empty"),
        (lambda: small(id=["a", "a", "b"]), "1 ids stand more than once, the first is 'a' (2 times)"),
        (lambda: small(id=["a", "", "b"]), "no id in 1 of 3 rows"),
        (lambda: small(**{"label.f": [1, 2, 0]}), "label.f of record 'b' is 2: a label is 1 (present)"),
        (lambda: small(**{"label.f": ["1", "yes", "0"]}), "must hold numbers"),
        (lambda: small(**{"lable.f": [1, 1, 0]}), "did you mean 'label'?"),
        (lambda: small(**{"graph.f": [1, 1, 0]}), "cannot hold the kind 'graph'"),
        (lambda: small(**{"boxes.f": [1, 1, 0]}), "'boxes.f' must hold lists of x0, y0, x1, y1"),
        (lambda: small(**{"boxes.f": [[[1, 1, 0, 2]], None, []]}), "a box of the column 'boxes.f' is not x0 < x1"),
        (lambda: small(**{"boxes.f": [[[1, 1, 2, 1]], None, []]}), "a box of the column 'boxes.f' is not x0 < x1"),
        (lambda: small(**{"boxes.f": [[[1, 1, 2]], None, []]}), "a box of the column 'boxes.f' is not x0 < x1"),
        (lambda: small(grade=[[1], [2], None]), "the column 'grade' must hold words or numbers, not list<"),
        (lambda: small(text=[{"a": "x"}, None, None]), "'text' must hold words or numbers, not struct<"),
        (lambda: small(**{"vector.f": ["1", "2", "3"]}), "'vector.f' must hold lists of numbers, not string"),
        (lambda: small(**{"mask.f": [["a"], None, None]}), "'mask.f' must hold paths, or height, width and runs, not"),
        (lambda: Manifest(pa.table([["a"]] * 3, ["id", "text", "text"]), root=Path()), "names the column 'text' twice"),
        (lambda: small(**{"mask.f": [[2, 2, 1, 2], None, None]}), "runs of the column 'mask.f' do not fill"),
        (lambda: small(deidentified=["yes", "maybe", "no"]), "write yes, no or unknown"),
        (lambda: small(text=[None] * 3).having("text"), "no record with all of text"),
    ],
)
def test_a_mistake_is_one_sentence(make: object, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        make()  # type: ignore[operator]
    assert sentence in str(caught.value)


def test_a_path_with_nul_and_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    manifest = Manifest.of({"id": ["n", "c"], "image": ["a\0/../../etc/passwd", "a/x.png"]}, root=tmp_path)
    for index, name in enumerate("nc"):
        with pytest.raises(DataError, match=f"the image of record '{name}' is no path .*: index the data again"):
            manifest.path(index)


def test_a_path_that_leaves_the_root_is_refused_also_through_a_link(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").touch()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "in.png").touch()
    paths = ["../secret.png", str(tmp_path / "secret.png"), "link.png", "in.png", None]
    manifest = Manifest.of({"id": list("abcde"), "image": paths}, root=root)
    for bad in range(3):
        with pytest.raises(DataError, match="leaves the folder"):
            manifest.path(bad)
    assert manifest.path(3) == (root / "in.png").resolve()
    assert manifest.path(4) is None


def test_a_missing_or_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist: make it with"):
        Manifest.load(tmp_path / "m.parquet")
    with pytest.raises(DataError, match="is a folder: name a file in it, or make it with"):
        Manifest.load(tmp_path)
    with pytest.raises(DataError, match="is no plain file: make it with"):
        Manifest.load(Path("/dev/zero"))
    (tmp_path / "m.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        Manifest.load(tmp_path / "m.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column 'id'"):
        Manifest.load(tmp_path / "other.parquet")


# large manifests ------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take every manifest for a large one, in pieces of two rows."""
    monkeypatch.setenv("MEDVLP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_mapped, "LARGE", 1)
    monkeypatch.setattr(_mapped, "_BATCH", 2)
    return tmp_path


def _columns(n: int) -> dict[str, list[object]]:
    return {
        "id": [f"r{i}" for i in range(n)],
        "text": [("Clear.", " ", None, "Größe")[i % 4] for i in range(n)],
        "stack": [None if i == 1 else [f"{i}.png"] for i in range(n)],
        "label.f": [(1, 0, -1, None)[i % 4] for i in range(n)],
        "age": [None if i == 2 else 40 + i for i in range(n)],
        "site": [1.0 if i else float("nan") for i in range(n)],
        "flag": [i % 2 == 0 for i in range(n)],
        "split": [("train", "test")[i % 3 == 0] for i in range(n)],
    }


def test_a_mapped_manifest_is_the_one_in_memory(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({name: pa.array(values) for name, values in _columns(7).items()})
    pq.write_table(table, large / "m.parquet")
    mapped = Manifest.load(large / "m.parquet")
    assert mapped.arrow("text").num_chunks == 4
    again = Manifest.load(large / "m.parquet")
    monkeypatch.setattr(_mapped, "LARGE", 1000)
    plain = Manifest.load(large / "m.parquet")
    for made in (
        lambda m: m,
        lambda m: m.split_of("train"),
        lambda m: m.take([5, 0, 2]).take([2, 1]),
        lambda m: m.where({"age": [40, None, 44]}).with_column("sex", ["F", "M", "F"]).take([2, 0]).without("flag"),
        lambda m: m.having("text", "stack"),
    ):
        ours, theirs = made(mapped), made(plain)
        assert ours.names == theirs.names
        assert ours.table.combine_chunks().equals(theirs.table.combine_chunks())
        assert ours.hash == theirs.hash == made(again).hash
        assert [ours.record(i) for i in range(len(ours))] == [theirs.record(i) for i in range(len(theirs))]
        assert all(np.array_equal(ours.column(n), theirs.column(n), equal_nan=n == "age") for n in ("id", "age"))
    both = join_sets({"a": in_part(mapped, "train"), "b": in_part(mapped.take([0]), "test")})
    assert both.column("text").tolist() == [*plain.column("text").tolist(), plain.value("text", 0)]
    mapped.save(large / "again.parquet")
    assert Manifest.load(large / "again.parquet").hash == plain.hash


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["7", "08", "9"], pa.large_string()),  # as pandas writes words
        pa.array(["7", "08", "9"]).dictionary_encode(),
        pa.array([7, 8, 9]),
    ],
)
def test_ids_of_a_large_manifest_may_be_what_other_programs_write(large: Path, ids: pa.Array) -> None:
    pq.write_table(pa.table({"id": ids, "text": pa.array(["x"] * 3, pa.large_string())}), large / "m.parquet")
    assert Manifest.load(large / "m.parquet").column("id").tolist() == [str(each) for each in ids.to_pylist()]


def test_a_changed_large_manifest_is_read_again_and_its_older_copy_goes(large: Path) -> None:
    for n in (5, 6):
        pq.write_table(pa.table({name: pa.array(values) for name, values in _columns(n).items()}), large / "m.parquet")
        assert len(Manifest.load(large / "m.parquet")) == n
    assert len(list((large / "cache" / "contents").glob("manifest-*.arrow"))) == 1


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("id", ["a", "b", "a"], r"1 ids stand more than once, the first is 'a' \(2 times\)"),
        ("id", ["a", " ", "c"], "no id in 1 of 3 rows"),
        ("label.f", [1, 0, 3], "label.f of record 'c' is 3: a label is 1"),
        ("side.f", ["left", None, "up"], "side.f is 'up': write left"),
    ],
)
def test_faults_of_a_large_manifest_are_the_sentences_of_a_small_one(
    large: Path, name: str, values: list[object], sentence: str
) -> None:
    columns = {"id": ["a", "b", "c"], "text": ["x", "y", "z"]} | {name: values}
    table = pa.table({each: pa.array(found) for each, found in columns.items()})
    pq.write_table(table, large / "m.parquet")
    with pytest.raises(DataError, match=f"m.parquet: {sentence}"):
        Manifest.load(large / "m.parquet")
    pq.write_table(table.append_column("text", table["text"]), large / "m.parquet")
    with pytest.raises(DataError, match=r"m\.parquet names the column 'text' twice: rename or drop one"):
        Manifest.load(large / "m.parquet")


def test_hashes_tell_strings_apart_and_equal_ones_together() -> None:
    words = ["a", "b", "ab", "ba", "aa", "aaa", "\0", "\0\0", "Größe", *(f"{i:012}" for i in range(20_000))]
    hashes = string_hashes(pa.array(words))
    assert len(set(hashes.tolist())) == len(words)
    assert string_hashes(pa.array(["x", *words])[1:]).tolist() == hashes.tolist()
    assert string_hashes(pa.array(["ab", "c", "ab"])).tolist()[::2] == [hashes[2]] * 2
