"""The helper: takes one request after another, decodes under limits, and answers with pixels or a refusal.

It ends when the pipe from its reader closes, however the reader ended. (`PR_SET_PDEATHSIG` would fire when the *thread*
that started the helper ends, which in a pool of threads is long before the process.) A decoder that is at work when the
reader dies ends by its own limits: memory, processor time, wall clock and bytes written. Linux enforces all of them.
macOS accepts a limit of address space without enforcing it: there only the time is limited.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medvlp.io.errors import UnreadableImage
from medvlp.io.sandbox.shared import SharedFile, receive, send

_STATUS = Path("/proc/self/statm")


def prepare() -> None:
    """Set once what holds for the helper's whole life: no core dumps, signals as the system made them."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the reader's to answer; the helper ends with its pipe
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A limit that is met must end the process, whatever the process that started this one did with the signal.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


@contextmanager
def limited(*, memory: int, seconds: float, written: int) -> Iterator[None]:
    """Limit what the block may use on top of what the process uses now.

    `memory` are bytes of address space, beyond which an allocation fails; `written` is the largest size of the shared
    file. When `seconds` of processor time or wall clock are over the system ends the process, also in the midst of a
    decoder, which no exception could interrupt.
    """
    wanted = {resource.RLIMIT_CPU: math.ceil(time.process_time() + seconds) + 1, resource.RLIMIT_FSIZE: written}
    if _STATUS.exists():
        wanted[resource.RLIMIT_AS] = int(_STATUS.read_text().split()[0]) * resource.getpagesize() + memory
    before = {which: resource.getrlimit(which) for which in wanted}
    for which, value in wanted.items():
        soft, hard = before[which]
        known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(which, (min([value, *known]), hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for which, pair in before.items():
            resource.setrlimit(which, pair)


Pixels = tuple[np.ndarray, dict[str, object]]
"""What a job returns: integers, and plain facts about them."""


def _jpeg_family(source: BinaryIO, size: int, *, codestream: dict[str, Any], to_rgb: bool) -> Pixels:
    from medvlp.io.codecs import Codestream, decode_jpeg_family

    return decode_jpeg_family(source.read(size), Codestream(**codestream), to_rgb=to_rgb), {}


def _rle(source: BinaryIO, size: int, **sizes: int) -> Pixels:
    from medvlp.io.codecs import decode_rle

    return decode_rle(source.read(size), **sizes), {}


def _raster(source: BinaryIO, size: int, *, kind: str, page: int, deep: bool) -> Pixels:
    from medvlp.io.codecs import decode_raster

    return decode_raster(source, kind=kind, page=page, deep=deep)


JOBS: dict[str, Callable[..., Pixels]] = {"jpeg_family": _jpeg_family, "rle": _rle, "raster": _raster}


def main(number: str) -> None:
    """Answer requests until the pipe closes; `number` is that of the shared file's descriptor."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what a decoder prints must not get between two messages, nor onto a terminal
        os.dup2(nothing, standard)
    prepare()
    shared = SharedFile(int(number), "r+b")
    send(answers, {"ready": os.getpid()})
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return
        send(answers, _answer(request, shared))


def _answer(request: dict[str, Any], shared: SharedFile) -> dict[str, object]:
    try:
        with limited(**request["limits"]):
            shared.seek(0)
            pixels, facts = JOBS[request["job"]](shared, request["size"], **request["arguments"])
            pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
            shared.add(pixels, request["size"])
    except UnreadableImage as error:
        return {"refused": [error.reason, error.detail, error.hint]}
    except MemoryError:
        return {"refused": ["too_large", "decoding it takes more memory than its size allows", ""]}
    except BaseException as error:
        # Decoders written in Rust raise exceptions that are no Exception when they panic.
        return {"refused": ["corrupt", f"its pixels cannot be decoded ({type(error).__name__})", ""]}
    return {"shape": list(pixels.shape), "dtype": pixels.dtype.str, "facts": facts}
