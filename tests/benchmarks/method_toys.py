"""The small worlds of `toys`, over several seeds: does a method separate from what it improves on?

    python tests/benchmarks/method_toys.py [NAME ...] [--seeds 3]

Prints one JSON line a toy: both scores of each seed, and whether the better one is ahead in the mean and in every seed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def run(name: str, seeds: range) -> dict[str, object]:
    """Return the scores of one toy."""
    module = importlib.import_module(f"tests.benchmarks.toys.{name}")
    start = time.process_time()
    scores = [module.toy(seed) for seed in seeds]
    better, worse = ([round(each[which], 4) for each in scores] for which in (module.BETTER, module.WORSE))
    ahead = [b - w for b, w in zip(better, worse, strict=True)]
    return {
        "benchmark": "method_toys",
        "toy": name,
        "claim": module.CLAIM,
        "better": {"name": module.BETTER, "scores": better},
        "worse": {"name": module.WORSE, "scores": worse},
        "difference": round(statistics.mean(ahead), 4),
        "separates": statistics.mean(ahead) > 0,
        "in_every_seed": min(ahead) > 0,
        "seeds": list(seeds),
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", help="toys; default: all")
    arguments.add_argument("--seeds", type=int, default=3)
    asked = arguments.parse_args()
    known = sorted(path.stem for path in (Path(__file__).parent / "toys").glob("[!_]*.py"))
    for name in asked.names or known:
        print(json.dumps(run(name, range(asked.seeds))), flush=True)


if __name__ == "__main__":
    main()
