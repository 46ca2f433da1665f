from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import select
import signal
from pathlib import Path

import pytest

from medvlp.core.errors import UserError
from medvlp.core.processes import end_with_parent, ending_signals, exclusive
from medvlp.data.cache import locked
from tests.core.test_files import killed_while_writing


def test_a_folder_that_is_worked_in_is_refused_until_it_is_free(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "a", what="sweep", otherwise="choose another --out"),
        pytest.raises(UserError, match=r"^Another sweep is at work in .*a: wait for it, or choose another --out\.$"),
        exclusive(tmp_path / "a", what="sweep", otherwise="choose another --out"),
    ):
        pass
    with exclusive(tmp_path / "a", what="sweep", otherwise="choose another --out"):
        pass


def test_a_folder_in_which_no_lock_can_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "file" / "lock")
    with (
        pytest.raises(UserError, match=r"out/\.lock cannot be written \(.*\): choose a folder you may write to\."),
        exclusive(tmp_path / "out", what="suite", otherwise="choose another out"),
    ):
        pass


def test_colleagues_who_share_a_folder_share_its_lock(tmp_path: Path) -> None:
    before = os.umask(0o002)  # of a folder that a group writes
    try:
        with exclusive(tmp_path, what="training", otherwise=""), locked(tmp_path / ".of-a-sweep", mode=0o666):
            pass
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o664, 0o664]


def test_a_disk_without_locks_lets_everybody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with exclusive(tmp_path, what="training", otherwise=""), exclusive(tmp_path, what="training", otherwise=""):
        pass


def test_what_killed_writers_left_in_a_folder_goes_before_the_next_work_there(tmp_path: Path) -> None:
    left = killed_while_writing(tmp_path / "state.json", tmp_path / "results" / "a.csv")
    other = f".run.{left[0].split('.')[-2].partition('@')[0]}@elsewhere.part"
    (tmp_path / other).touch()
    with exclusive(tmp_path, what="evaluation", otherwise=""):
        there = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert there == [".lock", other, "results"]


@pytest.mark.parametrize(("before", "asks"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_ends_a_command_unless_nohup_started_it(before: signal.Handlers, asks: bool) -> None:
    found = signal.signal(signal.SIGHUP, before)  # nohup leaves SIG_IGN to what it starts
    try:
        assert (signal.SIGHUP in ending_signals()) is asks
        assert {signal.SIGINT, signal.SIGTERM} <= set(ending_signals())
    finally:
        signal.signal(signal.SIGHUP, found)


def _worker(ours: int, go_on: int) -> None:
    end_with_parent()
    os.write(ours, b"begun")
    os.read(go_on, 1)  # for ever: nobody writes


def _parent(ours: int, begun: int, go_on: int) -> None:
    multiprocessing.get_context("fork").Process(target=_worker, args=(ours, go_on)).start()
    os.read(begun, 5)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.pool
def test_a_worker_ends_with_a_parent_that_is_killed() -> None:
    begun, ours = os.pipe()
    go_on, kept = os.pipe()
    parent = multiprocessing.get_context("fork").Process(target=_parent, args=(ours, begun, go_on))
    parent.start()
    parent.join()
    assert parent.exitcode == -signal.SIGKILL
    os.close(ours)
    assert select.select([begun], [], [], 60)[0]
    assert os.read(begun, 1) == b""  # the last process that could write is gone
    for end in (begun, go_on, kept):
        os.close(end)
