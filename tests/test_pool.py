"""A failure of test processes is told by its own test, and by no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.pool
from medvlp.core import collectives
from tests.pool import Pool

pytestmark = pytest.mark.slow  # each failure starts new processes


@pytest.fixture(scope="module")
def own() -> Iterator[Pool]:
    pool = Pool(2)
    yield pool
    pool.close()


def rank_after(seconds: float) -> int:
    time.sleep(seconds * collectives.rank())
    return collectives.rank()


def end_in_the_middle() -> None:
    if collectives.rank() == 1:
        os._exit(3)
    collectives.barrier()


def fail_on_one() -> None:
    if collectives.rank() == 1:
        raise ValueError("one rank only")
    collectives.barrier()


@pytest.mark.pool
def test_it_is_told_which_rank_failed_and_why(own: Pool) -> None:
    with pytest.raises(RuntimeError, match=r"Rank 1 of 2 failed:[\s\S]*ValueError: one rank only"):
        own.run(2, fail_on_one)
    assert own.run(2, rank_after, 0.0) == [0, 1]


@pytest.mark.pool
def test_a_process_that_dies_in_a_call_is_told_and_replaced(own: Pool) -> None:
    with pytest.raises(RuntimeError, match=r"Rank 1 of 2 failed:\nthe process died"):
        own.run(2, end_in_the_middle)
    assert own.run(2, rank_after, 0.0) == [0, 1]


@pytest.mark.pool
def test_a_process_that_dies_unasked_is_replaced(own: Pool) -> None:
    own.run(2, rank_after, 0.0)
    process = own._processes[1]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert own.run(2, rank_after, 0.0) == [0, 1]


@pytest.mark.pool
def test_a_late_answer_is_not_taken_for_that_of_the_next_call(own: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    own.run(2, rank_after, 0.0)
    monkeypatch.setattr(tests.pool, "ANSWER", 0.0)
    with pytest.raises(RuntimeError, match=r"Rank 1 of 2 failed:\nno answer in 0 s"):
        own.run(2, rank_after, 60.0)
    monkeypatch.undo()
    assert own.run(1, rank_after, 0.0) == [0]


@pytest.mark.pool
def test_processes_that_did_not_meet_meet_again_and_what_failed_later_is_not_tried_again(
    own: Pool, tmp_path: Path
) -> None:
    """A module that ends its process as it is imported, the first time only: nothing of the function has run."""
    (tmp_path / "ends_once.py").write_text(
        "import os, pathlib\n"
        "seen = pathlib.Path(__file__).with_name('seen')\n"
        "if not seen.exists():\n    seen.touch()\n    os._exit(3)\n"
        "def answer(): return 7\n"
        "def count():\n    with seen.open('a') as f: f.write('x')\n    raise ValueError('for good')\n"
    )
    (tmp_path / "seen").touch()
    answer = tests.pool._function(str(tmp_path / "ends_once.py"), "ends_once", "answer")
    count = tests.pool._function(str(tmp_path / "ends_once.py"), "ends_once", "count")
    (tmp_path / "seen").unlink()
    with pytest.warns(UserWarning, match=r"Attempt 1 of 3 to meet failed. Rank \d of 2 failed:\nthe process died"):
        assert own.run(2, answer) == [7, 7]
    with pytest.raises(RuntimeError, match="ValueError: for good"):
        own.run(1, count)
    assert (tmp_path / "seen").read_text() == "x"
