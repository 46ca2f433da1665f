"""A segmenter in one file outside the package is trained, chosen by Dice, asked for masks and evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medvlp.answers.asking.model import load
from medvlp.config.tree import check_config
from medvlp.data.manifest import Manifest
from medvlp.features.embed import embed_parts
from medvlp.models.bundle import load_bundle
from medvlp.runs.train import train
from tests.outside.conftest import best_row, judged
from tests.outside.squares import files, tree
from tests.plugins import installed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[None]:
    with installed("square_drawer", drawn_pixels="objectives square_drawer:DrawnPixels"):
        yield


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawer")
    recipe = tree(folder, squares, "drawn_pixels", labels=["square"], choose="segmentation/dice/square", words=False)
    recipe["optimiser"]["rate"] = 3.0e-2
    return train(check_config(recipe, source="t")).run


def drawn(run: Path, paths: list[Path]) -> list[np.ndarray]:
    """Where the head's logits are above 0, of pictures that are as large as the model's view."""
    model = load(run / "bundle")
    pixels = [model.prepare(path).pixels for path in paths]
    return list(embed_parts(model.model, "image", pixels, ("segmentation",))["segmentation"][:, 0] > 0)


def true(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 130


def dice(paths: list[Path], masks: list[np.ndarray]) -> list[float]:
    pairs = [(true(path), mask) for path, mask in zip(paths, masks, strict=True) if true(path).any()]
    return [float(2 * (a & b).sum() / (a.sum() + b.sum())) for a, b in pairs]


def test_the_bundle_keeps_its_head_and_what_it_answers(run: Path) -> None:
    (kept,) = load_bundle(run / "bundle").answers
    assert (kept.name, kept.component, list(kept.labels)) == ("segmentation", "segmentation", ["square"])


def test_the_best_by_dice_is_released_and_the_log_says_its_dice(run: Path, squares: Path) -> None:
    row = best_row(run, "segmentation/dice/square")
    paths = files(squares, "validate")
    assert row["segmentation/dice/square"] == pytest.approx(np.mean(dice(paths, drawn(run, paths))), abs=1e-6)


def test_the_command_writes_its_masks(run: Path, squares: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    paths = files(squares, "test")[:3]
    found = json.loads(cli("predict", run / "bundle", *paths, "--out", tmp_path / "masks", "--json").out)
    assert found["recipe"] == "segmentation"
    for number, (result, mask) in enumerate(zip(found["results"], drawn(run, paths), strict=True), start=1):
        told = result["masks"]["square"]
        assert (told["pixels"], told["shape"]) == (int(mask.sum()), [64, 64])
        assert Path(told["path"]).name == f"{number:03d}_square.png"
        np.testing.assert_array_equal(np.asarray(Image.open(told["path"])) == 255, mask)
        assert result["scores"] == {}
    told = cli("predict", run / "bundle", paths[0])
    assert f"  square: {int(drawn(run, paths)[0].sum()):,} pixels" in told.out.splitlines()


def test_it_is_evaluated_with_an_interval(run: Path, squares: Path, tmp_path: Path) -> None:
    found = judged(run, squares, tmp_path / "out").found["segmentation"]
    paths = files(squares, "test")
    values = dice(paths, drawn(run, paths))
    row = found.find("dice", "square")
    assert row.value == pytest.approx(np.mean(values), abs=1e-6)
    assert (row.counts.n, row.counts.patients) == (len(values), len(values))
    if row.reason == "no_spread":  # every resample of these few pictures gives that end of the scale
        assert row.value in (0, 1)
    else:
        assert row.interval.low <= row.value <= row.interval.high
    assert found.find("lowest_dice", "square").value == pytest.approx(min(values), abs=1e-6)
    assert len(Manifest.load(squares / "squares.parquet").split_of("test")) > len(values)  # some have no square
