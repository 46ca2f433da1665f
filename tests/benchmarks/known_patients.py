"""Models judged on what they were trained on, and on others, over six layouts; prints JSON lines.

A few steps are trained on each of six cohorts of 24 patients with two films each (phantom, hospital, csv, image_folder,
ChestX-ray14 and Kermany's folders; phantom and hospital have the patients and films of a small synthetic hospital). One
film of each patient is kept from training, so that a patient can come back with another film. Then sets are judged that
overlap with the training or validation of the model in one way, and sets that do not:

    patient      other films of training patients, among others' films
    validation   films of validation patients, as another part
    file         bytes of training films under other patients' names, read by another layout
    near         training films resized, compressed, inverted, or all of it, likewise; both sides were surveyed

    own          the model's own test part
    others       other patients of the cohort's own layout
    elsewhere    other films under the numbers of training patients, in another numbering
    new          other films, surveyed, with two blank ones

An overlap counts as found if the evaluation refuses it, and, with ``data.allow_leaks``, marks it; a clean set as false
if either happens.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _report import print_report
from PIL import Image

from medvlp.config.tree import DataConfig, EvaluationConfig, check_config
from medvlp.core.errors import DataError
from medvlp.data.leakage import Seen
from medvlp.data.manifest import Manifest
from medvlp.io.read import read_image
from medvlp.models.bundle import load_seen
from medvlp.phantom.cohort import make_cohort
from medvlp.runs.data import open_manifest
from medvlp.runs.evaluate import judged_manifest
from medvlp.runs.known import compare_with_training
from medvlp.runs.train import train

PATIENTS = 24
OVERLAPS, CLEAN = ("patient", "validation", "file", "near"), ("own", "others", "elsewhere", "new")
NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
VISION = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1, "norm": "group"}
VISION |= {"options": {"channels": [8, 8, 16, 16], "stem_width": 8}}


def film(number: int) -> Image.Image:
    """Return a picture with structure at every size; another number, another picture."""
    draw = np.random.Generator(np.random.Philox(number))
    total = np.zeros((150, 140))
    for cells in (3, 6, 12, 24, 48):
        grid = Image.fromarray(draw.standard_normal((cells, cells)).astype(np.float32))
        total += np.asarray(grid.resize((140, 150), Image.Resampling.BICUBIC)) / np.sqrt(cells)
    low, high = np.quantile(total, [0.01, 0.99])
    return Image.fromarray(np.rint(255 * np.clip((total - low) / (high - low), 0, 1)).astype(np.uint8))


# cohorts ------------------------------------------------------------------------------------------------------------


def tables(root: Path, begin: int) -> dict[str, Any]:
    rows = []
    for number in range(2 * PATIENTS):
        film(begin + number).save(root / f"{number}.png")
        rows.append((f"{number}.png", f"{'Small' if number % 2 else 'No'} effusion.", number // 2))
    pd.DataFrame(rows, columns=["file", "note", "who"]).to_csv(root / "films.csv", index=False)
    columns = {"image": "file", "text": "note", "id.patient": "who"}
    return {"root": str(root), "layout": {"name": "csv", "table": "films.csv", "columns": columns}}


def folders(root: Path, begin: int) -> dict[str, Any]:
    for number in range(2 * PATIENTS):
        path = root / ("mass" if number % 4 < 2 else "clear") / f"who{number // 2}_{number}.png"
        path.parent.mkdir(exist_ok=True)
        film(begin + number).save(path)
    return {"root": str(root), "layout": {"name": "image_folder", "patient": r"who(\d+)_"}}


def nih(root: Path, begin: int) -> dict[str, Any]:
    lines = [NIH]
    (root / "images_001/images").mkdir(parents=True)
    for number in range(2 * PATIENTS):
        name, finding = f"{number // 2:08d}_{number % 2:03d}.png", "Mass" if number % 4 < 2 else "No Finding"
        film(begin + number).save(root / "images_001/images" / name)
        lines.append(f"{name},{finding},0,{number // 2},57,M,PA,2682,2749,0.143,0.143")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    return {"root": str(root), "layout": "nih_chestxray14"}


def kermany(root: Path, begin: int) -> dict[str, Any]:
    for number in range(2 * PATIENTS):
        who, sick = number // 2, number % 4 < 2
        name = f"person{who + 1}_virus_{number}.jpeg" if sick else f"IM-{who + 1:04d}-{number % 2 + 1:04d}.jpeg"
        path = root / "chest_xray/train" / ("PNEUMONIA" if sick else "NORMAL") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        film(begin + number).save(path, quality=95)
    return {"root": str(root), "layout": "pneumonia_kermany"}


def phantom(root: Path, begin: int) -> dict[str, Any]:
    make_cohort(root, patients=PATIENTS, image_size=64, seed=begin, workers=1)
    return {"root": str(root), "layout": "phantom"}


def hospital(root: Path, begin: int) -> dict[str, Any]:
    make_cohort(root, patients=PATIENTS, image_size=64, seed=begin, workers=1)
    layout = {"name": "hospital", "images": "dicom", "key_file": str(root.parent / "key")}
    return {"root": str(root), "layout": layout}


LAYOUTS: dict[str, tuple[Callable[[Path, int], dict[str, Any]], list[dict[str, Any]]]] = {
    "phantom": (phantom, [{"name": "clip"}]),
    "hospital": (hospital, [{"name": "clip"}]),
    "csv": (tables, [{"name": "clip"}]),
    "image_folder": (folders, [{"name": "classify", "labels": ["mass"]}]),
    "nih_chestxray14": (nih, [{"name": "classify", "labels": ["mass"]}]),
    "pneumonia_kermany": (kermany, [{"name": "classify", "labels": ["pneumonia"]}]),
}


class World:
    """A trained model of one layout, its cohort, and sets to judge it on."""

    def __init__(self, folder: Path, layout: str, begin: int) -> None:
        make, objectives = LAYOUTS[layout]
        self.folder, self.make, self.begin = folder, make, begin
        (folder / "cohort").mkdir(parents=True)
        self.data = make(folder / "cohort", begin)
        self.whole = open_manifest(DataConfig.model_validate({**self.data, "part": "test"}))
        self.split = {"name": "patient", "seed": 0, "fractions": {"train": 0.6, "validate": 0.2, "test": 0.2}}
        patients = self.whole.column("id.patient")
        first = {who: row for row, who in reversed(list(enumerate(patients.tolist())))}
        self.kept = [str(self.whole.column("id")[row]) for row in sorted(first.values())]
        model: dict[str, Any] = {"name": "vision", "vision": VISION}
        if objectives[0]["name"] == "clip":
            text = {"name": "transformer", "width": 16, "layers": 1, "heads": 2}
            model = {"name": "dual", "vision": VISION, "text": text, "embed_dim": 8}
        tree = {
            "run": str(folder / "run"),
            "data": {
                **self.data,
                "split": self.split,
                "where": {"id": self.kept},
                "prefix": [{"name": "read", "size": 32}],
                "near_images": True,
                "cache": str(folder / "cache"),
            },
            "tokenizer": {"vocab_size": 128, "max_length": 32},
            "model": model,
            "phases": [{"until": 8, "objectives": objectives}],
            "training": {"batch": 4, "validate_every": 8, "checkpoint_every": 8},
        }
        done = train(check_config(tree, source=layout))
        self.seen: Seen | None = load_seen(done.bundle)
        parts = done.manifest.column("split")
        self.ids = {part: done.manifest.column("id")[parts == part].tolist() for part in ("train", "validate", "test")}
        self.who = {part: set(done.manifest.column("id.patient")[parts == part]) for part in self.ids}

    def sets(self, kind: str, number: int) -> dict[str, Any]:
        """Return the data of one set."""
        draw = np.random.Generator(
            np.random.Philox(1000 * number + OVERLAPS.index(kind) if kind in OVERLAPS else number)
        )
        ids, patients = self.whole.column("id"), self.whole.column("id.patient")
        untouched = [i for i in ids if i not in self.kept]
        others = [i for i, who in zip(ids, patients, strict=True) if who in self.who["test"]]
        some = draw.choice(others, min(4, len(others)), replace=False).tolist()
        if kind == "own":
            return {**self.data, "split": self.split, "where": {"id": self.kept}}
        if kind in ("patient", "validation", "others"):
            more: list[str] = []
            if kind == "patient":
                of = [i for i, w in zip(ids, patients, strict=True) if i in untouched and w in self.who["train"]]
                more = draw.choice(of, min(number + 1, len(of)), replace=False).tolist()
            if kind == "validation":
                more = draw.choice(
                    self.ids["validate"], min(number + 1, len(self.ids["validate"])), replace=False
                ).tolist()
            return {**self.data, "part": "test", "where": {"id": sorted({*some, *more})}}
        return self.planted(kind, number, draw)

    def planted(self, kind: str, number: int, draw: np.random.Generator) -> dict[str, Any]:
        """Write a table of other films, with copies of training films under other names."""
        root = self.folder / f"{kind}-{number}"
        root.mkdir()
        rows = [(f"f{at}.png", f"stranger {at}") for at in range(6)]
        for at, (name, _) in enumerate(rows):
            film(90_000 + 1000 * number + 10 * self.begin + at).save(root / name)
        if kind == "elsewhere":
            rows = [(name, who) for (name, _), who in zip(rows, sorted(map(str, self.who["train"])), strict=False)]
        if kind == "new":
            for gray in (0, 200):
                Image.new("L", (80, 80), gray).save(root / f"blank{gray}.png")
                rows.append((f"blank{gray}.png", f"blank {gray}"))
        if kind in ("file", "near"):
            chosen = draw.choice(self.ids["train"] + self.ids["validate"], number + 1, replace=False)
            for at, record in enumerate(chosen):
                path = self.path_of(str(record))
                name = f"copy{at}{path.suffix if kind == 'file' else '.img'}"
                if kind == "file":
                    shutil.copyfile(path, root / name)
                else:
                    near_copy(path, (number + at) % 4, root / name, draw)
                rows.append((name, f"copied {at}"))
        pd.DataFrame(rows, columns=["file", "who"]).to_csv(root / "t.csv", index=False)
        layout = {"name": "csv", "table": "t.csv", "columns": {"image": "file", "id.patient": "who"}}
        told = {"namespace": "elsewhere"} if kind == "elsewhere" else {}
        return {"root": str(root), "layout": layout, "part": "test", "near_images": kind in ("near", "new"), **told}

    def path_of(self, record: str) -> Path:
        row = self.whole.column("id").tolist().index(record)
        path = self.whole.path(row)
        if path is None:
            raise DataError(f"{record} has no film.")
        return path

    def judged(self, data: dict[str, Any]) -> tuple[bool, bool]:
        """Return whether an evaluation refuses the set, and whether it marks it where leaks are allowed."""
        options = EvaluationConfig(fit=None)
        manifest: Manifest = judged_manifest(DataConfig.model_validate(data), options)[1]
        answers = []
        for allow in (False, True):
            asked = DataConfig.model_validate({**data, "allow_leaks": allow})
            try:
                found = compare_with_training(self.seen, manifest, data=asked, options=options)
                answers.append(bool(found["caveats"]))
            except DataError:
                answers.append(True)
        return answers[0], answers[1]


def near_copy(path: Path, how: int, out: Path, draw: np.random.Generator) -> None:
    """Write a film resized, compressed, inverted, or all of it."""
    pixels = np.rint(read_image(path).pixels * 255).astype(np.uint8)
    image = Image.fromarray(255 - pixels if how >= 2 else pixels)
    if how in (0, 3):
        scale = draw.uniform(0.6, 1.5)
        image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if how in (1, 3):
        image.save(buffer, "JPEG", quality=int(draw.integers(40, 96)))
    else:
        image.save(buffer, "PNG")
    out.write_bytes(buffer.getvalue())


def all_sets(world: World, each: int) -> Iterator[tuple[str, int]]:
    for kind in (*OVERLAPS, *CLEAN):
        for number in range(1 if kind == "own" else each):
            yield kind, number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=5, help="sets of each kind and layout")
    asked = parser.parse_args()
    total: Counter[str] = Counter()
    missed: list[str] = []
    false: list[str] = []
    for begin, layout in enumerate(LAYOUTS):
        with tempfile.TemporaryDirectory() as work:
            world = World(Path(work).resolve() / layout, layout, 100 * (begin + 1))
            for kind, number in all_sets(world, asked.each):
                refused, marked = world.judged(world.sets(kind, number))
                total["overlapping" if kind in OVERLAPS else "clean"] += 1
                if kind in OVERLAPS and not (refused and marked):
                    missed.append(f"{layout}: {kind} {number}")
                if kind in CLEAN and (refused or marked):
                    false.append(f"{layout}: {kind} {number}")
    print_report("known_patients", n=dict(total), packages=("numpy", "pillow"), missed=missed, false=false)
    raise SystemExit(int(bool(missed or false)))


if __name__ == "__main__":
    main()
