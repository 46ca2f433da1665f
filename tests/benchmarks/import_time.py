"""CPU seconds of ``import medvlp`` and ``medvlp --help``, each in a fresh process; one JSON line.

python tests/benchmarks/import_time.py
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys

CASES = {
    "import medvlp": ["-c", "import medvlp"],
    "medvlp --help": ["-m", "medvlp", "--help"],
    "python alone": ["-c", "pass"],
}
REPEATS = 7


def cpu_seconds(words: list[str]) -> float:
    """User and system seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print: the median and the largest of `REPEATS`."""
    found = {}
    for name, words in CASES.items():
        cpu_seconds(words)  # fills the file cache and writes bytecode
        times = sorted(cpu_seconds(words) for _ in range(REPEATS))
        found[name] = {"median": round(times[REPEATS // 2], 3), "largest": round(times[-1], 3)}
    load = round(os.getloadavg()[0], 2)
    print(
        json.dumps(
            {"benchmark": "import_time", "n": REPEATS, "python": platform.python_version(), "load": load} | found
        )
    )


if __name__ == "__main__":
    main()
