"""The small worlds of `toys`, over several seeds: does a method separate from what it improves on?

    python tests/benchmarks/method_toys.py [NAME ...] [--seeds 3] > toys.jsonl
    python tests/benchmarks/method_toys.py --page toys.jsonl

Prints one JSON line a toy: both scores of each seed, and whether the better one is ahead in the mean and in every seed.
With ``--page`` such lines become the numbers of docs/results/method_toys.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def run(name: str, seeds: range) -> dict[str, object]:
    """Return the scores of one toy."""
    module = importlib.import_module(f"tests.benchmarks.toys.{name}")
    start = time.process_time()
    scores = [module.toy(seed) for seed in seeds]
    better, worse = ([round(float(each[which]), 4) for each in scores] for which in (module.BETTER, module.WORSE))
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


def page(lines: list[dict[str, Any]]) -> dict[str, object]:
    """Return what the results page is rendered from."""
    rows, found = [], Counter[str]()
    for each in sorted(lines, key=lambda line: line["toy"]):
        word = "in every seed" if each["in_every_seed"] else "in the mean" if each["separates"] else "no"
        found[word] += 1
        sides = [
            f"{side['name']}: {', '.join(f'{x:.3f}' for x in side['scores'])}"
            for side in (each["better"], each["worse"])
        ]
        rows.append([each["toy"], each["claim"], *sides, word])
    columns = ["method", "claim", "better by the claim, a seed each", "worse", "ahead"]
    return {
        "title": "Small worlds that should separate methods",
        "benchmark": "tests/benchmarks/method_toys.py",
        "command": "python tests/benchmarks/method_toys.py",
        "n": {"small worlds": len(rows), "seeds": len(lines[0]["seeds"])},
        "seed": lines[0]["seeds"],
        "versions": {"torch": torch.__version__.partition("+")[0]},
        "facts": {"every": found["in every seed"], "mean": found["in the mean"], "no": found["no"], "all": len(rows)},
        "tables": {"toys": {"columns": columns, "rows": rows}},
    }


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", help="toys; default: all")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--page", type=Path, help="lines that were printed before")
    asked = arguments.parse_args()
    if asked.page:
        lines = [json.loads(line) for line in asked.page.read_text(encoding="utf-8").splitlines()]
        out = ROOT / "docs" / "results" / "method_toys.json"
        out.write_text(json.dumps(page(lines), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    known = sorted(path.stem for path in (Path(__file__).parent / "toys").glob("[!_]*.py"))
    for name in asked.names or known:
        print(json.dumps(run(name, range(asked.seeds))), flush=True)


if __name__ == "__main__":
    main()
