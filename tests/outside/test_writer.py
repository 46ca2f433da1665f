"""A writer of reports in one file outside the package is trained, chosen by what its reports say, and evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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
    with installed("report_writer", next_word="objectives report_writer:NextWord"):
        yield


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tree(tmp_path_factory.mktemp("writer"), squares, "next_word", choose="report/f1")
    recipe["phases"][0]["until"] = 1152
    recipe["training"] |= {"validate_every": 384, "checkpoint_every": 384}
    recipe["optimiser"]["rate"] = 1.0e-2
    return train(check_config(recipe, source="t")).run


def written(run: Path, paths: list[Path]) -> list[str]:
    """The most probable word after those before it, one picture at a time, all of them given again at each place."""
    model = load(run / "bundle")
    head: Any = model.model.heads["writer"]
    words: Any = model.bundle.tokenizer
    texts = []
    for path in paths:
        tokens = embed_parts(model.model, "image", [model.prepare(path).pixels], ("tokens",))["tokens"]
        ids = [words.start_id]
        with torch.no_grad():
            while ids[-1] != words.stop_id and len(ids) < words.max_length:
                logits = head.forward_logits(torch.from_numpy(tokens), None, torch.tensor([ids]))
                ids.append(int(logits[0, -1].argmax()))
        texts.append(words.decode([each for each in ids[1:] if each != words.stop_id]))
    return texts


def agreement(said: list[str], truth: list[str]) -> float:
    """F1 of "there is an effusion", pooled."""
    there, told = (np.array([text.lower().startswith("there is") for text in each]) for each in (truth, said))
    return float(2 * (there & told).sum() / (there.sum() + told.sum()))


def reports(squares: Path, split: str) -> list[str]:
    return Manifest.load(squares / "squares.parquet").split_of(split).column("text").tolist()


def test_the_bundle_keeps_what_it_writes_with(run: Path) -> None:
    (kept,) = load_bundle(run / "bundle").answers
    assert (kept.name, kept.component, kept.options["head"]) == ("report", "report", "writer")


def test_the_best_by_what_its_reports_say_is_released_and_the_log_says_how_good(run: Path, squares: Path) -> None:
    row = best_row(run, "report/f1")
    said = written(run, files(squares, "validate"))
    assert {text.lower()[:8] for text in said} <= {"there is", "no pleur"}  # the formula below reads all of them
    assert row["report/f1"] == pytest.approx(agreement(said, reports(squares, "validate")))


def test_the_command_prints_its_reports(run: Path, squares: Path, cli: Callable[..., Any]) -> None:
    paths = files(squares, "test")[:4]
    found = json.loads(cli("predict", run / "bundle", *paths, "--json").out)
    assert found["recipe"] == "report"
    assert [result["text"] for result in found["results"]] == written(run, paths)
    told = cli("predict", run / "bundle", paths[0])
    assert f"  {written(run, paths[:1])[0]}" in told.out.splitlines()


def test_it_is_evaluated_with_an_interval_beside_reports_of_no_picture(
    run: Path, squares: Path, tmp_path: Path
) -> None:
    found = judged(run, squares, tmp_path / "out").found
    row = found["report"].find("f1", "micro")
    said, truth = written(run, files(squares, "test")), reports(squares, "test")
    assert row.value == pytest.approx(agreement(said, truth))
    if row.reason == "no_spread":  # every resample of these few pictures gives that end of the scale
        assert row.value in (0, 1)
    else:
        assert row.interval.low <= row.value <= row.interval.high
    assert any(result.role == "control" for name, result in found.items() if name.startswith("report"))
