"""Which slice pooler finds a nodule that is in one to three of 28 slices: 600 / 150 / 400 synthetic CT volumes.

Half of the volumes hold one nodule of 8 to 24 mm; all have vessels, noise, and two slices of much more noise. Stage one
is a 2D model of slices and captions, trained on slices of the training volumes; its frozen tower encodes every slice
once; stage two trains each pooler on those features, of each volume 18 slices drawn anew each time, against captions of
whole volumes (CLIP). Sizes and variants were fixed before any training. Seed 11 was seen while settings were chosen
(length of stage one, drawn slices, rate of the pooler); seed 12 is another world and was scored once. The epoch is
chosen on the validation volumes.

Printed: AUROC of nodule with its interval (bootstrap over patients), differences to the mean, the middle slice and the
maximum on the same patients, and for poolers with weights how often the heaviest slice is within one of the nodule's,
among positives above the operating point (Youden's, of the validation volumes), with the share that chance gives.

OMP_NUM_THREADS=2 python tests/benchmarks/slice_pooling.py --out runs/slice_pooling --seed 12
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import torch
import yaml
from _report import print_report
from PIL import Image

from medvlp.answers.asking.model import load
from medvlp.config.tree import load_config
from medvlp.core.files import write_json
from medvlp.core.randomness import numpy_generator, seed_of
from medvlp.data.manifest import Manifest
from medvlp.io import read_volume, window
from medvlp.phantom.body import build_body
from medvlp.phantom.ct import render_ct
from medvlp.phantom.facts import Finding
from medvlp.phantom.sampling import sample_cohort
from medvlp.phantom.write_study import ras_affine, write_nifti
from medvlp.runs.slices import embed_slices
from medvlp.runs.train import train
from medvlp.statistics.metrics import auroc

DRAWN = 18  # slices of a volume in a step of stage two
SPLITS = {"train": 600, "validate": 150, "test": 400}
SHAPE = (28, 96, 96)
SIZE = 96
NOISY, NOISE_HU = 2, 160.0
WINDOW = "ct_lung_v1"
TEXTS = {1: "There is a pulmonary nodule.", 0: "No pulmonary nodule."}
#: pooling alone, ours with attention over slices, and as many parameters without the places
VARIANTS: dict[str, dict[str, Any]] = {
    "middle": {"pool": "middle", "layers": 0},
    "mean": {"pool": "mean", "layers": 0},
    "max": {"pool": "max", "layers": 0},
    "attention MIL": {"pool": "attention", "layers": 0},
    "gated MIL": {"pool": "gated", "layers": 0},
    "ours, mean": {"pool": "mean", "layers": 1},
    "ours, attention": {"pool": "attention", "layers": 1},
    "ours, gated": {"pool": "gated", "layers": 1},
    "ours, attention, no places": {"pool": "attention", "layers": 1, "place": "none"},
}
OURS = "ours, attention"
TOWER = {
    "name": "timm", "architecture": "resnet10t", "image_size": SIZE, "channels": 1, "norm": "group", "pool": "avgmax",
    "options": {"channels": [16, 32, 64, 128], "stem_width": 16},
}  # fmt: skip
TEXT = {"name": "transformer", "width": 64, "layers": 1, "heads": 2}


# the world ------------------------------------------------------------------------------------------------------------


def nodule(draw: np.random.Generator) -> Finding:
    """Return a nodule of 8 to 24 mm anywhere in the lungs."""
    side = ("left", "right")[int(draw.integers(2))]
    lobe = ("upper", "lower")[int(draw.integers(2))]
    size = float(draw.uniform(8, 24))
    return Finding("nodule", side, lobe, "moderate", round(size, 1), (size - 8) / 16, int(draw.integers(2**62)))  # pyrefly: ignore


def render(job: tuple[int, str, str, int]) -> dict[str, object]:
    """Write one volume and return its row."""
    number, split, folder, seed = job
    study = _studies(seed)[number]
    for attempt in range(50):
        draw = numpy_generator(seed, number, f"slice_pooling.{attempt}")
        findings = (nodule(draw),) if number % 2 else ()
        body = build_body(dataclasses.replace(study, findings=findings), seed=seed)
        volume = render_ct(body, shape=SHAPE, generator=draw)
        held = np.flatnonzero(volume.masks[0].any((1, 2))) if findings else np.zeros(0, int)
        if not findings or 1 <= len(held) <= 3:
            break
    else:
        raise RuntimeError(f"volume {number}: no nodule of one to three slices in 50 draws")
    hu = volume.hu.astype(np.float32)
    for z in draw.choice(SHAPE[0], NOISY, replace=False):
        hu[z] += draw.normal(0, NOISE_HU, SHAPE[1:])
    spacing, name = volume.spacing, f"volumes/{number:04d}.nii.gz"
    affine = ras_affine((spacing[2], spacing[1], spacing[0]), volume.origin)
    write_nifti(Path(folder) / name, np.clip(np.rint(hu), -1024, 3071).astype(np.int16), affine)
    first, last = (int(held[0]), int(held[-1])) if len(held) else (-1, -1)
    return {
        "id": f"V{number:04d}", "id.patient": f"P{number:04d}", "volume": name, "text": TEXTS[number % 2],
        "label.nodule": number % 2, "split": split, "number.first": first, "number.last": last,
    }  # fmt: skip


def _studies(seed: int) -> Any:
    if not _KEPT:
        total = sum(SPLITS.values())
        first = {study.patient.id: study for study in sample_cohort(patients=total, seed=seed, modality="ct")[::-1]}
        _KEPT.extend(first[name] for name in sorted(first))
    return _KEPT


_KEPT: list[Any] = []


def make_world(out: Path, seed: int) -> Path:
    """Write volumes and their table, once."""
    table = out / "volumes.csv"
    if not table.exists():
        (out / "volumes").mkdir(parents=True, exist_ok=True)
        splits = [split for split, count in SPLITS.items() for _ in range(count)]
        jobs = [(number, split, str(out), seed) for number, split in enumerate(splits)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            rows = list(pool.imap(render, jobs, chunksize=16))
        _write(table, rows)
    return table


def make_slices(out: Path, table: Path, seed: int) -> Path:
    """Write slices of training and validation volumes as pictures with captions: half with the nodule, half without."""
    path = out / "slices.csv"
    if path.exists():
        return path
    (out / "slices").mkdir(exist_ok=True)
    rows = []
    for row in _read(table):
        if row["split"] == "test":
            continue
        draw = np.random.default_rng(seed_of(seed, int(row["id"][1:]), "slices"))
        shown = window(read_volume(out / row["volume"]), WINDOW).voxels
        first, last = int(float(row["number.first"])), int(float(row["number.last"]))
        held = list(range(first, last + 1)) if first >= 0 else []
        others = [z for z in range(SHAPE[0]) if z not in held]
        for z in [*held, *draw.choice(others, 4, replace=False).tolist()]:
            name = f"slices/{row['id']}-{z:02d}.png"
            Image.fromarray(np.rint(shown[z] * 255).astype(np.uint8)).save(out / name)
            label = int(z in held)
            rows.append({
                "id": f"{row['id']}-{z:02d}", "id.patient": row["id.patient"], "image": name, "text": TEXTS[label],
                "label.nodule": label, "split": row["split"],
            })  # fmt: skip
    _write(path, rows)
    return path


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


# training -------------------------------------------------------------------------------------------------------------


def run(out: Path, name: str, tree: Mapping[str, Any], seed: int) -> Path:
    """Train, or go on; return the bundle."""
    prompts = out / "prompts.yaml"
    sets = [{"label": "nodule", "positive": [TEXTS[1]], "negative": [TEXTS[0]]}]
    prompts.write_text(yaml.safe_dump({"name": "slice_pooling", "sets": sets}))
    full = {
        "run": str(out / "runs" / name), "seed": seed, "tokenizer": {"vocab_size": 64, "max_length": 16},
        "evaluation": {"prompts": str(prompts), "min_positives": 1, "gallery": 0, "choose": "zero_shot/auroc/nodule"},
        **tree,
    }  # fmt: skip
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(full, sort_keys=False))
    return train(load_config(path)).bundle


def first_stage(out: Path, slices: Path, samples: int, seed: int) -> Path:
    """Train the 2D model on slices and captions."""
    return run(out, "stage_one", {
        "data": {
            "root": str(out), "manifest": str(slices), "cache": str(out / "cache"), "allow_leaks": True,
            "prefix": [{"name": "read", "size": SIZE}], "suffix": [{"name": "affine"}, {"name": "intensity"}],
        },
        "model": {"name": "dual", "vision": TOWER, "text": TEXT, "embed_dim": 32},
        "phases": [{"until": samples, "objectives": [{"name": "clip", "positives": "same_report"}]}],
        "optimiser": {"rate": 2.0e-3, "warmup": 640},
        "training": {"batch": 64, "validate_every": samples // 8, "checkpoint_every": samples // 4, "workers": 1},
    }, seed)  # fmt: skip


def second_stage(
    out: Path, name: str, pooler: Mapping[str, Any], start: Path, features: Path, samples: int, seed: int
) -> Path:
    """Train a pooler on slice features."""
    learns = pooler["layers"] > 0 or pooler["pool"] in ("attention", "gated")
    return run(out, name, {
        "init_from": str(start),
        "data": {
            "root": str(features), "manifest": str(features / "manifest.parquet"), "cache": str(out / "cache"),
            "prefix": [{"name": "read_stack_file"}],
            "suffix": [{"name": "sample_slices", "count": DRAWN, "how": "jittered"}],
        },
        "model": {
            "name": "dual", "vision": {"name": "slices", "slice": TOWER}, "text": TEXT, "embed_dim": 32,
            "heads": {
                "stack/volume": {"name": "slice_pooler", "heads": 4, **pooler},
                "stack/raw": {"name": "projection", "reads": "volume"},
            },
        },
        "phases": [{
            "until": samples, "trainable": ["model.heads.stack/*", "model.logit_scale*"],
            "objectives": [{"name": "clip", "image": "stack", "positives": "same_report"}],
        }],
        "optimiser": {"rate": 1.0e-3, "warmup": 640, "rates": {"model.heads.stack/volume.*": 0.3} if learns else {}},
        "training": {"batch": 64, "validate_every": samples // 16, "checkpoint_every": samples, "workers": 0},
    }, seed)  # fmt: skip


# judging --------------------------------------------------------------------------------------------------------------


def scores_of(bundle: Path, features: Manifest, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of each volume (V,), and the number of its heaviest slice (V,)."""
    from medvlp.core.keys import Plan, keys
    from medvlp.data.loader import in_order
    from medvlp.data.prepare import prepare
    from medvlp.runs.data import build_views

    model = load(bundle)
    chosen = features.split_of(split)
    prepared = prepare(chosen, build_views([{"name": "read_stack_file"}], where="prefix"))
    plan = Plan.of(keys("stack/embedding", "stack/volume_weights"))
    direction = model.embed_text([TEXTS[1], TEXTS[0]])
    rows, heaviest = [], []
    with torch.inference_mode():
        for batch in in_order(prepared):
            encoded = model.model.finish(model.model(batch, plan), plan)["stack"]
            rows.append(encoded.part("embedding").numpy())
            heaviest.append(encoded.part("volume_weights").argmax(1).numpy())
    return np.concatenate(rows) @ (direction[0] - direction[1]), np.concatenate(heaviest)


