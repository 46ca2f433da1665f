"""One reader in a process of its own: verdict after verdict, started again after a death or a hang, words overheard."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import logging
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Readers", "answer_all", "options_of", "reader_of", "scores"]

Readers = Mapping[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]]
"""Reader -> (function, modules that must be there, distributions whose versions count)."""

_READY = '"ready"'
_START = 600.0  # seconds that imports may take: they are not what is measured


def options_of(description: str | None, readers: Readers, cases: str) -> argparse.Namespace:
    """Return the command line's options; ``read``, ``folder`` and ``start`` are for the processes of the readers.

    Args:
        description: of the benchmark.
        readers: those that may be chosen.
        cases: what a reader is given, in the plural.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", choices=readers, default=list(readers))
    parser.add_argument("--limit", type=float, default=60, help=f"Seconds that a reader may take for all {cases}.")
    return parser.parse_args()


def reader_of(readers: Readers, name: str) -> Callable[..., Any]:
    """Import what a reader needs and return its function."""
    read, modules, _ = readers[name]
    for module in modules:
        importlib.import_module(module)
    return read


def scores(
    script: str, readers: Readers, names: Sequence[str], folder: Path, options: argparse.Namespace
) -> dict[str, dict[str, object]]:
    """Run each chosen reader in a process of its own and count; those not installed are listed as absent.

    Args:
        script: the benchmark, which with ``--read`` calls :func:`answer_all`.
        readers: all of them.
        names: of all cases, in order.
        folder: where the cases lie.
        options: of :func:`options_of`.
    """
    board: dict[str, dict[str, object]] = {}
    for reader in options.only:
        _, modules, distributions = readers[reader]
        if absent := [module for module in modules if not importlib.util.find_spec(module)]:
            board[reader] = {"absent": absent}
            continue
        command = [sys.executable, script, "--read", reader, "--folder", str(folder)]
        found = verdicts(command, names, limit=options.limit, cwd=Path(script).resolve().parents[2])
        board[reader] = {**count(found), "versions": {name: metadata.version(name) for name in distributions}}
    return board


def answer_all(names: Sequence[str], judge: Callable[[int], bool], relevant: re.Pattern[str], start: int) -> None:
    """Judge cases from ``start`` on, one JSON line each as it is done.

    Args:
        names: of all cases.
        judge: index of a case -> whether the reading is right; it may raise.
        relevant: what a warning says that has to do with the case.
        start: first case of this process.
    """
    out = os.fdopen(os.dup(1), "w")
    print(_READY, file=out, flush=True)
    for at in range(start, len(names)):
        with _overheard() as said:
            try:
                verdict = "right" if judge(at) else "wrong"
            except Exception as error:
                verdict = f"error {type(error).__name__}: {error}"[:200]
        text = said()
        if verdict == "wrong" and (found := relevant.search(text)):
            line = text[text.rfind("\n", 0, found.start()) + 1 :].splitlines()[0]
            verdict = f"warned {line.strip()[:200]}"
        print(json.dumps([names[at], verdict]), file=out, flush=True)


@contextlib.contextmanager
def _overheard() -> Iterator[Callable[[], str]]:
    """Give what was said meanwhile: Python's warnings and logs, and what C++ wrote on standard output and error."""
    with tempfile.TemporaryFile("w+b") as file, warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        handler = logging.StreamHandler(log := open(os.dup(file.fileno()), "w"))  # noqa: SIM115
        handler.setLevel(logging.WARNING)
        logging.getLogger().addHandler(handler)
        kept = [os.dup(1), os.dup(2)]
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        text: list[str] = []
        try:
            yield lambda: "\n".join(text)
        finally:
            for stream in (sys.stdout, sys.stderr, log):
                stream.flush()
            for place, old in enumerate(kept, 1):
                os.dup2(old, place)
                os.close(old)
            logging.getLogger().removeHandler(handler)
            log.close()
            file.seek(0)
            text.append(file.read().decode(errors="replace"))
            text += [str(one.message) for one in raised if not issubclass(one.category, DeprecationWarning)]


def verdicts(command: Sequence[str], names: Sequence[str], *, limit: float, cwd: Path) -> dict[str, str]:
    """Return the verdict on every case: right, wrong, "warned ...", "error ...".

    Args:
        command: starts a process that calls :func:`answer_all`; ``--start N`` is added.
        names: of all cases, in order.
        limit: seconds that a process may take from its first file on; the case that it hangs on is an error.
        cwd: folder to run in.

    Raises:
        RuntimeError: the process did not come to its first file: imports failed, or the machine is too busy.
    """
    found: dict[str, str] = {}
    while len(found) < len(names):
        end = _run([*command, "--start", str(len(found))], found, limit, cwd)
        if len(found) < len(names):
            found[names[len(found)]] = f"error {end}"
    return found


def _run(command: Sequence[str], found: dict[str, str], limit: float, cwd: Path) -> str:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=cwd)
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=lambda: [*map(lines.put, process.stdout or ()), lines.put(None)], daemon=True).start()
    until, ready = time.monotonic() + _START, False
    try:
        while (line := lines.get(timeout=max(0.0, until - time.monotonic()))) is not None:
            if line.strip() == _READY:
                until, ready = time.monotonic() + limit, True
            elif line.startswith("["):
                name, verdict = json.loads(line)
                found[name] = verdict
        return f"exit {process.wait()}"
    except queue.Empty:
        return f"no answer in {limit:g} s"
    finally:
        process.kill()
        process.wait()
        if not ready:  # says nothing of the reader: it never came to a file
            raise RuntimeError(f"{' '.join(command)} did not start within {_START:g} s")


def count(found: dict[str, str]) -> dict[str, object]:
    """Return how many readings were of each class, and which were not right."""
    kinds = {"right": "right", "error": "error", "warned": "wrong_warned", "wrong": "wrong_silent"}
    board: dict[str, object] = {
        label: sum(verdict.split()[0] == kind for verdict in found.values()) for kind, label in kinds.items()
    }
    return {**board, "cases": {name: verdict for name, verdict in found.items() if verdict != "right"}}
