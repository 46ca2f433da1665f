from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from medvlp.cli.main import main
from tests.pool import Pool, shared_pool


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def refused(self) -> str:
        """Return the one sentence of a command that exits 2."""
        assert self.code == 2, (self.code, self.out, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("medvlp: ")
        return lines[0]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ran]]:
    """Run ``medvlp WORDS`` as the entry point does, in this process; an unexpected exception fails the test.

    The terminal has 80 columns, as where there is none: helps of a narrower one are cut and folded elsewhere.
    """
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["medvlp", *map(str, words)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        captured = capsys.readouterr()
        return Ran(int(str(code)), captured.out, captured.err)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def pool() -> Pool:
    return shared_pool()
