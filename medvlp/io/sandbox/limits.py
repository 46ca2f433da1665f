"""What the helper may use for one frame: memory, processor time, wall clock, bytes written.

Linux enforces all of it. macOS accepts a limit of address space without enforcing it: there only the time is limited.
Windows has none of these limits: there the reading process ends the helper when its time is over, and memory is not
limited.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

_STATUS = Path("/proc/self/statm")


def prepare() -> None:
    """Set once what holds for the helper's whole life: no core dumps, signals as the system made them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the reader's to answer; the helper ends with its pipe
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A limit that is met must end the process, whatever the process that started this one did with the signal.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


@contextmanager
def limited(*, memory: int, seconds: float, written: int) -> Iterator[None]:
    """Limit what the block may use on top of what the process uses now.

    Args:
        memory: bytes of address space; an allocation beyond them fails.
        seconds: of processor time and of wall clock; the system ends the process when they are over, also in the midst
            of a decoder, which no exception could interrupt.
        written: largest size in bytes of the shared file.

    Example:
        >>> with limited(memory=1 << 28, seconds=5, written=1 << 20):
        ...     sum(range(10))
        45
    """
    if resource is None:
        yield
        return
    wanted = {
        resource.RLIMIT_CPU: math.ceil(time.process_time() + seconds) + 1,
        resource.RLIMIT_FSIZE: written,
    }
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
