"""A process whose peer died, or that finds no GPU of its own, ends: soon, with one sentence and an exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from medvlp.core.errors import UserError
from medvlp.training.distributed import processes

CODE = """
import os, signal, sys, torch
from medvlp.core import collectives
from medvlp.core.errors import UserError
from medvlp.training.distributed import processes
try:
    with processes("cpu"):
        collectives.barrier()
        if collectives.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(3):
            collectives.total(torch.ones(4))
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_a_killed_process_ends_the_others_with_a_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CODE],
            env={**os.environ, **meeting, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=600)[1] for process in started]
    assert [process.returncode for process in started] == [2, -signal.SIGKILL]
    assert "Process 0 of 2 lost another one" in said[0]
    assert "start the same command again to go on from it" in said[0]
    assert "Traceback" not in said[0]


@pytest.mark.parametrize("there", [0, 1])
def test_more_processes_than_gpus_are_refused_in_a_sentence(there: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with (
        pytest.raises(UserError, match=rf"Process 1 of this machine needs a GPU of its own, and torch sees {there}:"),
        processes("cuda"),
    ):
        pass
