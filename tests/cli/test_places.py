"""A place that cannot be written is found before the work, in one sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medvlp.core.errors import UserError
from medvlp.core.files import check_outputs, check_place, check_replaced, written_whole
from tests.data.films import film, write

if TYPE_CHECKING:
    from tests.cli.conftest import Ran

    Cli = Callable[..., Ran]


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A folder that nobody can make, root neither: it would lie in a file."""
    (tmp_path / "file").write_text("not a folder")
    return tmp_path / "file" / "inside"


def commands(nowhere: Path, there: Path) -> dict[str, tuple[object, ...]]:
    """Commands whose inputs do not exist: whoever refused them for that looked at the place too late."""
    return {
        "embed": ("embed", there / "bundle", there / "m.parquet", "--out", nowhere / "e.parquet"),
        "slices": ("embed", there / "bundle", there / "m.parquet", "--slices", nowhere),
        "score": ("score", there / "p.csv", "--out", nowhere / "r.json"),
        "page": ("score", there / "p.csv", "--out", there / "r.json", "--page", nowhere / "r.html"),
        "index": ("data", "index", "csv", there, "--out", nowhere / "m.parquet"),
        "label": ("data", "label", there / "r.csv", "--vocabulary", "nih14", "--out", nowhere / "l.csv"),
        "split": ("data", "split", there / "m.parquet", "--rule", "patient", "--out", nowhere / "s.parquet"),
        "ids": ("data", "split", there / "m.parquet", "--rule", "patient", "--ids", nowhere / "s.json"),
        "notes": ("data", "check", there / "m.parquet", "--notes", nowhere / "n.json"),
        "triplets": ("data", "triplets", there / "r.csv", "--out", nowhere / "t.jsonl"),
        "inspect": ("inspect", there / "a.dcm", "--png", nowhere / "a.png"),
        "phantom": ("phantom", nowhere / "hospital", "--patients", "1"),
        "train": ("train", "pretrain/csv.yaml", f"run={nowhere}", f"data.root={there}"),
        "convert": ("convert", there / "weights.pth", "--from", "medslip", "--out", nowhere),
        "gate": ("gate", there / "run", "--out", nowhere),
        "evaluate": ("evaluate", "evaluate/phantom.yaml", f"out={nowhere}", f"model={there}"),
    }


@pytest.mark.parametrize("name", commands(Path(), Path()))
def test_every_command_looks_at_its_place_before_it_works(cli: Cli, nowhere: Path, tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    told = cli(*commands(nowhere, tmp_path)[name]).refused()
    assert "cannot be written ([Errno 20] Not a directory" in told
    assert told.endswith("choose a folder you may write to.")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["adapt", "data", "evaluate", "predict", "quickstart", "score", "sweep"])
