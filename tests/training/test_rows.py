"""Rows of a parameter that stand still: no gradient, no step, no decay and no resume moves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Column
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.training.averaging import averaged
from medvlp.training.checkpoints import load_checkpoint
from medvlp.training.optimisation import OptimiserOptions, make_optimiser
from medvlp.training.phases import set_trainable
from medvlp.training.rows import HeldRows, chosen_rows
from tests.training.methods import BATCH, Method, check_resume, check_same, images, train
from tests.training.runs import WORDS

WORD, POSITION = "model.towers.text.word.weight", "model.towers.text.position"


class Split(nn.Module):
    """Two parameters of two rows, where `Whole` has one of four."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(weight[:2].clone()), nn.Parameter(weight[2:].clone())


class Whole(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())


@pytest.mark.parametrize("name", ["adamw", "schedule_free"])
def test_training_the_last_rows_is_training_a_parameter_of_them_alone(name: str) -> None:
    draws = torch.Generator().manual_seed(0)
    start, pull = torch.randn(4, 3, generator=draws), torch.randn(4, 3, generator=draws)
    whole, split = Whole(start), Split(start)
    set_trainable(whole, ["weight[2:]"], where="test")
    set_trainable(split, ["last"], where="test")
    named = dict(whole.named_parameters())
    held = HeldRows(named, chosen_rows(named, ["weight[2:]"], where="test"))
    options = OptimiserOptions(name=name, schedule="constant", rate=0.1, weight_decay=0.5)
    one, two = make_optimiser(whole, options), make_optimiser(split, options)
    for step in range(5):
        whole.weight.grad, split.last.grad = pull * (step + 1), pull[2:] * (step + 1)
        held.mask_gradients()
        assert not whole.weight.grad[:2].any()
        with held.still(one):
            one.step()
        two.step()
    assert torch.equal(whole.weight[:2], start[:2])
    assert torch.equal(whole.weight[2:], split.last)
    with averaged(one), averaged(two):  # of the rows that stood still the average is what they are
        torch.testing.assert_close(whole.weight[:2], start[:2])
        assert torch.equal(whole.weight[2:], split.last)


def test_patterns_of_rows_go_over_each_other() -> None:
    named = {"a": torch.zeros(4, 2), "b": torch.zeros(3), "c": torch.zeros(2)}
    chosen = chosen_rows(named, ["*", "!a", "a[1:]", "!a[3:4]", "!b[:2]", "b[:2]", "!c[0:2]"], where="test")
    assert chosen["a"].tolist() == [False, True, True, False]
    assert (chosen["b"], chosen["c"]) == (True, False)


def test_rows_that_are_not_there_are_refused() -> None:
    net = nn.ModuleDict({"text": nn.Linear(2, 3)})
    with pytest.raises(
        ConfigError, match=r"phases\[1\]\.trainable has 'text.weight\[3:\]', and the parameter has 3 rows"
    ):
        set_trainable(net, ["text.weight[3:]"], where="phases[1]")
    with pytest.raises(
        ConfigError, match=r"trainable has '!txt.weight\[1:\]', which matches no parameter: did you mean"
    ):
        set_trainable(net, ["*", "!txt.weight[1:]"], where="phases[1]")


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    words = tuple(f"{WORDS[i % 7]} case {'abcd'[i % 4]}" for i in indices.tolist())
    return {"image": Column(images(indices, dtype), rows), "text": Column(words, rows)}


# Moments of the first phase are not 0 when the rows come to rest.
METHOD = Method(
    columns=columns,
    objectives=lambda: [{"clip": clip} for clip in [build("objectives", {"name": "clip"}, where="test")] * 2],
    phases=[
        {"until": 24, "trainable": ("*", f"!{POSITION}[2:]")},
        {"until": 48, "trainable": ("*", f"!{WORD}[:40]", f"!{POSITION}[:1]")},
    ],
)


def run_rows(folder: str, chunks: int = 1) -> dict[str, Any]:
    return train(METHOD, folder, chunks)


def test_held_rows_keep_their_bits_through_phases(tmp_path: Path) -> None:
    run_rows(str(tmp_path / "run"))
    start, middle, end = (
        load_checkpoint(tmp_path / "run" / "checkpoints" / f"step-{seen // BATCH:08d}").weights for seen in (0, 24, 48)
    )
    # A parameter that moves by decay alone would show in what no word ever reads.
    assert torch.equal(start[POSITION][2:], middle[POSITION][2:])
    assert bool((start[POSITION][:2] != middle[POSITION][:2]).any(dim=1).all())
    assert torch.equal(middle[WORD][:40], end[WORD][:40])
    assert not torch.equal(start[WORD][:40], middle[WORD][:40])
    assert bool((middle[WORD][40:] != end[WORD][40:]).any(dim=1).all())
    assert torch.equal(middle[POSITION][:1], end[POSITION][:1])
    assert not torch.equal(middle[POSITION][1:4], end[POSITION][1:4])


def test_a_step_in_chunks_is_a_whole_step(tmp_path: Path) -> None:
    check_same(*(run_rows(str(tmp_path / str(chunks)), chunks) for chunks in (1, 4)))


@pytest.mark.pool
def test_one_process_is_two(pool: Any, tmp_path: Path) -> None:
    expected = run_rows(str(tmp_path / "one"))
    for got in pool.run(2, run_rows, str(tmp_path / "two"), 2):
        check_same(expected, got)


@pytest.mark.slow
def test_interrupted_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    check_resume(METHOD, tmp_path, [24, 32])
