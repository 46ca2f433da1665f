from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvlp.core.files import read_json
from medvlp.runs.evaluate import Evaluated, evaluate, load_evaluation
from medvlp.training.journal import read_journal
from tests.cli.conftest import cli
from tests.outside.squares import make_squares
from tests.tiny import write_tree

__all__ = ["cli"]


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_squares(tmp_path_factory.mktemp("squares"))


def best_row(run: Path, metric: str) -> dict[str, Any]:
    """What the log says of the checkpoint that was released, which is the best by a metric."""
    rows = [row for row in read_journal(run / "log.jsonl") if row["kind"] == "validate"]
    best = max(rows, key=lambda row: row[metric])
    trainer = read_json((run / "checkpoints" / "best").resolve() / "trainer.json")
    assert trainer["samples_seen"] == best["samples_seen"]
    return best


def judged(run: Path, data: Path, out: Path) -> Evaluated:
    """Evaluate a run's bundle on its test pictures."""
    config = {
        "model": str(run / "bundle"),
        "out": str(out),
        "data": {"root": str(data), "manifest": str(data / "squares.parquet"), "cache": None},
        "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 0, "fit": None, "measures": {"probes": None}},
    }
    return evaluate(load_evaluation(write_tree(out.with_suffix(".yaml"), config)))
