"""The command ``medvlp``. A user's mistake exits 2 with one sentence; a bug exits 1 with a traceback."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from medvlp import __version__
from medvlp.cli import (
    adapt,
    cache,
    compare,
    components,
    convert,
    data,
    demo,
    doctor,
    embed,
    evaluate,
    export,
    gate,
    inspect,
    phantom,
    predict,
    quantise,
    quickstart,
    report,
    score,
    sweep,
    train,
)
from medvlp.core.console import show_messages
from medvlp.core.errors import UserError
from medvlp.core.files import FULL
from medvlp.core.processes import ending_signals, one_process

# Commands that say on the way what they choose and leave out; others do so with --verbose, on standard error.
_SHOWN = ("quickstart", "train", "gate", "sweep", "demo")
_SHOWN_ON_STDERR = ("adapt", "evaluate", "score")
_QUICK = "medvlp.runs.quickstart"
# Commands whose work the processes of torchrun share.
_SHARED = ("train", "embed", "doctor")

app = typer.Typer(
    help="Train, adapt, evaluate and show vision-language models for medical images.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"medvlp {__version__}")
        raise typer.Exit


@app.callback()
def messages(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="The version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show all messages, those of any command.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show warnings alone.")] = False,
) -> None:
    """Choose what is shown of the messages on the way; results and errors are always."""
    if verbose and quiet:
        raise UserError("--verbose and --quiet exclude each other: leave one of them out.")
    verb = context.invoked_subcommand or ""
    if verb not in _SHARED:
        one_process(f"medvlp {verb}")
    shown = verb in _SHOWN or verb in _SHOWN_ON_STDERR
    show_messages(
        logging.DEBUG if verbose else logging.INFO if shown and not quiet else logging.WARNING,
        # What a suite says as it goes stands on standard output, as that of a sweep does.
        on_stderr=lambda name: verb not in _SHOWN and not name.startswith("medvlp.runs.grid."),
        indented=lambda name: verb in ("quickstart", "demo") and name.startswith("medvlp.runs.") and name != _QUICK,
    )


for verb in (
    quickstart, phantom, inspect, train, embed, adapt, predict, evaluate, score, compare, report, demo, gate, convert,
    export, quantise, sweep, components, doctor,
):  # fmt: skip
    name = verb.__name__.rpartition(".")[2]
    app.command(name)(getattr(verb, name))
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")


class _InterruptedError(BaseException):
    """A signal: nothing that handles errors on the way may take it for one."""


def main() -> None:
    """Run the command line."""
    # Read by OpenMP when torch is loaded: threads that wait sleep, for a quarter less of the processors' time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    came = _leave_on_signals()
    # What a scheduler closed leads nowhere: a file that is opened would take its number, and a helper process lose it.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 (of a scheduler that closed it)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does: no name ends what is done
    try:
        try:
            Path.cwd()
        except FileNotFoundError:  # libraries in compiled code would end the process with words of their own
            raise UserError("The working folder was removed: change to one that is there and start again.") from None
        if sys.getfilesystemencoding() == "ascii" and not all(map(str.isascii, sys.argv)):
            raise UserError("Names are read as ASCII here: leave PYTHONUTF8=0 out, or set LC_ALL=C.UTF-8.")
        if sys.stdout is None and (option := next((word for word in sys.argv if word in ("--json", "--schema")), None)):
            raise UserError(f"{option} writes to standard output, which is closed: open it, or leave {option} out.")
        app()
        return
    except SystemExit as usage:
        if isinstance(usage.__context__, BrokenPipeError):  # `medvlp ... | head`: as the shell says of other programs
            sys.exit(128 + signal.SIGPIPE)
        words = [word for word in sys.argv[1:] if word.startswith("-") and os.path.isfile(word)]  # noqa: PTH113 (any length)
        if usage.code == UserError.exit_code and words and "--" not in sys.argv:
            print(
                f"medvlp: {words[0]} was taken for options: write ./{words[0]} for the file, or -- before.",
                file=sys.stderr,
            )
        raise
    except UserError as error:
        ended = str(error)
    except (RuntimeError, BlockingIOError, MemoryError) as error:
        known = ("DataLoader worker", "Pin memory thread", "process pool")  # torch's and Python's words
        known += ("start new thread", "Resource temporarily unavailable")
        loop = str(error).startswith("Symlink loop from ")  # Python's words
        full = isinstance(error, MemoryError) or "can't allocate memory" in str(error)  # torch's words on a processor
        if not loop and not full and not any(each in str(error) for each in known):
            raise
        ended = f"A worker process ended or cannot begin ({' '.join(str(error).split())}), probably for want of memory "
        ended += "or by a limit of processes (ulimit -u): start again with fewer workers; what was finished is kept."
        if loop:
            ended = f"{error}: a symbolic link leads to itself, name the file or folder that is meant."
        elif full:
            ended = "No memory is left, or none that a limit allows (ulimit -v): make room, or raise the limit, and "
            ended += "start again with fewer workers; what was finished is kept."
    except OSError as error:  # what writers beside ours and standard output find full
        if error.errno not in FULL:
            raise
        ended = f"The disk is full: {error.filename or 'what is printed'} was not written; make room and start again."
    except (_InterruptedError, ImportError):
        if not came:  # a compiled module that a signal meets as it is loaded says "initialization failed", and not why
            raise
        ended = f"Interrupted ({came[-1]}); what was complete is kept: start the same command again to go on."
    print(f"medvlp: {ended}", file=sys.stderr)
    sys.exit(UserError.exit_code)


def _leave_on_signals() -> list[str]:
    """End a command with one sentence; training takes the signals over while it runs, and saves first.

    Returns:
        The names of the signals that have come, which goes on to grow.
    """
    main_process, usual, came = os.getpid(), sys.unraisablehook, list[str]()

    def once_more(ignored: sys.UnraisableHookArgs) -> None:
        if not isinstance(ignored.exc_value, _InterruptedError):  # Python drops what is raised as it forks or frees
            return usual(ignored)
        threading.Timer(0.1, os.kill, (main_process, signal.Signals[str(ignored.exc_value)])).start()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() == main_process:
            came.append(signal.Signals(number).name)
            raise _InterruptedError(signal.Signals(number).name)
        # A worker inherits the handler, not the duty to explain.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    sys.unraisablehook = once_more
    for number in ending_signals():
        signal.signal(number, leave)
    return came
