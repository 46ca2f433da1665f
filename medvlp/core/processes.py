"""Processes beside each other: work that is of one, workers that end with their parent, a folder that one works in."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medvlp.core.errors import UserError
from medvlp.core.files import make_folder, refuse_write, remove_abandoned


def one_process(what: str) -> None:
    """Refuse to go on under torchrun, where each process would do all of `what` and write the same files (UserError).

    Example:
        >>> one_process("medvlp predict")
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if world != "1":
        raise UserError(
            f"{what} is the work of one process, and WORLD_SIZE is {world}: leave torchrun out, or unset WORLD_SIZE."
        )


def ending_signals() -> list[signal.Signals]:
    """The signals that ask a command to end; that of a closed terminal only where nohup has not had it ignored."""
    heard = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if heard else [])]


def leave_signals_to_parent() -> None:
    """In a worker: the keyboard and the terminal are the parent's affair, and no handler of its outlives the fork."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_with_parent() -> None:
    """In a worker: end when the parent does, however it ends; else it would wait for work for ever."""

    def wait() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def exclusive(folder: Path, *, what: str, otherwise: str, lock: str = ".lock") -> Iterator[None]:
    """Hold a folder, made where it is not there, that nobody else may work in at the same time.

    What writers that were killed left there, or in a folder of it, is removed.

    Args:
        folder: to hold.
        what: is at work, for the message.
        otherwise: what to do instead of waiting, for the message.
        lock: file of the lock; another name is for work that may go on within other work in the same folder.

    Raises:
        UserError: if another `what` is at work, or the folder cannot be written.
    """
    make_folder(folder)
    busy = f"Another {what} is at work in {folder}: wait for it, or {otherwise}."
    descriptor = open_locked(folder / lock, busy=busy, mode=0o666)  # colleagues who share the folder share its lock
    try:
        remove_abandoned(folder, ".*.part", "*/.*.part")
        yield
    finally:
        os.close(descriptor)


def open_locked(path: Path, *, busy: str, mode: int = 0o600) -> int:
    """Open a file to append to, made where it is not there; nobody else may have it open so at the same time.

    A disk without locks lets everybody in.

    Raises:
        UserError: `busy`, or that the file cannot be written.
    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(busy) from None
    except OSError as error:
        if descriptor < 0 or error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            refuse_write(error, path)
    return descriptor
