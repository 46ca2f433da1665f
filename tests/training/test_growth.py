"""GrowCLIP in a run: a tower inherits with momentum and grows, then shrinks; chunks and stops leave no trace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medvlp.core import Objective
from medvlp.core.registry import build
from medvlp.training.trainer import Trainer
from tests.objectives.cases import pairs
from tests.training.methods import BATCH, Method, check_resume, check_same, make_setup, train


def objectives() -> list[Mapping[str, Objective]]:
    return [{"clip": build("objectives", {"name": "clip"}, where="test")}] * 3


METHOD = Method(
    columns=pairs,
    objectives=objectives,
    phases=[
        {"until": 2 * BATCH},
        {
            "until": 4 * BATCH,
            "surgery": (
                {"name": "parameter_inheriting", "beta": 0.7, "kinds": ["text"]},
                {"name": "grow_depth", "kind": "text", "after": [1]},
                {"name": "grow_width", "kind": "text", "heads": 1, "channels": 4},
            ),
        },
        {"until": 5 * BATCH, "surgery": ({"name": "weight_inheritance", "kind": "text", "layers": 2, "heads": 0.67},)},
    ],
    states={"ema": {"name": "ema", "horizon": 40.0}},
)


def run(folder: str, chunks: int = 1) -> dict[str, Any]:
    return train(METHOD, folder, chunks)


@pytest.mark.slow
def test_a_step_in_chunks_is_a_whole_step(tmp_path: Path) -> None:
    check_same(run(str(tmp_path / "1")), run(str(tmp_path / "4"), 4))


@pytest.mark.slow
def test_interrupted_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    check_resume(METHOD, tmp_path, [2 * BATCH, 3 * BATCH, 4 * BATCH])


def test_moments_go_on_but_for_what_was_changed(tmp_path: Path) -> None:
    """What an optimiser has counted, by parameter: what was mixed with fresh weights or cut begins anew."""
    trainer = Trainer(make_setup(METHOD, tmp_path))
    trainer.fit()
    moments = trainer._moments
    steps = {name.removesuffix("|step"): int(value) for name, value in moments.items() if name.endswith("|step")}
    block = "model.towers.text.trunk.blocks.1"  # of three, blocks 0 and 1 stayed
    assert {count for name, count in steps.items() if "heads.text/raw" in name} == {5}
    assert steps["model.towers.text.word.weight"] == 3  # mixed
    assert steps[f"{block}.mlp.0.weight"] == 3  # widened when it was mixed
    assert steps[f"{block}.attention.qkv.weight"] == 1  # cut
    assert steps[f"{block}.norm_mlp.weight"] == 3
