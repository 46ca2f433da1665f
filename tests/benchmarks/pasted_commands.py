"""README's and docs/start's commands, in order, exactly as printed, in a fresh clone with an empty home.

    python tests/benchmarks/pasted_commands.py [--only TEXT ...] [--skip TEXT ...] [--room FOLDER] [--list]

Prints one JSON line a command. The clone is of the committed state. A line that names an environment variable which is
not set (a public data set's folder) is left out and listed. With ``--room`` a folder is used, and used again, so that
what an earlier call made (the environment, the quick start) is there. Exits 1 where a command fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/start/table.md", "docs/start/hospital.md", "docs/start/labels.md", "docs/start/public.md")
KEPT = ("PATH", "LANG", "PIP_CACHE_DIR", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


_COMMANDS = r"^```sh\n(?P<lines>.*?)^```$"
_FILE = r"One file, `(?P<name>[\w/]+\.py)`[^`]*(?:`[^`\n]+`[^`]*)*\n\n```python\n(?P<source>.*?)^```$"


@dataclass(frozen=True)
class Command:
    """One line of a fenced ``sh`` block, and the files that the page asks for between the line before and this one."""

    page: str
    line: str
    files: dict[str, str]

    @property
    def unset(self) -> list[str]:
        """Environment variables that it names and nobody has set."""
        return sorted({name for name in re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", self.line) if name not in os.environ})


def commands(root: Path = ROOT) -> list[Command]:
    """Return the commands of all pages in order; a file is a block of Python whose paragraph names a new file."""
    found, files = [], {}
    for page in PAGES:
        text = (root / page).read_text(encoding="utf-8")
        for block in re.finditer(f"{_COMMANDS}|{_FILE}", text, re.DOTALL | re.MULTILINE):
            if block["name"]:
                files[block["name"]] = block["source"]
                continue
            for line in filter(str.strip, block["lines"].splitlines()):
                found.append(Command(page, line, files))
                files = {}
    return found


def run(command: Command, folder: Path, home: Path) -> dict[str, object]:
    """Write the files of one command, run it in a folder as a newcomer would, and return how it ended."""
    for name, source in command.files.items():
        (folder / name).write_text(source, encoding="utf-8")
    given = {name: os.environ[name] for name in os.environ if name in KEPT or name in command.line}
    start = time.perf_counter()
    done = subprocess.run(
        ["bash", "-c", command.line],
        cwd=folder,
        env={**given, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = done.stdout.strip().splitlines()
    seconds = round(time.perf_counter() - start, 1)
    return {"exit": done.returncode, "seconds": seconds, "last": said[-3:] if done.returncode else said[-1:]}


def main() -> None:
    """Clone, run, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", nargs="*", default=[], help="only lines that hold one of these texts")
    arguments.add_argument("--skip", nargs="*", default=[], help="leave out lines that hold one of these texts")
    arguments.add_argument("--room", type=Path, default=None, help="folder for clone and home; default: a new one")
    arguments.add_argument("--list", action="store_true", help="print the commands and run none")
    asked = arguments.parse_args()
    chosen = [
        each
        for each in commands()
        if (not asked.only or any(text in each.line for text in asked.only))
        and not any(text in each.line for text in asked.skip)
    ]
    if asked.list:
        for each in chosen:
            print(f"{each.page}: {each.line}")
        return
    room = asked.room or Path(tempfile.mkdtemp(prefix="pasted-"))
    clone, home = room / "medvlp", room / "home"
    home.mkdir(parents=True, exist_ok=True)
    if not clone.is_dir():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    failed = 0
    for each in chosen:
        done = {"left_out": f"not set: {', '.join(each.unset)}"} if each.unset else run(each, clone, home)
        failed += done.get("exit", 0) != 0
        print(json.dumps({"benchmark": "pasted_commands", "page": each.page, "line": each.line, **done}), flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