def interval(values: np.ndarray) -> list[float]:
    """Return the 95 % percentile interval."""
    return [round(float(v), 4) for v in np.quantile(values, [0.025, 0.975])]


def judge(out: Path, bundles: Mapping[str, Path], features: Manifest, resamples: int, seed: int) -> dict[str, Any]:
    """Return the table."""
    test, checked = features.split_of("test"), features.split_of("validate")
    truth, known = (np.asarray(m.column("label.nodule"), float) for m in (test, checked))
    first, last = (np.asarray(test.column(f"number.{name}"), float) for name in ("first", "last"))
    found = {name: scores_of(bundle, features, "test") for name, bundle in bundles.items()}
    draw = np.random.default_rng(seed)
    strata = [np.flatnonzero(truth == value) for value in (0, 1)]
    picks = [np.concatenate([draw.choice(rows, len(rows)) for rows in strata]) for _ in range(resamples)]
    drawn = {name: np.array([auroc(truth[p], scores[p]) for p in picks]) for name, (scores, _) in found.items()}
    table = {}
    for name, (scores, heaviest) in found.items():
        value = float(auroc(truth, scores))
        row: dict[str, Any] = {"auroc": round(value, 4), "interval": interval(drawn[name])}
        for other in ("mean", "middle", "max"):
            if other != name:
                apart = float(auroc(truth, found[other][0]))
                row[f"minus {other}"] = [round(value - apart, 4), *interval(drawn[name] - drawn[other])]
        if "attention" in name or "gated" in name:
            validation = scores_of(bundles[name], features, "validate")[0]
            cuts = np.unique(validation)
            gain = [(validation[known == 1] >= c).mean() - (validation[known == 0] >= c).mean() for c in cuts]
            above = (truth == 1) & (scores >= cuts[int(np.argmax(gain))])
            near = (heaviest >= first - 1) & (heaviest <= last + 1)
            width = np.minimum(last + 1, SHAPE[0] - 1) - np.maximum(first - 1, 0) + 1
            row["heaviest_within_one"] = {
                "share": round(float(near[above].mean()), 3), "n": int(above.sum()),
                "chance": round(float((width[above] / SHAPE[0]).mean()), 3),
            }  # fmt: skip
        table[name] = row
    write_json(out / "table.json", table)
    return table


def main() -> None:
    """Make the world, train, judge, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=240_000, help="samples of stage one")
    parser.add_argument("--second", type=int, default=48_000, help="samples of stage two")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=12)
    options = parser.parse_args()
    out = options.out.resolve()
    table = make_world(out, options.seed)
    start = first_stage(out, make_slices(out, table, options.seed), options.first, options.seed)
    features = out / "features"
    embed_slices(start, table, root=out, folder=features, windows=[WINDOW], workers=2)
    bundles = {
        name: second_stage(
            out, "".join(c if c.isalnum() else "_" for c in name), pooler, start, features, options.second, options.seed
        )
        for name, pooler in VARIANTS.items()
    }
    manifest = Manifest.load(features / "manifest.parquet")
    found = judge(out, bundles, manifest, options.resamples, options.seed)
    print(json.dumps(found, indent=1), file=sys.stderr)
    print_report(
        "slice_pooling", n=SPLITS, seed=options.seed, packages=("torch", "timm"), synthetic=True, ours=OURS, table=found
    )


if __name__ == "__main__":
    main()
