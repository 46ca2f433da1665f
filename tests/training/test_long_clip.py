"""Long-CLIP: a phase on short texts, then stretched positions of which the first stay frozen; then a deeper tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Column, Objective
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.models.surgery.stretch_positions import stretched
from medvlp.objectives.long_clip import LongClip
from medvlp.training.checkpoints import load_checkpoint
from medvlp.training.trainer import Trainer
from tests.training.methods import BATCH, Method, check_resume, check_same, images, make_setup, train
from tests.training.runs import WORDS

POSITION = "model.towers.text.position"
KEEP, COMPONENTS = 4, 3
MIDDLE, LATER, END = 24, 40, 56


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Short texts of a few words, and long ones of up to 64: the tower reads 24 of them before it is stretched."""
    rows = torch.arange(len(indices))
    short = [f"{WORDS[i % 7]} case {'abcd'[i % 4]}" for i in indices.tolist()]
    tails = [" ".join(f"word{(i * 7 + j) % 50}" for j in range(35 + i)) for i in indices.tolist()]
    long = [f"{words} {tail}" for words, tail in zip(short, tails, strict=True)]
    return {
        "image": Column(images(indices, dtype), rows),
        "text": Column(tuple(long), rows),
        "text.short": Column(tuple(short), rows),
    }


def objectives() -> list[dict[str, Objective]]:
    clip, long = (
        build("objectives", {"name": "clip", "text": "text.short"}, where="test"),
        LongClip(components=COMPONENTS, label_smoothing=0.0, positives="own"),
    )
    return [{"clip": clip}, {"long": long}, {"long": long}]


METHOD = Method(
    columns=columns,
    objectives=objectives,
    phases=[
        {"until": MIDDLE, "patches": ({"name": "lora", "kind": "text", "on": "linear[*qkv]", "rank": 2},)},
        {
            "until": LATER,
            "surgery": ({"name": "stretch_positions", "keep": KEEP, "ratio": 3},),
            "trainable": ("*", f"!{POSITION}[:{KEEP}]"),
        },
        {
            "until": END,
            "surgery": ({"name": "grow_depth", "kind": "text", "after": [0]},),
            "patches": ({"name": "lora", "kind": "text", "on": "linear[*qkv]", "rank": 2},),
        },
    ],
    states={"ema": {"name": "ema", "horizon": 40.0}},
)


def run_long_clip(folder: str, chunks: int = 1) -> dict[str, Any]:
    return train(METHOD, folder, chunks)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    train(METHOD, str(run), checkpoint_every=8)
    return run / "checkpoints"


def at(checkpoints: Path, seen: int) -> Any:
    return load_checkpoint(checkpoints / f"step-{seen // BATCH:08d}")


def test_positions_are_stretched_at_the_boundary_and_the_first_stay(checkpoints: Path) -> None:
    before, after, later = (at(checkpoints, seen) for seen in (MIDDLE, LATER, END))
    new = stretched(before.weights[POSITION], keep=KEEP, ratio=3)
    assert after.weights[POSITION].shape == new.shape == (KEEP + 3 * (24 - KEEP), 16)
    assert torch.equal(after.weights[POSITION][:KEEP], new[:KEEP])
    moved = (after.weights[POSITION] != new).any(dim=1)
    assert bool(moved[KEEP:50].all())  # the tower reads words behind its old end
    assert (after.weights[POSITION] - new).abs().max() < 0.02  # two steps of AdamW from where the formula put them
    # The teacher's own average was stretched, and the next surgery kept it.
    taught = after.states[f"ema|{POSITION}"]
    old = stretched(before.states[f"ema|{POSITION}"], keep=KEEP, ratio=3)
    assert (taught - old).abs().max() < (taught - new).abs().max()
    names = {name.removeprefix("ema|") for name in later.states}
    assert {"model.towers.text.trunk.blocks.2.mlp.0.weight", "model.towers.text.trunk.blocks.1.norm_mlp.bias"} <= names


def test_moments_go_on_but_for_what_was_changed(tmp_path: Path) -> None:
    """The steps that AdamW has counted, by parameter: of one block they went with it to its new number."""
    trainer = Trainer(make_setup(METHOD, tmp_path / "run"))
    trainer.fit()
    steps = {
        name.removesuffix("|step"): int(value)
        for name, value in at(tmp_path / "run" / "checkpoints", END).optimiser.items()
        if name.endswith("|step")
    }
    whole, stretch, grown = END // BATCH, (END - MIDDLE) // BATCH, (END - LATER) // BATCH
    assert steps["model.towers.text.word.weight"] == whole
    assert steps[POSITION] == stretch
    blocks = "model.towers.text.trunk.blocks"
    counted = [steps[f"{blocks}.{i}.attention.qkv.weight"] for i in range(3)]
    assert counted == [whole, grown, whole]
    with pytest.raises(ConfigError, match=r"undergone the surgery of a phase after phases\[1\]: build it anew"):
        trainer.stand_at(1)


def test_the_copy_of_a_block_begins_as_nothing_and_moves(checkpoints: Path) -> None:
    before, after = at(checkpoints, LATER).weights, at(checkpoints, END).weights
    name = "model.towers.text.trunk.blocks.{}.mlp.2.weight"
    assert len(before[POSITION]) == len(after[POSITION])
    # Two blocks became three: the second is the copy, and what was the second is the third.
    assert (after[name.format(2)] - before[name.format(1)]).abs().max() < 0.02
    assert 0 < float(after[name.format(1)].abs().max()) < 0.02


def test_a_step_in_chunks_is_a_whole_step(tmp_path: Path) -> None:
    check_same(*(run_long_clip(str(tmp_path / str(chunks)), chunks) for chunks in (1, 4)))


@pytest.mark.slow
@pytest.mark.pool
def test_one_process_is_two(pool: Any, tmp_path: Path) -> None:
    expected = run_long_clip(str(tmp_path / "one"))
    for got in pool.run(2, run_long_clip, str(tmp_path / "two"), 2):
        check_same(expected, got)


# In the first phase, at its end, behind the first surgery, at the end of the second phase, behind the second surgery.
@pytest.mark.slow
def test_interrupted_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    check_resume(METHOD, tmp_path, [16, MIDDLE, 32, LATER, 48])
