"""The quick start's bars: runs it for some seeds and prints what its test patients say, one JSON line.

    python tests/benchmarks/quickstart_auroc.py runs/seeds --seeds 0 1 2 [--full] [--config FILE] [key.path=value ...]

A seed draws another hospital and another training. A folder that is complete is not made again; its seconds are then
those of reading it, and `resumed` says so. Numbers are of synthetic patients: they prove the machinery.
"""

from __future__ import annotations

import argparse
import logging
import math
import resource
import statistics
import sys
import time
from pathlib import Path

from _report import print_report

from medvlp.cli.quickstart import FULL, QUICK
from medvlp.core.console import show_messages
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.results import Metric, Result, load_result
from medvlp.runs.quickstart import run_quickstart

RESAMPLES = 2000


def main() -> None:
    """Run and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--full", action="store_true", help="as the quick start's option")
    arguments.add_argument("--config", help="default: as the quick start has it")
    arguments.add_argument("--patients", type=int, help="the same")
    arguments.add_argument("--fewest", type=int, default=30, help="positive studies that a finding needs to count")
    arguments.add_argument("overrides", nargs="*", default=[])
    asked = arguments.parse_intermixed_args()
    config, patients, _ = FULL if asked.full else QUICK
    asked.config, asked.patients = asked.config or config, asked.patients or patients
    seeds = [run_seed(asked.out / f"seed-{seed}", seed, asked) for seed in asked.seeds]
    if any(seed["zero_shot"]["low"] is None for seed in seeds):
        sys.exit(f"No finding has {asked.fewest} positive test studies in every seed: use more --patients.")
    macro = [float(seed["zero_shot"]["value"]) for seed in seeds]
    # Seeds are independent hospitals: the mean's variance is the mean of theirs over their number.
    errors = [(seed["zero_shot"]["high"] - seed["zero_shot"]["low"]) / (2 * 1.96) for seed in seeds]
    mean = statistics.fmean(macro)
    half = 1.96 * math.sqrt(sum(error**2 for error in errors)) / len(errors)
    print_report(
        "quickstart_auroc",
        n={"seeds": len(seeds), "test_studies": sum(seed["zero_shot"]["n"] for seed in seeds)},
        packages=("torch", "timm", "numpy", "scikit-learn"),
        synthetic=True,
        fewest_positive_studies=asked.fewest,
        mean_zero_shot_macro_auroc=round(mean, 4),
        mean_interval=[round(mean - half, 4), round(mean + half, 4)],
        lowest_lower_bound=min(seed["zero_shot"]["low"] for seed in seeds),
        farthest_under_the_mean=round(mean - min(macro), 4),
        mean_thumbnail=round(statistics.fmean(seed["thumbnail"]["value"] for seed in seeds), 4),
        config=asked.config,
        patients=asked.patients,
        overrides=asked.overrides,
        seeds={str(number): seed for number, seed in zip(asked.seeds, seeds, strict=True)},
    )


def run_seed(out: Path, seed: int, asked: argparse.Namespace) -> dict:
    """Run the quick start for a seed and return its numbers."""
    resumed, marks = out.exists(), [("start", _clocks())]

    def mark(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text[1:3] == "/3":
            marks.append((("hospital", "training", "evaluation")[int(text[0]) - 1], _clocks()))
        return True

    show_messages(on_stderr=lambda name: True)
    stages_of = logging.getLogger("medvlp.runs.quickstart")
    stages_of.addFilter(mark)
    page = run_quickstart(out, seed=seed, patients=asked.patients, config=asked.config, overrides=asked.overrides)
    stages_of.removeFilter(mark)
    ends = [*(at for _, at in marks[2:]), _clocks()]
    stages = [(name, begin, end) for (name, begin), end in zip(marks[1:], ends, strict=True)]
    seconds, cpu = ({name: round(end[i] - begin[i], 1) for name, begin, end in stages} for i in range(2))
    folder = page.parent / "results"
    found = {name: load_result(folder / f"{name}.json") for name in ("zero_shot", "laterality", "retrieval")}
    scores = {"zero_shot": found["zero_shot"], **_optional(folder, "linear_probe", "thumbnail")}
    zero = _macro(scores["zero_shot"], asked.fewest)
    sites = found["zero_shot"].cases
    return {
        **{name: _row(_macro(result, asked.fewest).find("auroc", "macro")) for name, result in scores.items()},
        "findings": {
            row.label: round(row.value, 3)
            for row in zero.metrics
            if row.metric == "auroc"
            and row.group is None
            and row.label != "macro"
            and row.value is not None
            and (row.counts.positives or 0) >= asked.fewest
        },
        "size_terciles": {
            row.group: _row(row)
            for row in found["zero_shot"].metrics
            if row.metric == "auroc" and row.label == "macro" and (row.group or "").startswith("size=")
        },
        "laterality": _row(found["laterality"].find("auroc", "left_of_right")),
        "report_to_image_recall@5": _recall(found["retrieval"]),
        "test_studies_by_site": {} if sites is None else sites["group:site"].value_counts().sort_index().to_dict(),
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
        "cpu_seconds": {**cpu, "total": round(sum(cpu.values()), 1)},
        "resumed": resumed,
    }


def _clocks() -> tuple[float, float]:
    """Seconds on the wall, and of all processors by this process and those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used)


def _macro(result: Result, fewest: int) -> Result:
    """Judge the stored predictions again, with only the findings that have enough positives in the macro average."""
    assert result.cases is not None
    judged = result.cases[result.cases["split"] == result.metrics[0].split]  # beside them those that fitted thresholds
    rows = judged.drop(columns=[name for name in judged.columns if name.startswith("group:")])
    return evaluate_scores(rows, seed=0, resamples=RESAMPLES, min_positives=fewest, name=result.name)


def _optional(folder: Path, *names: str) -> dict[str, Result]:
    return {name: load_result(folder / f"{name}.json") for name in names if (folder / f"{name}.json").is_file()}


def _row(row: Metric) -> dict:
    numbers = {"value": row.value, "low": row.interval.low, "high": row.interval.high}
    rounded = {name: None if value is None else round(value, 4) for name, value in numbers.items()}
    counts = {"n": row.counts.n, "patients": row.counts.patients, "labels_used": row.counts.labels_used}
    return {**rounded, **{name: count for name, count in counts.items() if count is not None}}


def _recall(result: Result) -> dict:
    row = result.find("recall@5", "report_to_image", group="report_group<=3")
    assert row.value is not None
    assert row.chance
    return {
        **_row(row),
        "chance": round(row.chance, 4),
        "times_chance": round(row.value / row.chance, 1),
        "pool": row.counts.pool,
    }


if __name__ == "__main__":
    main()
