from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medvlp.training.journal import Journal, read_journal


def test_a_resumed_run_writes_no_row_twice_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path, samples_seen=0)
    for samples in (10, 20, 30):
        journal.write("train", samples, {"loss": float(samples)})
    journal.close()
    with open(tmp_path / "log.jsonl", "a") as handle:
        handle.write('{"kind": "train", "sam')
    assert [row["samples_seen"] for row in read_journal(tmp_path / "log.jsonl")] == [10, 20, 30]
    _one_second_earlier(tmp_path / "tensorboard")
    again = Journal(tmp_path, samples_seen=20)
    again.write("train", 30, {"loss": 3.0})
    again.close()
    rows = read_journal(tmp_path / "log.jsonl")
    assert [(row["samples_seen"], row["loss"]) for row in rows] == [(10, 10.0), (20, 20.0), (30, 3.0)]
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [(each.step, each.value) for each in shown] == [(10, 10.0), (20, 20.0), (30, 3.0)]


def test_seconds_of_a_run_are_those_that_passed_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, samples_seen=0)
    journal.write("train", 10, {"loss": 1.0})
    monkeypatch.setattr(time, "time", lambda: 1e9)
    journal.write("train", 20, {"loss": 1.0})
    journal.close()
    first, second = (row["seconds"] for row in read_journal(tmp_path / "log.jsonl"))
    assert 0 <= first <= second


def _one_second_earlier(board: Path) -> None:
    """Date event files back: TensorBoard reads them by name, which orders within one second by a counter as text."""
    for path in board.iterdir():
        stem, second, rest = re.split(r"(?<=tfevents)\.(\d+)", path.name)
        path.rename(path.with_name(f"{stem}.{int(second) - 1}{rest}"))
