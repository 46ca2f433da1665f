"""What commands say on the way: on which stream, and what `--quiet` and `--verbose` change."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest

from medvlp.core.console import show_messages, silent
from medvlp.data.layouts.phantom import index
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import run_chunks
from medvlp.runs.evaluate import load_evaluation
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained
    from tests.cli.conftest import Ran


def test_choices_of_a_training_are_on_standard_output_and_quiet_leaves_them_out(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    tree = tiny_tree(tmp_path / "Jo's run", tiny_cohort.root, tmp_path / "cache")
    config = write_tree(tmp_path / "c.yaml", tree)
    words = ("train", config, "phases.0.until=8", "training.validate_every=8")
    quiet = cli("--quiet", *words)
    assert (quiet.code, quiet.err) == (0, "")
    released, following = quiet.out.splitlines()
    assert released == f"Released {tmp_path}/Jo's run/bundle after 8 samples."
    judging = re.search(r"medvlp evaluate (.*)\. Use it: medvlp predict (.*) FILES\.$", following)
    assert judging is not None
    judged, *more = shlex.split(judging[1])
    asked = load_evaluation(judged, more)  # the line may be pasted
    assert Path(asked.model) == Path(*shlex.split(judging[2])) == tmp_path / "Jo's run" / "bundle"
    assert Manifest.load(Path(str(asked.data.manifest))).root == tiny_cohort.root
    usual = cli(*words, f"run={tmp_path / 'usual'}")
    assert usual.out.startswith("Device cpu")
    assert cli("--quiet", "--verbose", *words).refused() == (
        "medvlp: --verbose and --quiet exclude each other: leave one of them out."
    )


def test_a_document_stands_alone_on_standard_output_whatever_is_shown(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tiny_run: Trained
) -> None:
    record = index(tiny_cohort.root).where({"view_position": ["PA"]}).record(0)
    film = tiny_cohort.root / str(record["image"])
    for words in ((), ("--verbose",), ("--quiet",)):
        ran = cli(*words, "predict", tiny_run.bundle, film, "--json")
        assert ran.code == 0
        assert json.loads(ran.out)["results"]
        assert ran.out.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_behind_what_is_printed_is_one_sentence(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli("data", "list").refused() == (
            "medvlp: The disk is full: what is printed was not written; make room and start again."
        )


def test_warnings_go_to_standard_error_and_silence_ends(capsys: pytest.CaptureFixture[str]) -> None:
    show_messages(on_stderr=lambda name: name == "medvlp.b", indented=lambda name: name == "medvlp.c")
    first, second, third = (logging.getLogger(f"medvlp.{name}") for name in "abc")
    first.info("one")
    second.info("two")
    third.info("three")
    first.warning("four")
    with silent():
        first.info("five")
        first.warning("six")
    first.info("seven")
    found = capsys.readouterr()
    assert found.out == "one\n    three\nseven\n"
    assert found.err == "two\nfour\nsix\n"
    show_messages(logging.WARNING)
    first.info("eight")
    assert capsys.readouterr().out == ""


def test_everything_is_said_where_everything_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    show_messages(logging.DEBUG)
    with silent():
        logging.getLogger("medvlp.a").info("five")
    assert capsys.readouterr().out == "five\n"
    show_messages(logging.WARNING)


class _Freed:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_while_python_frees_something_ends_the_command_too(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or while it forks: what is raised there reaches nobody."""
    monkeypatch.setattr("medvlp.cli.main.app", lambda: _Freed() is None or threading.Event().wait(30))
    assert cli().refused().startswith("medvlp: Interrupted (SIGTERM); ")


