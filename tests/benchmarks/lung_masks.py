"""Dice of lungs on the hand-drawn masks of frontal radiographs, three folds by patient, from the starter encoder.

    OMP_NUM_THREADS=1 python tests/benchmarks/lung_masks.py runs/lung_masks --data ../shared/data/covid-cxr

`configs/finetune/lung_masks.yaml` as it stands, for each fold on the films of the other two: nothing is chosen by the
test fold, and the last weights are judged. A run that is complete in the folder is not trained again, so the folds may
be trained side by side, each by a call with ``--fold``. Exit 1 below a mean of 0.94 or a lower bound of 0.92.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from _report import print_report

from medvlp.config.tree import load_config
from medvlp.core.registry import available
from medvlp.evaluation.metric_row import mean_metric
from medvlp.models.bundle import save_bundle
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.train import train
from medvlp.zoo import convert

FOLDS, MEAN, LOWER = 3, 0.94, 0.92


def dice_of_fold(fold: int, out: Path, data: Path) -> pd.DataFrame:
    """Train on the other folds, return the cases of this one."""
    starter = out / "starter"
    if not starter.exists():
        save_bundle(starter, convert(Path("efficientnet_lite0"), name="starter", options={}))
    split = f"{{name: kfold, folds: {FOLDS}, fold: {fold}, validation: false}}"
    words = [f"run={out / f'fold_{fold}'}", f"data.root={data}", f"data.cache={out / 'cache'}", f"init_from={starter}"]
    config = load_config("finetune/lung_masks.yaml", [*words, f"data.split={split}"])
    done = train(config)
    others = {name: None for name in available("measures") if name != "segmentation"}
    judged = EvaluationRun(
        model=str(done.bundle),
        out=str(out / f"evaluation_{fold}"),
        data=config.data,
        evaluation={"measures": others, "gallery": 0, "fit": None},  # pyrefly: ignore
    )
    cases = evaluate(judged).found["segmentation"].cases
    assert cases is not None
    return cases


def main() -> None:
    """Print one line: mean with interval, lowest film, each fold."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data/covid-cxr"))
    arguments.add_argument("--fold", type=int, choices=range(FOLDS), help="train this one only, and print nothing")
    chosen = arguments.parse_args()
    folds = range(FOLDS) if chosen.fold is None else [chosen.fold]
    found = [dice_of_fold(fold, chosen.out, chosen.data).assign(fold=fold) for fold in folds]
    if chosen.fold is not None:
        return
    cases = pd.concat(found)
    row = mean_metric("dice", "lungs", cases["dice"], cases["patient_id"].tolist(), seed=0, resamples=2000)
    lowest = cases.sort_values("dice").iloc[0]
    print_report(
        "lung_masks",
        n={"films": len(cases), "patients": row.counts.patients},
        packages=("torch", "timm"),
        dice=round(row.value or 0.0, 4),
        interval=[round(row.interval.low or 0.0, 4), round(row.interval.high or 0.0, 4)],
        lowest={"id": lowest["id"], "dice": round(float(lowest["dice"]), 4)},
        folds=[round(float(each["dice"].mean()), 4) for each in found],
    )
    raise SystemExit(int((row.value or 0.0) < MEAN or (row.interval.low or 0.0) < LOWER))


if __name__ == "__main__":
    main()
