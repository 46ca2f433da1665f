from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from medvlp.core import passing
from medvlp.core.passing import passing_folder, remove_passing


def _killed() -> None:
    for _ in range(2):
        (passing_folder("room") / "pixels").write_bytes(b"a patient's")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.pool
def test_folders_of_killed_processes_go_when_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    held = passing_folder("archive")
    assert stat.S_IMODE(held.stat().st_mode) == 0o700
    process = multiprocessing.get_context("fork").Process(target=_killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left, new = (each for each in tmp_path.iterdir() if each != held)
    (tmp_path / "medvlp-of-others").mkdir()
    for each in (left, held, tmp_path / "medvlp-of-others"):
        os.utime(each, (0, 0))
    passing._remove_left.cache_clear()
    mine = passing_folder("archive")
    assert set(tmp_path.iterdir()) == {held, new, mine, tmp_path / "medvlp-of-others"}
    for each in (held, mine):
        remove_passing(each)
    assert set(tmp_path.iterdir()) == {new, tmp_path / "medvlp-of-others"}


def test_a_folder_is_there_also_on_a_disk_whose_clock_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hour_ahead = time.time() + 3600
    monkeypatch.setattr(passing, "time", SimpleNamespace(time=lambda: hour_ahead))
    folder = passing_folder("archive")
    assert list(tmp_path.iterdir()) == [folder]
    remove_passing(folder)
    assert not list(tmp_path.iterdir())
