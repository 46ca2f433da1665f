"""The reading process's side: one helper, started at first need, used again, replaced when it has died.

Forked workers start their own; threads take turns. Nothing that the helper says is believed: shape, dtype and size of
its answer are compared with what the file's header promised before pixels are taken over.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from medvlp.core.errors import UserError
from medvlp.io.errors import REASONS, UnreadableImage
from medvlp.io.sandbox.shared import SharedFile, receive, send

FRAME_SECONDS = 20.0
"""Wall clock and processor time for one frame."""
_START_SECONDS = 120.0  # a busy machine with a cold disk loads numpy slowly; only a broken installation takes longer
_FLOOR_BYTES = 256 << 20  # what loading a codec and its tables takes, with room
_MEMORY_FACTOR = 12  # OpenJPEG holds 4 bytes a sample, in the picture and in its tile: 9 times the pixels of 8 bits
# Enough to find shared libraries and a temporary folder; tokens and passwords of the reader stay with the reader.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "LANG", "LC_ALL")
# Memory that a decoder gives back stays with the helper: cleared anew for each film it is a quarter of a PNG's time.
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
_START = "import sys; sys.path[:] = sys.argv[2:]; from medvlp.io.sandbox.helper import main; main(sys.argv[1])"


@dataclass(frozen=True)
class Decoded:
    """What the helper gave back: pixels of a promised shape and dtype, in the reader's own memory, and plain facts."""

    pixels: np.ndarray
    facts: dict[str, Any]


def decode(
    job: str, source: bytes | BinaryIO, arguments: Mapping[str, object], *, shapes: Collection[tuple[int, ...]],
    dtypes: Collection[str], size: int, seconds: float = FRAME_SECONDS,
) -> Decoded:  # fmt: skip
    """Let the helper decode one frame.

    Args:
        job: one of ``medvlp.io.sandbox.helper.JOBS``.
        source: the code stream, or a file at its start.
        arguments: of the job, plain data.
        shapes: shapes that the header allows.
        dtypes: little endian dtypes that it allows, as NumPy writes them ("|u1", "<u2").
        size: bytes of the largest of them; memory for decoding is a multiple of it.
        seconds: limit of processor time and wall clock.

    Raises:
        UnreadableImage: the job's own reasons, ``timeout``, ``too_large`` or ``decoder_died``.
        UserError: if no helper can be started.

    Example:
        >>> import struct
        >>> stream = struct.pack("<16I", 1, 64, *[0] * 14) + bytes([254, 7])  # one run of three sevens
        >>> sizes = {"rows": 1, "columns": 3, "samples": 1, "bits_allocated": 8}
        >>> decode("rle", stream, sizes, shapes=[(1, 3)], dtypes=["|u1"], size=3).pixels.tolist()
        [[7, 7, 7]]
    """
    request: dict[str, object] = {"job": job, "arguments": dict(arguments)}
    with _State.lock:
        try:
            return _decode_once(source, request, shapes, dtypes, size, seconds)
        except _DiedInUseError:
            # Something else may have ended it, such as the system for want of memory: a file is only blamed for the end
            # of a helper that has met no other file.
            return _decode_once(source, request, shapes, dtypes, size, seconds)


class _DiedInUseError(Exception):
    """A helper that had served other files before has ended."""


def _decode_once(
    source: bytes | BinaryIO, request: dict[str, object], shapes: Collection[tuple[int, ...]],
    dtypes: Collection[str], size: int, seconds: float,
) -> Decoded:  # fmt: skip
    helper = _running()
    end = size + (len(source) if isinstance(source, bytes) else source.seek(0, os.SEEK_END))
    if 0 <= resource.getrlimit(resource.RLIMIT_FSIZE)[0] < end:  # no file is to blame, as above
        raise UserError(f"The limit of a file's size (ulimit -f) is below {end} bytes, which pixels take: raise it.")
    start = helper.shared.put(source)  # where this fails, the file's disk does, not the helper
    limits = {"memory": _FLOOR_BYTES + _MEMORY_FACTOR * size, "seconds": seconds, "written": start + size}
    try:
        answer = helper.ask({**request, "size": start, "limits": limits}, seconds)
        return _believe(helper.shared, answer, start, shapes, dtypes)
    except UnreadableImage:
        helper.shared.slim()
        raise
    except TimeoutError:
        reason, detail = "timeout", f"its pixels were not decoded within {seconds:g} seconds"
    except (EOFError, OSError):
        reason, detail = helper.epitaph(seconds)
        if reason == "decoder_died" and helper.served > 1:
            _State.forget()
            raise _DiedInUseError from None
    except (ValueError, KeyError, TypeError):
        reason, detail = "decoder_died", "the decoder's answer made no sense"
    except BaseException:  # Ctrl-C or a signal: the answer that is on its way belongs to nobody
        _State.forget()
        raise
    _State.forget()
    raise UnreadableImage(reason, detail=detail)


