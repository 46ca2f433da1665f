"""An answerer of questions in one file outside the package is trained, chosen by accuracy, asked and evaluated."""

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
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch
from medvlp.data.manifest import Manifest
from medvlp.models.bundle import load_bundle
from medvlp.runs.train import train
from tests.outside.conftest import best_row, judged
from tests.outside.squares import files, tree
from tests.plugins import installed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[None]:
    with installed("question_answerer", yes_or_no="objectives question_answerer:YesOrNo"):
        yield


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tree(tmp_path_factory.mktemp("asker"), squares, "yes_or_no", choose="yes_or_no/accuracy")
    return train(check_config(recipe, source="t")).run


def yes(run: Path, paths: list[Path], questions: list[str]) -> np.ndarray:
    """Probability of "yes" by the head on the tokens of each picture and question, one at a time."""
    model = load(run / "bundle")
    head: Any = model.model.heads["yes_or_no"]
    plan = Plan.of(keys("image/tokens", "text.question/tokens", "text.question/mask"))
    found = []
    with torch.no_grad():
        for path, question in zip(paths, questions, strict=True):
            pixels = model.prepare(path).pixels
            assert isinstance(pixels, torch.Tensor)
            encoded = model.model(Batch.of({"image": pixels[None], "text.question": [question]}), plan)
            image, words = encoded["image"], encoded["text.question"]
            logits = head.forward_logits(image.part("tokens"), None, words.part("tokens"), words.part("mask"))
            found.append(float(logits.softmax(dim=1)[0, 0]))
    return np.array(found)


def columns(squares: Path, split: str) -> tuple[list[str], list[str]]:
    manifest = Manifest.load(squares / "squares.parquet").split_of(split)
    return manifest.column("text.question").tolist(), manifest.column("text.answer").tolist()


def right(run: Path, squares: Path, split: str) -> list[bool]:
    questions, answers = columns(squares, split)
    said = yes(run, files(squares, split), questions) > 0.5
    return [(answer == "yes") == bool(each) for answer, each in zip(answers, said, strict=True)]


def test_the_bundle_keeps_it_under_its_own_name(run: Path) -> None:
    (kept,) = load_bundle(run / "bundle").answers
    assert (kept.name, kept.component) == ("yes_or_no", "question")
    assert kept.options["answers"] == ["yes", "no"]


def test_the_best_by_accuracy_is_released_and_the_log_says_its_accuracy(run: Path, squares: Path) -> None:
    assert best_row(run, "yes_or_no/accuracy")["yes_or_no/accuracy"] == pytest.approx(
        np.mean(right(run, squares, "validate"))
    )


def test_the_command_asks_its_question_of_every_file(run: Path, squares: Path, cli: Callable[..., Any]) -> None:
    paths, question = files(squares, "test")[:3], "is there a square"
    found = json.loads(cli("predict", run / "bundle", *paths, "--question", question, "--json").out)
    assert found["recipe"] == "yes_or_no"
    for result, share in zip(found["results"], yes(run, paths, [question] * 3), strict=True):
        assert result["scores"] == pytest.approx({"yes": share, "no": 1 - share}, abs=2e-6)
        assert result["text"] == ("yes" if share > 0.5 else "no")
    refused = cli("predict", run / "bundle", paths[0]).refused()
    assert "answers nothing unasked (yes_or_no): give a question" in refused


def test_it_is_evaluated_with_an_interval_beside_the_most_frequent_answer(
    run: Path, squares: Path, tmp_path: Path
) -> None:
    found = judged(run, squares, tmp_path / "out").found
    row = found["yes_or_no"].find("accuracy", "all")
    assert row.value == pytest.approx(np.mean(right(run, squares, "test")))
    assert row.interval.low is not None
    assert row.interval.low <= row.value <= row.interval.high
    usual = max(("no", "yes"), key=columns(squares, "train")[1].count)
    control = found["yes_or_no_usual"]
    assert control.role == "control"
    assert control.find("accuracy", "all").value == pytest.approx(
        np.mean([answer == usual for answer in columns(squares, "test")[1]])
    )
