"""Records whose files cannot be read are left out and named; the others keep all they had and get their file's hash."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.cache import Cache
from medvlp.data.difference import difference
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.data.quarantine import Quarantined, write_quarantine
from medvlp.data.readable import look_through, write_left_out
from medvlp.data.views.read_volume import ReadVolume
from tests.io.conftest import dicom_writer
from tests.io.ct_series import write_series


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_unreadable_are_left_out_and_named_with_a_reason(cohort: Callable[..., Manifest]) -> None:
    manifest = cohort(6)
    cut(manifest.root / "2.png")
    (manifest.root / "5.png").unlink()
    looked = look_through(manifest)
    assert [(entry.id, entry.reason) for entry in looked.quarantined] == [("s2", "truncated"), ("s5", "not_found")]
    assert looked.manifest.column("id").tolist() == ["s0", "s1", "s3", "s4"]
    assert looked.manifest.meta["quarantined"] == [
        {"id": entry.id, "reason": entry.reason, "hint": entry.hint, "file": file}
        for entry, file in zip(looked.quarantined, ["2.png", "5.png"], strict=True)
    ]
    assert set(looked.manifest.names) == {*manifest.names, "sha256"}
    shas = [sha_of(manifest.root / str(path)) for path in looked.manifest.column("image")]
    assert looked.manifest.column("sha256").tolist() == shas
    assert [looked.facts(row)[0].sha256 for row in range(4)] == shas


def test_a_record_needs_all_of_its_files_and_a_file_may_have_several_records(cohort: Callable[..., Manifest]) -> None:
    root = cohort(4).root
    cut(root / "3.png")
    manifest = Manifest.of(
        {
            "id": ["a", "b", "c", "d"],
            "image": ["0.png", "0.png", None, "1.png"],
            "image.lateral": ["1.png", "3.png", None, None],
            "text": ["x", "y", "z", "w"],
        },
        root=root,
    )
    looked = look_through(manifest)
    assert [entry.id for entry in looked.quarantined] == ["b"]
    assert len(looked.survey) == 3
    assert looked.manifest.column("sha256").tolist() == [sha_of(root / "0.png"), None, sha_of(root / "1.png")]
    assert looked.manifest.column("sha256_image_lateral").tolist() == [sha_of(root / "1.png"), None, None]
    assert [len(looked.facts(row)) for row in range(3)] == [2, 0, 1]


def test_a_stack_is_its_pictures_whether_they_are_listed_or_in_a_folder(cohort: Callable[..., Manifest]) -> None:
    root = cohort(6).root
    cut(root / "5.png")
    for number, name in enumerate(("cine/2.png", "cine/10.png", None, None, "torn/2.png", "torn/10.png")):
        if name is not None:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes((root / f"{number}.png").read_bytes())
    manifest = Manifest.of({"id": ["a", "b"], "stack": ["cine", "torn"], "text": ["x", "y"]}, root=root)
    looked = look_through(manifest)
    assert [(entry.id, entry.reason) for entry in looked.quarantined] == [("b", "truncated")]
    assert looked.facts(0)[0].sha256 == sha_of(root / "0.png")
    pairs = Manifest.of(
        {"id": ["a", "b", "c"], "stack": [["0.png", "1.png"], ["2.png"], ["3.png", "5.png"]]}, root=root
    )
    looked = look_through(pairs)
    assert [entry.id for entry in looked.quarantined] == ["c"]
    assert looked.manifest.column("sha256")[1] == sha_of(root / "2.png")


def test_a_series_that_the_views_may_repair_stays_and_is_theirs_to_refuse(tmp_path: Path, cache: Cache) -> None:
    """Three slices are missing: the index knows nothing of the `on_gap` that a configuration will ask for."""
    for name, only in (("whole", range(17)), ("gap", [k for k in range(17) if k not in (9, 10, 11)])):
        write_series(dicom_writer(tmp_path), tmp_path / name, only=tuple(only))
    data = Manifest.of({"id": ["a", "b"], "volume": ["whole", "gap"]}, root=tmp_path)
    looked = look_through(data)
    assert (looked.quarantined, looked.manifest.column("id").tolist()) == ((), ["a", "b"])
    refused, repaired = (
        prepare(looked.manifest, [ReadVolume(size=16, on_gap=on_gap)], cache=cache, cap=0.5)  # type: ignore[arg-type]
        for on_gap in ("error", "resample")
    )
    assert [(entry.id, entry.reason) for entry in refused.quarantined] == [("b", "gap")]
    assert repaired.quarantined == ()


def test_a_cohort_of_words_needs_no_file() -> None:
    looked = look_through(Manifest.of({"id": ["a"], "text": ["x"]}, root=Path()))
    assert (looked.manifest.names, looked.quarantined, looked.facts(0)) == (("id", "text"), (), ())


def test_a_cohort_of_which_nothing_can_be_read_is_refused(cohort: Callable[..., Manifest]) -> None:
    manifest = cohort(3)
    for at in range(3):
        (manifest.root / f"{at}.png").write_bytes(b"text, not a picture" if at else b"")
    with pytest.raises(
        DataError,
        match=r"None of the 3 records can be read \(2 not_an_image, 1 empty\); the first is 's0': it has 0 bytes; .*"
        r"check the root folder, or index without looking at the files \(--no-survey\)",
    ):
        look_through(manifest)


def test_the_quarantine_table_is_written_whole_or_goes(cohort: Callable[..., Manifest], tmp_path: Path) -> None:
    manifest = cohort(3)
    cut(manifest.root / "1.png")
    entries = look_through(manifest).quarantined
    path = tmp_path / "m.quarantine.csv"
    write_quarantine(path, entries)
    with open(path, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert rows == [{"id": "s1", "reason": "truncated", "hint": entries[0].hint, "file": "1.png"}]
    write_quarantine(path, [])
    assert not path.exists()
    write_quarantine(path, [])


def test_a_list_of_what_was_left_out_runs_nothing_in_a_spreadsheet(tmp_path: Path) -> None:
    """Excel and LibreOffice take a cell that begins with =, +, - or @ for a formula, and it may start programs."""
    path = tmp_path / "m.csv"
    write_quarantine(path, [Quarantined("=cmd|' /C calc'!A0", "corrupt", "-1+1; mend it"), Quarantined("-7", "x", "y")])
    lines = path.read_text().splitlines()
    assert lines == ["id,reason,hint,file", "'=cmd|' /C calc'!A0,corrupt,'-1+1; mend it,", "-7,x,y,"]
    write_left_out(path, {"no_picture": ["@SUM(A1).txt", 12]})
    assert path.read_text().splitlines() == ["reason,file_or_line", "no_picture,'@SUM(A1).txt", "no_picture,12"]


def test_what_changed_since_the_last_index_is_counted_by_id() -> None:
    old = {
        "id": ["a", "b", "c", "d"],
        "text": ["x", "y", None, "w"],
        "label.edema": [1, None, 0, -1],
        "boxes.edema": [[[0, 0, 1, 1]], [], None, []],
        "sha256": ["1", "2", "3", "4"],
    }
    before = Manifest.of(old, root=Path())
    assert not difference(before, before)
    assert str(difference(before, before.take([3, 1, 0, 2]))) == "no difference"
    after = before.with_column("label.edema", [1, 0, 0, -1]).with_column("sha256", ["1", "2", "3", "9"])
    found = difference(before, after)
    assert (found.added, found.gone, found.files, found.values) == (0, 0, 1, 1)
    found = difference(before, before.with_column("boxes.edema", [[[0, 0, 1, 1]], None, None, []]))
    assert found.values == 1
    found = difference(before, before.take([0, 2]).with_column("sex", ["F", "M"]))
    assert str(found) == "2 gone; other columns: sex"
    assert str(difference(before.take([0, 2]), before)) == "2 new"
