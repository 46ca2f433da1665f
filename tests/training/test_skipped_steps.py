"""A batch that is not finite is skipped, counted and written down, and leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medvlp.core.context import Context
from medvlp.core.errors import UserError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import Objective
from medvlp.core.term import Term
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.journal import read_journal
from medvlp.training.trainer import Trainer
from tests.training.runs import BATCH, END, final_hashes, finish, make_setup, weights_of


def spoil(position: int, pixels: torch.Tensor) -> None:
    if position in (16, 48):
        pixels[3, 0, 5, 5] = float("nan")


def test_it_is_skipped_counted_and_its_samples_are_named(tmp_path: Path) -> None:
    trainer = finish(tmp_path, touch=spoil)
    assert trainer.samples_seen == END
    assert trainer.guard.skipped == 2
    rows = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    clip = "the loss is not finite (clip/image_to_text, clip/text_to_image"
    reasons = [f"{clip})", f"{clip}, caption/next_token)"]
    assert [(row["samples_seen"], row["reason"]) for row in rows] == list(zip((16, 48), reasons, strict=True))
    assert rows[0]["ids"] == [f"s{i}" for i in range(16, 24)]
    told = [row for row in read_journal(tmp_path / "log.jsonl") if "skipped" in row]
    assert [(row["samples_seen"], row["loss"], row["skipped"]) for row in told] == [
        (24, None, reasons[0]),
        (56, None, reasons[1]),
    ]
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_a_dry_run_whose_step_would_be_skipped_is_refused(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, touch=lambda position, pixels: spoil(position + 16, pixels))
    with pytest.raises(UserError, match=r"skip its first step because the loss is not finite \(clip/image_to_text, "):
        Trainer(setup).dry_run()


def test_nothing_of_it_is_left_in_weights_average_or_running_statistics(tmp_path: Path) -> None:
    finish(tmp_path, touch=spoil)
    checkpoint = load_checkpoint(latest(tmp_path))
    for tensors in (checkpoint.weights, checkpoint.optimiser, checkpoint.states):
        assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_the_step_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    before = Trainer(make_setup(tmp_path / "a"))
    with pytest.raises(UserError, match="interrupted"):
        before.fit(stop_at=16)
    after = Trainer(make_setup(tmp_path / "b", touch=spoil))
    with pytest.raises(UserError, match="interrupted"):
        after.fit(stop_at=16 + BATCH)
    one, other = weights_of(before.root), weights_of(after.root)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_interrupted_after_it_goes_on_bit_for_bit_and_names_it_once(tmp_path: Path) -> None:
    finish(tmp_path / "whole", touch=spoil)
    # Killed after the checkpoint at 48 and the skipped step that began there: that step is taken again.
    with pytest.raises(UserError, match="interrupted"):
        Trainer(make_setup(tmp_path / "cut", touch=spoil)).fit(stop_at=48)
    with open(tmp_path / "cut" / "skipped.jsonl", "a") as handle:
        handle.write('{"samples_seen": 48, "reason": "the loss is not finite", "ids": []}\n')
    finish(tmp_path / "cut", touch=spoil)
    assert final_hashes(tmp_path / "cut") == final_hashes(tmp_path / "whole")
    assert (tmp_path / "cut" / "skipped.jsonl").read_text() == (tmp_path / "whole" / "skipped.jsonl").read_text()


def test_too_many_in_a_row_stop_the_run_and_keep_what_was_saved(tmp_path: Path) -> None:
    def spoil_all(position: int, pixels: torch.Tensor) -> None:
        if position >= 24:
            pixels[:] = float("inf")

    with pytest.raises(UserError, match=r"4 training steps in a row were skipped because .*skipped\.jsonl"):
        finish(tmp_path, touch=spoil_all, options={"guard": {"most": 4}})
    assert latest(tmp_path).name in ("step-00000004", "step-00000006")
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 4


class Undefined(Objective):
    """A term without a value, as before what it compares with is there."""

    def needs(self) -> frozenset[Key]:
        return keys("image/embedding")

    def forward(self, ctx: Context) -> dict[str, Term]:
        return {"x": Term(ctx["image/embedding"].sum() * torch.nan, torch.ones(()))}


def test_a_value_of_weight_0_decides_on_no_step(tmp_path: Path) -> None:
    """A term that a ramp brings in later was left out of the gradient, but not of the loss that must be finite."""
    setup = make_setup(tmp_path)
    first = setup.phases[0]
    objectives, weights = {**first.objectives, "later": Undefined()}, {**first.weights, "later": 0.0}
    trainer = Trainer(replace(setup, phases=[replace(first, objectives=objectives, weights=weights)]))
    _, step = trainer.rehearsal(0)
    step(next(iter(first.batches(0))))
    assert trainer.guard.skipped == 0


def test_a_rehearsal_writes_no_run_and_goes_on_whatever_its_steps_are(tmp_path: Path) -> None:
    """The plan of a training whose first loss was not finite ended with a traceback: it had no folder to write to."""
    setup = make_setup(tmp_path / "run", touch=lambda position, pixels: pixels.fill_(float("nan")))
    trainer = Trainer(setup)
    _, step = trainer.rehearsal(0)
    batch = next(iter(setup.phases[0].batches(0)))
    for _ in range(setup.options.guard.most + 1):
        step(batch)
    assert trainer.guard.skipped == setup.options.guard.most + 1
    assert not setup.run.exists()