def test_a_signal_that_ends_the_import_of_a_compiled_module_is_told_as_the_signal(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def importing() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise ImportError("initialization failed") from None  # pybind11's words

    monkeypatch.setattr("medvlp.cli.main.app", importing)
    assert cli().refused().startswith("medvlp: Interrupted (SIGTERM); ")


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_of_a_pool_that_is_killed_is_one_sentence(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of the phantom's, whose code is frozen; other pools say so themselves."""
    monkeypatch.setattr("medvlp.cli.main.app", lambda: ProcessPoolExecutor(1).submit(_killed).result())
    told = cli().refused()
    assert told.startswith("medvlp: A worker process ended or cannot begin (A process in the process pool was")
    assert told.endswith("start again with fewer workers; what was finished is kept.")


@contextmanager
def _no_threads() -> Iterator[None]:
    threading.stack_size(1 << 46)  # of each, more than there is
    try:
        yield
    finally:
        threading.stack_size(0)


@contextmanager
def _no_processes() -> Iterator[None]:
    users, limits = os.getresuid(), resource.getrlimit(resource.RLIMIT_NPROC)
    os.setresuid(*((65534, 65534, 0) if users[0] == 0 else users))  # root knows no limit
    resource.setrlimit(resource.RLIMIT_NPROC, (0, limits[1]))
    try:
        yield
    finally:
        os.setresuid(*users)
        resource.setrlimit(resource.RLIMIT_NPROC, limits)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's users of a process")
@pytest.mark.parametrize("limited", [_no_threads, _no_processes])
def test_a_limit_of_processes_or_threads_is_one_sentence(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, limited: Callable[[], AbstractContextManager[None]]
) -> None:
    monkeypatch.setattr("medvlp.cli.main.app", lambda: list(run_chunks(divmod, 7, [2, 3], workers=2)))
    with limited():
        told = cli().refused()
    assert told.startswith("medvlp: A worker process ended or cannot begin (")
    assert told.endswith("a limit of processes (ulimit -u): start again with fewer workers; what was finished is kept.")


def test_a_scheduler_that_closed_the_streams_gets_the_table(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("id,text\n1,There is a left pleural effusion.\n")
    command = f"{sys.executable} -m medvlp data label reports.csv --vocabulary nih14 --out l.csv <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
    assert len((tmp_path / "l.csv").read_text().splitlines()) == 2


def test_a_scheduler_that_closed_the_streams_has_compressed_pixels_read(
    tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    """Their helper process was given files by numbers that are those of the streams: each film was called cut off."""
    films = sorted(tiny_cohort.root.rglob("*.dcm"))
    film = next(path for path in films if pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed)
    words = f"{sys.executable} -m medvlp inspect {shlex.quote(str(film))} --png"
    for name, streams in (("open", ""), ("closed", "<&- >&- 2>&-")):
        ran = subprocess.run(
            ["sh", "-c", f"{words} {name}.png {streams}"], cwd=tmp_path, capture_output=True, check=False
        )
        assert ran.returncode == 0, ran
    assert (tmp_path / "closed.png").read_bytes() == (tmp_path / "open.png").read_bytes()


@pytest.mark.parametrize("words", ["data list", "components"])
def test_who_reads_no_further_gets_no_word_and_the_shells_exit_code_of_a_closed_pipe(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "medvlp", *words.split()]
    ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, "")


def test_names_that_python_cannot_read_are_told_of_and_no_file_is_called_missing(tmp_path: Path) -> None:
    (tmp_path / "ü.csv").write_text("id,text\n1,No effusion.\n", encoding="utf-8")
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["data", "label", "ü.csv", "--vocabulary", "nih14", "--out", "labels.csv"]
    command = [sys.executable, "-m", "medvlp", *words]
    ran = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, text=True, check=False)
    sentence = "medvlp: Names are read as ASCII here: leave PYTHONUTF8=0 out, or set LC_ALL=C.UTF-8.\n"
    assert (ran.returncode, ran.stderr) == (2, sentence)
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize("words", ["inspect film.dcm --json", "train --schema"])
def test_a_document_that_nobody_can_get_is_no_success(words: str) -> None:
    command, option = shlex.join([sys.executable, "-m", "medvlp", *words.split()]), words.split()[-1]
    ran = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, text=True, check=False)
    sentence = f"medvlp: {option} writes to standard output, which is closed: open it, or leave {option} out.\n"
    assert (ran.returncode, ran.stderr) == (2, sentence)