def test_torchrun_is_refused_where_every_process_would_write_the_same_files(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = cli(name, *(["index"] if name == "data" else [])).refused()
    assert f"medvlp {name} is the work of one process, and WORLD_SIZE is 2: leave torchrun out" in told


def test_features_are_shared_by_processes_in_parts(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ("embed", tmp_path / "bundle", tmp_path / "m.parquet", "--out", tmp_path / "e.parquet")
    assert "medvlp embed without --parts is the work of one process" in cli(*words).refused()
    assert "is not a bundle" in cli(*words, "--parts", "2").refused()


def test_a_picture_is_never_written_over_the_file_that_is_inspected(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / write(tmp_path, "a.png", film(1))
    before = place.read_bytes()
    for what in (place, tmp_path):  # the file, or the folder of slices that it is one of
        assert "is read by this command and would be written over" in cli("inspect", what, "--png", place).refused()
    assert "is a folder: name a file" in cli("inspect", place, "--png", tmp_path).refused()
    assert place.read_bytes() == before


def test_root_replaces_no_device_and_no_pipe(cli: Cli, tmp_path: Path) -> None:
    """A file is put in its place by renaming, and root may rename over /dev/null."""
    (tmp_path / "r.csv").write_text("id,text\n1,No effusion.\n")
    os.mkfifo(tmp_path / "l.csv")
    words = ("data", "label", tmp_path / "r.csv", "--vocabulary", "nih14", "--out", tmp_path / "l.csv")
    assert cli(*words).refused() == f"medvlp: {tmp_path / 'l.csv'} is no plain file: name a file to write."
    assert (tmp_path / "l.csv").is_fifo()
    with pytest.raises(UserError, match=r"^/dev/null is no plain file: name a file to write"):
        check_outputs([Path("/dev/null")], inputs=[])


def test_a_link_that_leads_to_itself_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "r.csv").write_text("id,text\n1,No effusion.\n")
    for read, written in (("loop", "l.csv"), ("r.csv", "loop"), ("r.csv", "loop/l.csv")):
        told = cli("data", "label", tmp_path / read, "--vocabulary", "nih14", "--out", tmp_path / written).refused()
        assert "Symlink loop from " in told
        assert told.endswith("a symbolic link leads to itself, name the file or folder that is meant.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "r.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "{0}/weights.pth", "--from", "medslip"),
        ("export", "{0}/bundle", "--to", "onnx"),
        ("quantise", "{0}/bundle", "{0}/m.parquet"),
        ("gate", "{0}/run"),
    ],
    ids=lambda words: words[0],
)
def test_a_folder_of_other_files_is_not_replaced(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    """The inputs do not exist either: the folder is looked at before them."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "keep.txt").write_text("mine")
    told = cli(*(word.format(tmp_path) for word in words), "--out", tmp_path / "out").refused()
    assert told == (
        f"medvlp: {tmp_path / 'out'} holds other files, which would be removed: name a folder that does not exist yet."
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "keep.txt"]


def test_what_is_read_and_the_folder_one_is_in_are_not_replaced(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "MANIFEST.sha256").touch()
    monkeypatch.chdir(tmp_path)
    read = "is read by this command and would be replaced: name another folder."
    mixed = ("convert", "tuned", "--from", "wise", "start=bundle")
    for words in (("export", "bundle", "--to", "onnx"), ("convert", bundle / "w.pth", "--from", "timm"), mixed):
        assert cli(*words, "--out", bundle).refused() == f"medvlp: {bundle} {read}"
    assert cli("gate", bundle, "--out", "../" + tmp_path.name + "/bundle").refused().endswith(read)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for place in (".", "..", "/"):
        told = cli("convert", bundle, "--from", "operated", "--out", place).refused()
        assert told.endswith(("name another folder.", "name a folder that does not exist yet."))
    assert (bundle / "MANIFEST.sha256").is_file()


def test_an_older_bundle_and_an_empty_folder_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "MANIFEST.sha256").touch()
    (tmp_path / "empty").mkdir()
    for name in ("older", "empty", "new"):
        check_replaced(tmp_path / name, mark="MANIFEST.sha256", inputs=[tmp_path / "read", tmp_path / "new"])
    with pytest.raises(UserError, match="holds other files"):
        check_replaced(tmp_path / "older", mark=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "older"]


def test_a_folder_that_can_be_made_is_not_left_behind(tmp_path: Path) -> None:
    check_outputs([tmp_path / "a" / "b" / "c.json"], inputs=[])
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    check_place(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.EROFS, r"cannot be written \(\[Errno 30\] Read-only file system\): choose a folder"),
        (errno.ENOSPC, "The disk is full: .* could not be written"),
    ],
)
def test_a_file_system_that_takes_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
) -> None:
    def refused(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UserError, match=sentence):
        check_place(tmp_path)


def test_what_went_wrong_is_told_although_nothing_can_be_removed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "unlink", refused)
    monkeypatch.setattr(os, "replace", refused)
    with (
        pytest.raises(UserError, match=r"a\.txt cannot be written \(.*Read-only file system"),
        written_whole(tmp_path / "a.txt") as temporary,
    ):
        temporary.write_text("whole")


def test_a_folder_in_a_file_is_told(nowhere: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written \(.*Not a directory"), written_whole(nowhere / "a.txt"):
        pass
