from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from medvlp.core import files
from medvlp.core.errors import DataError, UserError
from medvlp.core.files import (
    check_outputs,
    folder_whole,
    put_in_place,
    read_json,
    refuse_write,
    sha256_of,
    write_json,
    write_text,
    written_whole,
)


def test_a_file_is_complete_or_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def interrupted():
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_name_that_is_too_long_with_its_suffix_is_told_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"x cannot be written \(.*File name too long.*\): choose a folder you may"):
        write_text(tmp_path / ("x" * 250), "new")


def test_a_folder_that_goes_while_a_file_is_written_to_it_is_told_and_one_that_is_read_is_another_matter(tmp_path):
    path = tmp_path / "run" / "a.txt"
    with pytest.raises(UserError, match=r"a\.txt cannot be written \(.*No such file"), written_whole(path):
        path.parent.rmdir()
    with pytest.raises(FileNotFoundError), written_whole(path) as temporary:
        temporary.write_bytes((tmp_path / "none").read_bytes())


_KILLED = """
import os, signal, sys
from pathlib import Path
from medvlp.core.files import folder_whole, written_whole
writers = [(folder_whole if name.endswith("bundle") else written_whole)(Path(name)) for name in sys.argv[1:]]
for writer in writers:
    there = writer.__enter__()
    (there / "weights" if there.is_dir() else there).touch()
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_while_writing(*paths: Path) -> list[str]:
    """The names of what a process leaves that is killed while it writes files, or folders where so called."""
    assert subprocess.run([sys.executable, "-c", _KILLED, *map(str, paths)]).returncode == -signal.SIGKILL
    return [next(path.parent.glob(f".{path.name}.*.part")).name for path in paths]


def test_what_a_killed_writer_left_goes_when_the_same_is_written_again_and_that_of_one_at_work_stays(tmp_path):
    left = killed_while_writing(*(tmp_path / name for name in ("a.csv", "b.csv", "bundle")))
    number = left[0].split(".")[-2].partition("@")[0]
    stay = [left[1], f".a.csv.{number}@elsewhere.part", ".a.csv.notes.part", left[0].replace(number, "9" * 30)]
    stay.append(left[0].replace(number, str(os.getpid())))
    for name in stay:
        (tmp_path / name).touch()
    check_outputs([tmp_path / "a.csv"], inputs=[])
    with folder_whole(tmp_path / "bundle") as own:
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*stay, own.name])


def test_an_output_whose_tilde_no_shell_has_written_out_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^~ is no folder below your home, .*: write the whole path\.$"):
        check_outputs([Path("~/e.parquet")], inputs=[])
    assert not [*tmp_path.iterdir()]


def test_missing_folders_are_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", {"ä": [1, None]})
    assert read_json(tmp_path / "a" / "b" / "c.json") == {"ä": [1, None]}


def test_a_byte_order_mark_is_passed_over(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "The disk is full: .* could not be written.*; nothing that was complete is lost, make room"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EACCES, "cannot be written.*: choose a folder you may write to"),
    ],
)
def test_a_disk_that_refuses_is_told_in_one_sentence(tmp_path, monkeypatch, code, sentence):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=sentence):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"auroc": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist: check the path"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 99999, "is not JSON"),
        (b'{"n": ' + b"1" * 5000 + b"}", "is not JSON"),  # Python refuses to make a number of it
        (b"[1]", "holds list, not a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, content, sentence):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read_json(path)


def test_sha256_is_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 999
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_folder_takes_the_place_of_an_older_one_whole(tmp_path):
    for name, text in (("a", "old"), (".a.part", "new")):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "x").write_text(text)
    (tmp_path / "a" / "gone").write_text("")
    put_in_place(tmp_path / ".a.part", tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["inner"]
    assert (tmp_path / "a" / "inner" / "x").read_text() == "new"


def test_a_folder_that_cannot_be_synced_leaves_the_older_one(tmp_path, monkeypatch):
    for name in ("a", ".a.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        put_in_place(tmp_path / ".a.part", tmp_path / "a")
    assert (tmp_path / "a" / "x").read_text() == "a"


def test_compiled_writers_tell_the_systems_error_only_in_words(tmp_path):
    with pytest.raises(UserError, match=r"The disk is full: .*weights could not be written"):
        refuse_write(RuntimeError("I/O error: File too large (os error 27)"), tmp_path / "weights")
    with pytest.raises(RuntimeError, match="something else"):
        refuse_write(RuntimeError("something else"), tmp_path / "weights")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a folder is moved away before the next")
def _saved_by_numpy(path):
    with open(path, "wb") as handle:
        np.save(handle, np.zeros(1000))


@pytest.mark.parametrize("write", [lambda path: save_file({"features": np.zeros(1000)}, path), _saved_by_numpy])
def test_tensors_that_a_full_disk_does_not_take_are_told_so_and_nothing_stays(tmp_path, write):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # no file may grow beyond: the kernel refuses the write
    try:
        with (
            pytest.raises(UserError, match=r"The disk is full: .*slices could not be written"),
            written_whole(tmp_path / "slices") as temporary,
        ):
            write(temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_folder_is_there_while_it_is_replaced(tmp_path, monkeypatch):
    for name in ("a", ".a.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)

    def killed(*names):
        raise KeyboardInterrupt

    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, killed)
    with suppress(KeyboardInterrupt):
        put_in_place(tmp_path / ".a.part", tmp_path / "a")
    assert (tmp_path / "a" / "x").read_text() == ".a.part"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_where_names_cannot_be_swapped_a_folder_is_replaced_too(tmp_path, monkeypatch):
    for name in ("a", ".a.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    monkeypatch.setattr(files, "_swapped", lambda one, other: False)
    put_in_place(tmp_path / ".a.part", tmp_path / "a")
    assert (tmp_path / "a" / "x").read_text() == ".a.part"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one_and_the_file_that_it_leads_to_is_written(tmp_path, there):
    (tmp_path / "big").mkdir()
    target, link = tmp_path / "big" / "a.txt", tmp_path / "a.txt"
    if there:
        target.write_text("old")
    link.symlink_to("big/a.txt")
    check_outputs([link], inputs=[])
    write_text(link, "new")
    assert link.readlink().as_posix() == "big/a.txt"
    assert target.read_text() == "new"
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a.txt", "a.txt", "big"]


def test_a_link_into_a_place_where_nothing_can_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "a.txt").symlink_to("file/b.txt")
    with pytest.raises(UserError, match=r"file cannot be written .*: choose a folder you may write to"):
        check_outputs([tmp_path / "a.txt"], inputs=[])


def test_of_a_link_to_a_folder_the_folder_is_replaced(tmp_path):
    (tmp_path / "big" / "a").mkdir(parents=True)
    (tmp_path / "big" / "a" / "old").touch()
    (tmp_path / "a").symlink_to("big/a")
    with folder_whole(tmp_path / "a") as temporary:
        (temporary / "new").touch()
    assert (tmp_path / "a").is_symlink()
    assert [each.name for each in (tmp_path / "big").rglob("*")] == ["a", "new"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "big"]
