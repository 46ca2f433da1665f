"""The gate of a bundle before 40 odd pictures and 200 of its own kind, one JSON line; exit 1 where it misses its bar.

    python tests/benchmarks/ood_gate.py RUN [--bundle FOLDER] [--packs ../shared/data]

RUN is the folder of a finished run on the synthetic hospital with lateral views (the quick start's); a bundle without a
gate is given one first (`medvlp gate`). Ten each: photographs and scans that are no chest (scikit-learn's and
pydicom's test files), lateral films of test patients, blank pictures, test films with black and white swapped. All
go through `predict`. The gate was learnt from training and validation films alone: none of these was looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom.data
import sklearn
from _report import print_report
from PIL import Image

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.config.recipe import resumed
from medvlp.core.errors import UserError
from medvlp.io.read import read_image
from medvlp.runs.data import open_manifest
from medvlp.statistics.proportions import wilson

EACH, OWN = 10, 200
SCANS = ("MR_small", "CT_small", "JPEG2000", "examples_overlay", "examples_palette", "examples_rgb_color")
SCANS = (*SCANS, "examples_ybr_color", "SC_rgb_small_odd", "US1_UNCI", "MR_truncated", "693_J2KI", "US1_J2KR")
GREYS = (0, 20, 60, 100, 128, 160, 200, 255)


def main() -> None:
    """Judge and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--bundle", type=Path, default=None, help="default: RUN/bundle")
    arguments.add_argument("--packs", type=Path, default=None, help="data packs: more pictures, told beside the bar")
    asked = arguments.parse_args()
    model = load(asked.bundle or asked.run / "bundle")
    if model.bundle.gate is None:
        sys.exit(f"The bundle has no gate: give it one with `medvlp gate {asked.run}`.")
    with tempfile.TemporaryDirectory() as folder:
        own, odd = pictures(model, asked.run, Path(folder))
        found = {name: judged(model, paths) for name, paths in odd.items()}
        kind = judged(model, own)
        beside = {} if asked.packs is None else {n: judged(model, p) for n, p in of_packs(asked.packs).items()}
    interval = wilson(kind["flagged"], kind["n"])
    flagged, shown = sum(each["flagged"] for each in found.values()), sum(each["n"] for each in found.values())
    passed = flagged == shown == 4 * EACH and kind["n"] == OWN and kind["flagged"] <= 0.05 * OWN
    print_report(
        "ood_gate",
        n={"odd": shown, "own": kind["n"], "training": model.bundle.gate.counts[0]},
        packages=("torch", "numpy", "scikit-learn", "pydicom"),
        synthetic=True,
        rate=model.bundle.gate.rate,
        odd_flagged=flagged,
        own_flagged=kind["flagged"],
        own_interval=[round(interval.low or 0, 4), round(interval.high or 0, 4)],
        odd=found,
        own=kind,
        beside=beside,
        bar_reached=passed,
    )
    sys.exit(not passed)


def pictures(model: VisionLanguageModel, run: Path, folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return films of test patients, and the odd pictures by kind."""
    data = resumed(run).data
    test = open_manifest(data).split_of("test")
    films = [Path(str(test.path(i))) for i in range(len(test))]
    patients = set(test.column("id.patient").tolist())
    where = {column: values for column, values in data.where.items() if column != "view_position"}
    whole = open_manifest(data.model_copy(update={"where": where, "allow_leaks": True, "near_images": False}))
    lateral = [
        Path(str(whole.path(i)))
        for i, (view, patient) in enumerate(zip(whole.column("view_position"), whole.column("id.patient"), strict=True))
        if view == "LATERAL" and patient in patients
    ]
    inverted, blank = [], []
    for i, film in enumerate(evenly(films, EACH)):
        pixels = np.rint(255 * (1 - read_image(str(film)).pixels)).astype(np.uint8)
        inverted.append(saved(pixels, folder / f"inverted{i}.png"))
    draw = np.random.default_rng(0)
    plain = [np.full((512, 420), grey, np.uint8) for grey in GREYS]
    plain += [draw.normal(grey, 3, (512, 512)).round().clip(0, 255).astype(np.uint8) for grey in (90, 180)]
    blank = [saved(pixels, folder / f"blank{i}.png") for i, pixels in enumerate(plain)]
    odd = {"no chest": no_chest(model), "lateral": evenly(lateral, EACH), "blank": blank, "inverted": inverted}
    return evenly(films, OWN), odd


def no_chest(model: VisionLanguageModel) -> list[Path]:
    """Return the first ten that can be read: what cannot be read is refused before any gate."""
    photographs = Path(str(sklearn.__file__)).parent / "datasets" / "images"
    paths = [photographs / "china.jpg", photographs / "flower.jpg"]
    for name in SCANS:
        path = pydicom.data.get_testdata_file(f"{name}.dcm", download=False)
        if path is not None:
            paths.append(Path(str(path)))
    readable = []
    for path in paths:
        try:
            model.prepare(path)
        except UserError as error:
            print(f"{path.name} is not shown: {error}", file=sys.stderr)
        else:
            readable.append(path)
    return readable[:EACH]


def of_packs(packs: Path) -> dict[str, list[Path]]:
    """Return real pictures: heads and abdomens, which are odd; chests of other hospitals and of children."""
    asked = json.loads((packs / "vqa-rad/trainset.json").read_text())
    asked += json.loads((packs / "vqa-rad/testset.json").read_text())
    organs = {row["image_name"]: row["image_organ"] for row in asked}
    other = sorted(name for name, organ in organs.items() if organ != "CHEST")
    return {
        "heads and abdomens (vqa-rad)": [packs / "vqa-rad/images" / name for name in other[1::2]],
        "adult chests (nih-cxr14)": evenly(sorted((packs / "nih-cxr14/images_001/images").glob("*.png")), 100),
        "chests of children (pneumonia-kermany)": evenly(sorted((packs / "pneumonia-kermany").rglob("*.jpeg")), 100),
        "brain MR (dicom-structural)": evenly(sorted((packs / "dicom-structural/dicoms").glob("*.dcm")), 20),
    }


def judged(model: VisionLanguageModel, paths: Sequence[Path]) -> dict:
    """Return how many are flagged, by what, and the least and largest score."""
    if not paths:
        return {"n": 0, "flagged": 0}
    results = predict_files(model, paths)["results"]
    scores = [each["ood"]["score"] for each in results]
    words = Counter(word for each in results for word in each["ood"]["reasons"])
    flagged = sum(each["abstained"] for each in results)
    return {"n": len(paths), "flagged": flagged, "lowest": min(scores), "highest": max(scores), "reasons": dict(words)}


def evenly(paths: Sequence[Path], count: int) -> list[Path]:
    """Return at most so many, evenly over the list."""
    return [paths[i] for i in np.linspace(0, len(paths) - 1, num=min(count, len(paths))).round().astype(int)]


def saved(pixels: np.ndarray, path: Path) -> Path:
    """Write 8-bit grey pixels as PNG."""
    Image.fromarray(pixels).save(path)
    return path


if __name__ == "__main__":
    main()
