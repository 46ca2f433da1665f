"""Dice of organs of one CT volume that the model is taught on: whether the 3D path can learn what it is shown.

    OMP_NUM_THREADS=1 python tests/benchmarks/ct_organs.py runs/ct_organs --data ../shared/data/ct-nifti

`configs/finetune/ct_organs.yaml`, half as wide for a CPU's sake, on the whole of `example_ct` (112 slices of 3 mm) and
its label map, for a fixed number of samples, then judged on the same volume in the file's own voxels. It says nothing
about other patients, and the label map is itself a model's. Exit 1 where an organ is below 0.95.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from _report import print_report

from medvlp.config.tree import load_config
from medvlp.core.registry import available
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.train import train

BAR = 0.95


def main() -> None:
    """Print one line: Dice of each organ and their mean."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data/ct-nifti"))
    arguments.add_argument("--samples", type=int, default=480)
    chosen = arguments.parse_args()
    root = chosen.out / "data"
    for source, target in (("images/example_ct", "images"), ("labels/example_seg_fast_force_split", "labels")):
        (root / target).mkdir(parents=True, exist_ok=True)
        shutil.copy(chosen.data / f"{source}.nii.gz", root / target / "example.nii.gz")
    (root / "table.csv").write_text("case,patient,split\nexample,example,train\n")
    words = [f"run={chosen.out / 'run'}", f"data.root={root}", f"data.cache={chosen.out / 'cache'}"]
    words += [f"phases.0.until={chosen.samples}", "training.log_every=10", "training.checkpoint_every=50"]
    words += ["training.batch=1", "optimiser.rate=2.0e-2", "optimiser.warmup=10"]
    words += ["model.vision.width=8", "phases.0.objectives.0.decoder.width=8"]
    words += ["phases.0.objectives.0.window=[112, 128, 128]", "data.suffix.0.count=112", "data.suffix.0.mm=336"]
    config = load_config("finetune/ct_organs.yaml", words)
    done = train(config)
    options = {"split": "train", "gallery": 0, "fit": None}
    options["measures"] = {name: None for name in available("measures") if name != "segmentation"}
    judged = EvaluationRun(
        model=str(done.bundle),
        out=str(chosen.out / "evaluation"),
        data=config.data.model_copy(update={"allow_leaks": True}),
        evaluation=options,  # pyrefly: ignore
    )
    found = evaluate(judged).found["segmentation"]
    dice = {row.label: round(row.value or 0.0, 4) for row in found.metrics if row.metric == "dice"}
    print_report("ct_organs", n={"volumes": 1, "samples": chosen.samples}, packages=("torch", "monai"), dice=dice)
    raise SystemExit(int(min(dice.values()) < BAR))


if __name__ == "__main__":
    main()
