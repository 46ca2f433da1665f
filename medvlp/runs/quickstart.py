"""The quick start: a synthetic hospital, a model trained on it, an honest evaluation, a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.config.recipe import full_tree
from medvlp.config.tree import load_config
from medvlp.core.console import silent
from medvlp.core.files import check_place, read_json
from medvlp.core.progress import progress
from medvlp.phantom.cohort import make_cohort
from medvlp.runs.evaluate import EvaluationRun, evaluate
from medvlp.runs.train import train

logger = logging.getLogger(__name__)

IMAGE_SIZE = 256
WORKERS = 2


def run_quickstart(out: Path, *, seed: int = 0, patients: int, config: str, overrides: Sequence[str] = ()) -> Path:
    """Make ``out/hospital``, train and evaluate in ``out/run``, return its page; what is complete is not made again."""
    hospital, run = out / "hospital", out / "run"
    # Read and checked first: a fault is told before the hospital is made. Quoted as JSON, any folder's name is YAML.
    own = [f"run={json.dumps(str(run))}", f"seed={seed}", f"data.root={json.dumps(str(hospital))}"]
    tree = load_config(config, [*own, *overrides])
    full_tree(tree)
    check_place(out)
    logger.info(f"1/3 Synthetic hospital in {hospital} (real DICOM files, no real patient)")
    options = {"patients": patients, "seed": seed, "image_size": IMAGE_SIZE, "workers": WORKERS}
    with progress("Making the hospital", unit="studies") as tell:
        made = make_cohort(hospital, **options, progress=tell)
    logger.info(f"    {made.patients} patients, {made.studies} studies, {made.images} images")
    logger.info(f"2/3 Training in {run}")
    trained = train(tree)
    logger.info(f"3/3 Evaluating on test patients of split {tree.evaluation.split!r}")
    judging = EvaluationRun(
        model=str(trained.bundle),
        out=str(run),
        data=tree.data.model_copy(update={"prefix": []}),
        evaluation=tree.evaluation,
        seed=seed,
        workers=WORKERS,
    )
    with silent():
        judged = evaluate(judging, keep=True, whole=trained.manifest)
    for line in summary_lines(judged.results.parent):
        logger.info(f"    {line}")
    return judged.page


def summary_lines(results: Path) -> list[str]:
    """Return one line a result with its headline number, its interval and its n."""
    lines = []
    for path in sorted(results.glob("*.json")):
        rows: Any = read_json(path).get("metrics", [])
        # A mean over one label is that label's number again.
        own = {row["label"] for row in rows if (row["metric"], row["label"]) in _HEADLINES} - {"macro"}
        for row in rows:
            shown = (row["metric"], row["label"]) in _HEADLINES and row.get("group") in (None, "report_group<=3")
            if shown and row["value"] is not None and not (own and row["label"] == "macro"):
                low, high, least = row.get("low"), row.get("high"), row.get("min_positives")
                interval = f" [{low:.3f}, {high:.3f}]" if isinstance(low, float) and isinstance(high, float) else ""
                group = f" ({row['group']})" if row.get("group") else ""
                chance = f", chance {row['chance']:.4f}" if row.get("chance") is not None else ""
                of = f" of the {row['labels_used']} findings with {least} positives or more" if least else ""
                what = f"{path.stem}: {row['metric']} {row['label']}{of}{group}"
                lines.append(f"{what} {row['value']:.3f}{interval}, n {row['n']}{chance}")
    return lines


_HEADLINES = {
    ("auroc", "macro"),
    ("auroc", "left_of_right"),
    ("recall@5", "report_to_image"),
    ("recall@5", "image_to_report"),
}
