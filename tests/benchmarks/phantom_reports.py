"""Reports written of synthetic radiographs of unseen patients, read back by our own reader, beside three controls.

    medvlp phantom runs/another --patients 2500 --seed 1
    OMP_NUM_THREADS=1 python tests/benchmarks/phantom_reports.py runs/phantom_reports --judge runs/another

`configs/finetune/phantom_report.yaml` on the quick start's bundle and hospital (or others), judged once on the test
patients of that hospital, or of another on which nothing was settled: micro F1 of findings, and its paired differences
from the best constant report, from the report of the training image with the nearest features, and from the model's own
reports given to other patients. Exit 1 where an interval of a difference reaches 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _report import print_report

from medvlp.config.tree import load_config
from medvlp.core.registry import available
from medvlp.evaluation.results import Metric
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.train import train


def told(row: Metric) -> dict[str, float | int | None]:
    """Value with its interval and counts."""
    value, low, high = (
        None if each is None else round(each, 4) for each in (row.value, row.interval.low, row.interval.high)
    )
    return {"value": value, "low": low, "high": high, "n": row.counts.n, "patients": row.counts.patients}


def main() -> None:
    """Print one line: F1 with interval, that of the controls, and the differences."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--start", type=Path, default=Path("runs/quickstart/run/bundle"))
    arguments.add_argument("--hospital", type=Path, default=Path("runs/quickstart/hospital"))
    arguments.add_argument("--judge", type=Path, help="hospital whose test patients are written of; default: the same")
    chosen = arguments.parse_args()
    words = [f"run={chosen.out / 'run'}", f"data.root={chosen.hospital}", f"init_from={chosen.start}"]
    config = load_config("finetune/phantom_report.yaml", words)
    done = train(config)
    options = {"gallery": 0}  # the best constant report is chosen on the split `fit`
    options["measures"] = {name: None for name in available("measures") if name != "written_reports"}
    judged = EvaluationRun(
        model=str(done.bundle),
        out=str(chosen.out / "evaluation"),
        data=config.data.model_copy(update={"prefix": [], "root": chosen.judge or config.data.root}),
        evaluation=options,  # pyrefly: ignore
    )
    found = evaluate(judged).found
    own = next(result for name, result in found.items() if any(r.metric == "f1_difference" for r in result.metrics))
    differences = {row.label: told(row) for row in own.metrics if row.metric == "f1_difference"}
    f1 = {name: told(result.find("f1", "micro")) for name, result in found.items() if _has(result.metrics)}
    print_report(
        "phantom_reports",
        n={"training_samples": config.phases[-1].until},
        packages=("torch", "timm"),
        synthetic=True,
        f1=f1,
        f1_difference=differences,
    )
    raise SystemExit(int(any(row["low"] is None or row["low"] <= 0 for row in differences.values())))


def _has(rows: list[Metric] | tuple[Metric, ...]) -> bool:
    return any(row.metric == "f1" and row.label == "micro" for row in rows)


if __name__ == "__main__":
    main()
