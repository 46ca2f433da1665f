"""Runs with clusters, queues and prototypes: processes, chunks and interruptions leave no trace."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core.errors import UserError
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.journal import read_journal
from medvlp.training.trainer import Trainer
from tests.training.prototypes import BATCH, END, make_setup, run_in_this_process


def hashes(run: Path) -> dict[str, str]:
    folder = sorted((run / "checkpoints").glob("step-*"))[-1]
    assert folder.name == f"step-{END // BATCH:08d}"
    names = ("weights", "optimiser", "states")
    return {n: hashlib.sha256((folder / f"{n}.safetensors").read_bytes()).hexdigest() for n in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    Trainer(make_setup(run)).fit()
    return run


# At the first pass of the clusters, between two, at the second (due after 20 samples of the phase, done after 24).
@pytest.mark.slow
@pytest.mark.parametrize("stop", [16, 32, 40])
def test_interrupted_it_goes_on_bit_for_bit(whole: Path, tmp_path: Path, stop: int) -> None:
    with pytest.raises(UserError, match="Training was interrupted"):
        Trainer(make_setup(tmp_path / "run")).fit(stop_at=stop)
    Trainer(make_setup(tmp_path / "run")).fit()
    assert hashes(tmp_path / "run") == hashes(whole)


def test_every_kind_of_prototype_took_part(whole: Path) -> None:
    checkpoint = load_checkpoint(latest(whole))
    states, weights = checkpoint.states, checkpoint.weights
    assert int(states["clusters|passes"]) == 2  # at 16, and at 40 for what was due at 36
    assert len(states["queue|rows|image/raw"]) == 12
    assert int(states["findings|seen"].min()) > 10
    torch.testing.assert_close(weights["model.heads.prototypes.weight"].norm(dim=1), torch.ones(5))
    rows = [row for row in read_journal(whole / "log.jsonl") if row["kind"] == "train"]
    assert {"protoclip/image", "cpa/image_to_text", "findings/binary"} <= set(rows[4])
    assert rows[-1].keys() & {"protoclip/image", "cpa/image_to_text"} == set()
    # Learned prototypes stood still until their time.
    start, freed, later = (
        load_checkpoint(whole / "checkpoints" / f"step-{n:08d}").weights["model.heads.prototypes.weight"]
        for n in (2, 4, 6)
    )
    assert torch.equal(start, freed)
    assert not torch.equal(freed, later)
    moved = {
        name
        for name in weights
        if not torch.equal(weights[name], load_checkpoint(whole / "checkpoints" / "step-00000007").weights[name])
    }
    assert moved
    assert not [name for name in moved if "towers.image" in name or "proto" in name]  # the image tower is locked


def same(expected: dict[str, Any], got: dict[str, Any]) -> None:
    for kind in ("weights", "states"):
        assert expected[kind].keys() == got[kind].keys()
        for name, tensor in expected[kind].items():
            torch.testing.assert_close(got[kind][name], tensor, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_step_in_chunks_is_a_whole_step(tmp_path: Path, norm: str) -> None:
    expected, got = (run_in_this_process(str(tmp_path / str(chunks)), chunks, norm) for chunks in (1, 3))
    same(expected, got)


@pytest.mark.pool
@pytest.mark.parametrize("norm", [pytest.param("batch", marks=pytest.mark.slow), "layer"])
def test_one_process_is_two(pool: Any, tmp_path: Path, norm: str) -> None:
    expected = run_in_this_process(str(tmp_path / "one"), 1, norm)
    got = pool.run(2, run_in_this_process, str(tmp_path / "two"), 2, norm)
    for each in got:
        same(expected, each)
        assert all(torch.equal(tensor, got[0]["states"][name]) for name, tensor in each["states"].items())
