"""SIGKILL at any moment costs time only; SIGTERM and Ctrl-C are one sentence."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medvlp.config.tree import load_config
from medvlp.runs.train import train
from tests.benchmarks.kill_resume import long_tree, outcome, signal_when, start
from tests.tiny import write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary


pytestmark = pytest.mark.slow  # each starts processes as a user does
LONG = 1800  # seconds for a run of some, on a machine that does other things


def samples_in_log(run: Path) -> int:
    log = run / "log.jsonl"
    if not log.exists():
        return 0
    whole = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return max((json.loads(line)["samples_seen"] for line in whole), default=0)


def test_killed_three_times_and_asked_to_stop_once_a_run_ends_with_the_same_bytes(
    tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    config = write_tree(tmp_path / "c.yaml", long_tree(tmp_path / "whole", tiny_cohort.root, tmp_path / "cache"))
    train(load_config(config))
    run = tmp_path / "run"
    words = ("train", str(config), f"run={run}")

    def writing() -> bool:
        return samples_in_log(run) > 80 and any((run / "checkpoints").glob(".step-*.part"))

    moments: list[Callable[[], bool]] = [
        (run / "config.yaml").exists,  # nothing is saved yet
        writing,  # a checkpoint is half written
        lambda: samples_in_log(run) >= 336,  # the second phase has begun
    ]
    for moment in moments:
        assert signal_when(start(*words), moment, signal.SIGKILL)
    assert not (run / "bundle").exists()
    process = start("train", "--resume", str(run))
    begun = samples_in_log(run)
    assert signal_when(process, lambda: samples_in_log(run) > begun + 80, signal.SIGTERM)
    assert process.returncode == 2
    told = process.stderr.read().splitlines() if process.stderr else []
    assert len(told) == 1, told
    assert told[0].startswith("medvlp: Training was interrupted (SIGTERM) after ")
    assert "all of it is saved" in told[0]
    last = start("train", "--resume", str(run))
    assert last.wait(timeout=LONG) == 0
    assert outcome(run) == outcome(tmp_path / "whole")


def test_a_signal_before_training_is_one_sentence_too(tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    config = write_tree(tmp_path / "c.yaml", long_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache"))
    process = start("train", str(config))
    assert signal_when(process, (tmp_path / "cache").exists, signal.SIGINT)  # records are being prepared
    assert process.returncode == 2
    told = process.stderr.read().splitlines() if process.stderr else []
    assert len(told) == 1, told
    assert told[0].startswith("medvlp: ")
    assert "nterrupted (SIGINT)" in told[0]
