"""Whether one and two processes make the same hospital, byte for byte: one JSON line; exit 1 where they do not.

python tests/benchmarks/phantom_bytes.py [--patients 60] [--modality cxr]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

from _report import print_report

from medvlp.phantom.cohort import make_cohort


def hashes(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by its relative path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    """Make, compare and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--patients", type=int, default=60)
    arguments.add_argument("--modality", choices=("cxr", "ct"), default="cxr")
    arguments.add_argument("--seed", type=int, default=0)
    asked = arguments.parse_args()
    found, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            out, start = Path(folder) / str(workers), time.perf_counter()
            made = make_cohort(out, patients=asked.patients, modality=asked.modality, seed=asked.seed, workers=workers)
            seconds[f"workers_{workers}"] = round(time.perf_counter() - start, 1)
            found[workers] = hashes(out)
    names = found[1].keys() | found[2].keys()
    differ = sorted(name for name in names if found[1].get(name) != found[2].get(name))
    whole = hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in found[1].items()).encode()).hexdigest()
    print_report(
        "phantom_bytes",
        n={"patients": made.patients, "studies": made.studies, "files": len(names)},
        packages=("numpy", "scipy", "pydicom", "pyarrow"),
        modality=asked.modality,
        seed=asked.seed,
        same=not differ,
        differ=differ[:10],
        sha256_of_all=whole,
        seconds=seconds,
    )
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
