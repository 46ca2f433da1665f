"""From drawings to files: a run on masks and boxes, chosen by its own metric, evaluated, and asked about files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from medvlp.answers.asking.model import load
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Sample
from medvlp.data.collate import collate
from medvlp.data.pipeline import apply_views
from medvlp.evaluation.results import load_result
from medvlp.runs.data import build_views
from medvlp.training.journal import read_journal
from tests.tiny import VISION, write_tree

Cli = Callable[..., Any]
pytestmark = pytest.mark.slow
SPLITS = ("train",) * 80 + ("validate",) * 8 + ("test",) * 8
BOXES = keys("image/boxes", "image/boxes_logits")
HEIGHT, WIDTH = 60, 90  # of the films: no square, and larger than what the model sees


def film(number: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A gray film with one bright rectangle, and where it is: x0, y0, x1, y1."""
    draw = np.random.default_rng(number)
    x0, y0 = int(draw.integers(6, 50)), int(draw.integers(4, 28))
    x1, y1 = x0 + int(draw.integers(20, 34)), y0 + int(draw.integers(16, 28))
    pixels = draw.integers(0, 60, (HEIGHT, WIDTH)).astype(np.uint8)
    pixels[y0:y1, x0:x1] += 150
    return pixels, (x0, y0, x1, y1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with films, masks and a table; every fourth film is known to hold nothing, and is without a mask."""
    root = tmp_path_factory.mktemp("films")
    rows = ["image;mask;boxes;there;patient;split"]
    for number, split in enumerate(SPLITS):
        pixels, (x0, y0, x1, y1) = film(number)
        there = number % 4 != 3
        if not there:
            pixels = np.random.default_rng(number).integers(0, 60, pixels.shape).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
        inside = np.zeros(pixels.shape, np.uint8)
        inside[y0:y1, x0:x1] = 255
        Image.fromarray(inside).save(root / f"m{number}.png")
        mask, boxes = (f"m{number}.png", f"[[{x0}, {y0}, {x1}, {y1}]]") if there else ("", "[]")
        rows.append(f"{number}.png;{mask};{boxes};{int(there)};p{number};{split}")
    (root / "table.csv").write_text("\n".join(rows))
    return root


def films_data(root: Path) -> dict[str, Any]:
    columns = {"image": "image", "mask.mass": "mask", "boxes.mass": "boxes", "label.mass": "there"}
    columns |= {"patient_id": "patient", "split": "split"}
    return {"root": str(root), "layout": {"name": "csv", "table": "table.csv", "columns": columns}}


def run_of(folder: Path, data: dict[str, Any], model: dict[str, Any], **more: Any) -> Path:
    """Train, and return the run's folder."""
    from medvlp.config.tree import load_config
    from medvlp.runs.train import train

    tree = {"run": str(folder / "run"), "data": data | {"cache": str(folder / "cache")}, "model": model, **more}
    return train(load_config(write_tree(folder / "config.yaml", tree))).run


@pytest.fixture(scope="module")
def dense(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learns masks and boxes at once, chosen by average precision."""
    vision = VISION | {"image_size": 48, "coordinates": True}
    vision["options"] = {"channels": [16, 16, 32, 32], "stem_width": 16, "zero_init_last": False}
    boxes = {"queries": 4, "width": 32, "layers": 2, "encoder_layers": 0, "feedforward": 64, "dropout": 0.0}
    objectives = [
        {"name": "dice_ce", "labels": ["mass"], "decoder": {"name": "unet", "width": 16}},
        {"name": "box_set", "labels": ["mass"], "head": {"name": "box_queries", **boxes}},
    ]
    return run_of(
        tmp_path_factory.mktemp("dense"),
        films_data(films) | {"prefix": [{"name": "read", "size": 48}]},
        {"name": "vision", "vision": vision},
        phases=[{"until": 960, "objectives": objectives}],
        optimiser={"rate": 5.0e-3, "warmup": 80, "clip": None},
        training={"batch": 8, "validate_every": 320, "checkpoint_every": 320},
        evaluation={"choose": "boxes/ap/macro"},
    )


def test_validation_measures_masks_and_boxes_and_keeps_the_best_of_what_it_is_chosen_by(dense: Path) -> None:
    rows = [row for row in read_journal(dense / "log.jsonl") if row["kind"] == "validate"]
    assert [row["samples_seen"] for row in rows] == [320, 640, 960]
    for row in rows:
        assert row["segmentation/dice/mass"] == row["segmentation/dice/macro"]
        assert row["boxes/ap/mass"] == row["boxes/ap/macro"]
    best = max(row["boxes/ap/macro"] for row in rows)
    first = next(row["samples_seen"] for row in rows if row["boxes/ap/macro"] == best)
    assert yaml.safe_load((dense / "bundle" / "bundle.yaml").read_text())["provenance"]["samples_seen"] == first


def evaluated(cli: Cli, bundle: Path, data: dict[str, Any], out: Path) -> dict[str, Any]:
    """Run ``medvlp evaluate`` and return its results by name."""
    tree = {"model": str(bundle), "out": str(out), "data": data, "evaluation": {"resamples": 100, "gallery": 0}}
    assert cli("evaluate", write_tree(out.with_suffix(".yaml"), tree)).code == 0
    return {path.stem: load_result(path) for path in (out / "results").glob("*.json")}


def test_masks_and_boxes_are_evaluated_in_the_pixels_of_the_files(
    cli: Cli, dense: Path, films: Path, tmp_path: Path
) -> None:
    found = evaluated(cli, dense / "bundle", films_data(films), tmp_path / "out")
    tests = [number for number, split in enumerate(SPLITS) if split == "test"]
    there = [number for number in tests if number % 4 != 3]
    masks = found["segmentation"]
    dice = masks.find("dice", "mass")
    assert (dice.counts.n, dice.counts.patients, dice.label) == (len(there), len(there), "mass")
    assert dice.value > 0.85
    assert masks.find("lowest_dice", "mass").value <= dice.value
    assert masks.find("false_alarm", "mass").counts.n == len(tests) - len(there)
    drawn = masks.cases.set_index("id")["pixels"]
    for number in there:
        x0, y0, x1, y1 = film(number)[1]
        assert drawn[f"{number}.png"] == (x1 - x0) * (y1 - y0)
    boxes = found["boxes"]
    assert boxes.find("ap@0.3", "mass").counts.n == len(tests)
    assert boxes.find("ap@0.3", "mass").value > 0.6
    difference = boxes.find("ap_difference@0.3", "constant_box")
    control = found["boxes_constant_box"].find("ap@0.3", "macro")
    assert difference.value == pytest.approx(boxes.find("ap@0.3", "macro").value - control.value)
    page = (tmp_path / "out" / "report.html").read_text()
    section = page.partition('<section id="places">')[2].partition("</section>")[0]
    for words in (
        "Masks against drawn ones",
        f"{dice.value:.3f}",
        "one training box a finding",
        f"{control.value:.3f}",
    ):
        assert words in section


def test_predict_writes_masks_of_the_size_of_the_film_and_tells_boxes_in_its_pixels(
    cli: Cli, dense: Path, films: Path, tmp_path: Path
) -> None:
    numbers = [number for number, split in enumerate(SPLITS) if split == "test" and number % 4 != 3]
    paths = [films / f"{number}.png" for number in numbers]
    both = ("--out", tmp_path / "masks", "--out", tmp_path / "p.csv")
    refused = cli("predict", dense / "bundle", *paths, *both).refused()
    assert refused.endswith(f"gives no scores, so {both[3]} would be empty: leave --out {both[3]} out.")
    assert not (tmp_path / "masks").exists()  # nothing was asked before
    told = json.loads(cli("predict", dense / "bundle", *paths, "--out", tmp_path / "masks", "--json").out)
    overlaps = []
    for number, result in zip(numbers, told["results"], strict=True):
        x0, y0, x1, y1 = film(number)[1]
        mask = np.asarray(Image.open(result["masks"]["mass"]["path"])) == 255
        assert mask.shape == (HEIGHT, WIDTH)
        assert mask.sum() == result["masks"]["mass"]["pixels"]
        rows, columns = np.nonzero(mask)
        assert abs(rows.mean() + 0.5 - (y0 + y1) / 2) < 1.5
        assert abs(columns.mean() + 0.5 - (x0 + x1) / 2) < 1.5
        box = result["boxes"][0]
        assert box["finding"] == "mass"
        x, y, w, h, score = surest(dense / "bundle", Path(result["path"]))
        assert box["score"] == pytest.approx(score, abs=1e-5)
        # The view is a square of the film's width; the film lies in its middle rows.
        left, top, right, bottom = (x - w / 2) * WIDTH, (y - h / 2) * WIDTH, (x + w / 2) * WIDTH, (y + h / 2) * WIDTH
        expected = np.array([left, top - (WIDTH - HEIGHT) / 2, right, bottom - (WIDTH - HEIGHT) / 2])
        np.testing.assert_allclose(box["box"], expected.clip(0, [WIDTH, HEIGHT] * 2), atol=0.02)
        overlaps.append(overlap(box["box"], (x0, y0, x1, y1)))
    assert np.mean(overlaps) > 0.4


def surest(bundle: Path, path: Path) -> list[float]:
    """Box and score of the surest query, as the head gives them."""
    model = load(bundle)
    views = build_views(model.bundle.preprocessing, where="bundle")
    sample = apply_views(Sample("a", {"image": str(path)}), views)
    with torch.no_grad():
        found = model.model(collate([sample], torch.zeros(1, dtype=torch.int64)), Plan.of(BOXES))["image"]
    scores = found.part("boxes_logits")[0].softmax(-1)[:, 0]
    return [*found.part("boxes")[0][scores.argmax()].tolist(), float(scores.max())]


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union."""
    sides = [max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in range(2)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


SPACING = (1.0, 1.5, 4.0)  # mm along x, y, z of the file


def volume(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels (x, y, z) in HU with a dense ellipsoid, its label map, and the affine of a file that runs LPS."""
    draw = np.random.default_rng(100 + number)
    shape = np.array([36, 24, 14])
    middle = draw.uniform([12, 9, 5], [24, 15, 9])
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    inside = (((places - middle) / draw.uniform([6, 4, 2.5], [8, 6, 3.5])) ** 2).sum(-1) <= 1
    voxels = np.where(inside, 200, -100) + draw.integers(-40, 40, shape)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    affine[:3, 3] = 30.0, 20.0, -50.0
    return voxels.astype(np.int16), inside, affine


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with NIfTI volumes, label maps in which the organ is 5, and a table."""
    root = tmp_path_factory.mktemp("volumes")
    rows = ["case,patient,split"]
    for number, split in enumerate(("train",) * 6 + ("validate", "test")):
        voxels, inside, affine = volume(number)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), root / f"v{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image((5 * inside).astype(np.uint8), affine), root / f"l{number}.nii.gz")
        rows.append(f"{number},p{number},{split}")
    (root / "table.csv").write_text("\n".join(rows))
    return root


def test_a_label_map_of_volumes_comes_back_in_the_grid_of_the_file(
    cli: Cli, volumes: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    columns = {"id": "case", "volume": "v{case}.nii.gz", "mask.organ": "l{case}.nii.gz#5"}
    layout = {"name": "csv", "table": "table.csv", "columns": columns | {"patient_id": "patient", "split": "split"}}
    data = {"root": str(volumes), "layout": layout}
    reading = {"name": "read_volume", "size": 32, "windows": ["ct_soft_tissue_v1"], "slice_mm": 2.0}
    objective = {"name": "dice_ce", "view": "stack", "labels": ["organ"], "decoder": {"name": "unet", "width": 8}}
    run = run_of(
        tmp_path_factory.mktemp("organs"),
        data | {"prefix": [reading]},
        {"name": "vision", "vision": {"name": "monai", "architecture": "segresnet", "kind": "stack", "width": 8}},
        phases=[{"until": 96, "objectives": [objective | {"exclusive": True, "window": [16, 32, 32]}]}],
        optimiser={"rate": 1.0e-2, "warmup": 8, "clip": None},
        training={"batch": 2, "validate_every": 48, "checkpoint_every": 48},
        evaluation={"choose": "segmentation/dice/macro"},
    )
    dice = evaluated(cli, run / "bundle", data, tmp_path / "out")["segmentation"].find("dice", "organ")
    assert dice.counts.n == 1
    assert dice.value > 0.8
    source = volumes / "v7.nii.gz"
    told = json.loads(cli("predict", run / "bundle", source, "--out", tmp_path / "masks", "--json").out)
    written = nibabel.load(told["results"][0]["masks"]["organ"]["path"])
    voxels, inside, affine = volume(7)
    assert written.shape == voxels.shape
    np.testing.assert_allclose(written.affine, affine)
    mask = np.asarray(written.dataobj) == 1
    assert 2 * (mask & inside).sum() / (mask.sum() + inside.sum()) == pytest.approx(dice.value)
    apart = (np.argwhere(mask).mean(0) - np.argwhere(inside).mean(0)) * SPACING
    assert np.abs(apart).max() < 2.0