def close_helper() -> None:
    """End this process's helper, if there is one; the next compressed frame starts another."""
    with _State.lock:
        _State.forget()


class _State:
    """The one helper of this process, and the turn that threads take."""

    lock = threading.Lock()
    helper: _Helper | None = None

    @classmethod
    def forget(cls) -> None:
        helper, cls.helper = cls.helper, None
        if helper is not None:
            helper.close()

    @classmethod
    def after_fork(cls) -> None:
        """A forked child has no helper: the parent's is the parent's, and so is a turn that some thread there held."""
        cls.lock = threading.Lock()
        helper, cls.helper = cls.helper, None
        if helper is not None:
            helper.abandon()


def _running() -> _Helper:
    if _State.helper is not None and _State.helper.process.poll() is not None:
        _State.forget()  # it died between two files, for a reason of its own: this file is not to blame
    if _State.helper is None:
        try:
            _State.helper = _Helper()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise UserError(  # no file is to blame, and none may be left out for it
                f"The process that decodes compressed pixels cannot be started ({str(error) or type(error).__name__}): "
                f"check that {sys.executable or 'Python'} can be run and import medvlp, and the limit of processes."
            ) from None
    return _State.helper


class _Helper:
    """A running helper process."""

    def __init__(self) -> None:
        self.served = 0
        self.shared = SharedFile.new()
        try:
            self.process = self._start()
        except BaseException:
            self.shared.close()
            raise
        try:
            if receive(self._answers, until=time.monotonic() + _START_SECONDS) != {"ready": self.process.pid}:
                raise ValueError("the helper did not say that it is ready")
        except BaseException:
            self.close()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        paths = [os.path.abspath(path) for path in sys.path if path]  # noqa: PTH100 (zip entries are no files)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Isolated: nothing is imported from the current folder, which may be the folder of the data. No bytecode: under
        # a limit of written bytes Python would leave cut files in its cache, for everybody.
        return subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", _START, str(self.shared.fileno()), *paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            pass_fds=[self.shared.fileno()], start_new_session=True,
            env={**environment, **_MALLOC, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    @property
    def _answers(self) -> int:
        return self.process.stdout.fileno()  # pyrefly: ignore[missing-attribute]  (PIPE was asked for)

    def ask(self, request: dict[str, object], seconds: float) -> dict[str, Any]:
        """Send a request and return its answer."""
        self.served += 1
        send(self.process.stdin.fileno(), request)  # pyrefly: ignore[missing-attribute]
        # The helper's own clock rings first: then its end says that the time was over.
        return receive(self._answers, until=time.monotonic() + seconds + 1)

    def epitaph(self, seconds: float) -> tuple[str, str]:
        """Return reason and detail of a helper's end."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "decoder_died", "the decoder closed its pipe"
        if -code in (signal.SIGALRM, signal.SIGXCPU):
            return "timeout", f"its pixels were not decoded within {seconds:g} seconds"
        return "decoder_died", f"its pixels ended the decoder ({_name(code)})"

    def close(self) -> None:
        """End the process and wait for its end."""
        self._close_pipes()
        self.process.kill()
        self.process.wait()
        self.shared.close()

    def abandon(self) -> None:
        """Close what a fork has copied; the process itself belongs to the parent."""
        self._close_pipes()
        self.process.returncode = 0  # else its finaliser warns of a process that still runs
        self.shared.close()

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _name(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def _believe(
    shared: SharedFile, answer: dict[str, Any], start: int, shapes: Collection[tuple[int, ...]], dtypes: Collection[str]
) -> Decoded:
    """Take over what agrees with the header, refuse the rest."""
    if "refused" in answer:
        reason, detail, hint = (str(part)[:200] for part in answer["refused"])
        if reason not in REASONS or not (detail + hint).isprintable():
            raise ValueError(reason)
        raise UnreadableImage(reason, detail=detail, hint=hint or None)
    shape, dtype, facts = tuple(answer["shape"]), answer["dtype"], answer["facts"]
    if shape not in shapes or dtype not in dtypes or not isinstance(facts, dict):
        raise UnreadableImage("corrupt", detail="its pixels decode to another size than its header says")
    pixels = shared.take(start, shape, dtype)
    shared.slim()
    return Decoded(pixels, facts)


atexit.register(close_helper)
os.register_at_fork(after_in_child=_State.after_fork)
