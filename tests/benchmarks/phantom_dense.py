"""Masks and boxes on the synthetic hospital: Dice of three regions, precision of twelve findings, unseen patients.

    OMP_NUM_THREADS=1 python tests/benchmarks/phantom_dense.py runs/phantom_dense --patients 600

`configs/finetune/phantom_segmentation.yaml` and `phantom_detection.yaml`, each trained once and judged on the test
patients, with intervals over patients. The control of the boxes puts the one box that overlaps most of the training
boxes into every film; the difference is paired. The hospital is made where it is not there. Exit 1 where the interval
of that difference holds 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from _report import print_report

from medvlp.config.tree import load_config
from medvlp.core.registry import available
from medvlp.evaluation.results import Metric, Result
from medvlp.phantom.cohort import make_cohort
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.train import train


def judged(name: str, measure: str, hospital: Path, out: Path, samples: int | None) -> Mapping[str, Result]:
    """Train a configuration and judge its bundle on the test patients by one measure."""
    words = [f"run={out / name}", f"data.root={hospital}", f"data.cache={out / 'cache'}"]
    if samples is not None:
        words += [f"phases.0.until={samples}", f"training.validate_every={samples}"]
    config = load_config(f"finetune/{name}.yaml", words)
    done = train(config)
    measures = {other: None for other in available("measures") if other != measure}
    options = {"measures": measures, "gallery": 0, "fit": None}
    where = str(out / f"{name}_evaluation")
    return evaluate(
        EvaluationRun(model=str(done.bundle), out=where, data=config.data, evaluation=options)  # pyrefly: ignore
    ).found


def told(row: Metric) -> list[float | int | None]:
    """Value, both ends of its interval, and films."""
    return [
        *(None if value is None else round(value, 3) for value in (row.value, row.interval.low, row.interval.high)),
        row.counts.n,
    ]


def main() -> None:
    """Print one line: Dice and average precision as value, low, high, films."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--patients", type=int, default=600)
    arguments.add_argument("--segmentation", type=int, help="training samples; those of the configuration by default")
    arguments.add_argument("--detection", type=int, help="the same")
    chosen = arguments.parse_args()
    hospital = chosen.out / "hospital"
    make_cohort(hospital, patients=chosen.patients, image_size=256, workers=2)
    masks = judged("phantom_segmentation", "segmentation", hospital, chosen.out, chosen.segmentation)["segmentation"]
    boxes = judged("phantom_detection", "detection", hospital, chosen.out, chosen.detection)
    difference = boxes["boxes"].find("ap_difference@0.3", "constant_box")
    print_report(
        "phantom_dense",
        n={"patients": chosen.patients},
        packages=("torch", "timm"),
        dice={row.label: told(row) for row in masks.metrics if row.metric == "dice"},
        lowest={row.label: told(row) for row in masks.metrics if row.metric == "lowest_dice"},
        ap={row.label: told(row) for row in boxes["boxes"].metrics if row.metric == "ap@0.3"},
        constant_box=told(boxes["boxes_constant_box"].find("ap@0.3", "macro")),
        difference=told(difference),
    )
    raise SystemExit(int(difference.interval.low is None or difference.interval.low <= 0))


if __name__ == "__main__":
    main()
