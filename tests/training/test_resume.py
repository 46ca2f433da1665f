"""A run that was interrupted ends with the same bytes as one that was not."""

from __future__ import annotations

import math
import os
import shutil
import signal
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core import collectives
from medvlp.core.errors import ConfigError, UserError
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.journal import read_journal
from medvlp.training.optimisation import OptimiserOptions
from medvlp.training.trainer import Trainer
from tests.training.runs import BATCH, END, MODEL, final_hashes, finish, make_setup, run_in_this_process, weights_of
from tests.training.world import worst


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    finish(run)
    return run


# The first step, the end of the first phase, the begin of the second; a checkpoint's, between two, the last but one.
@pytest.mark.parametrize("stop", [40, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (8, 16, 24, 48, 72))])
def test_k_and_k_steps_are_2k_steps_bit_for_bit(whole: Path, tmp_path: Path, stop: int) -> None:
    with pytest.raises(
        UserError, match=rf"Training was interrupted \(stop_at\) after {stop} samples; all of it is saved"
    ):
        Trainer(make_setup(tmp_path / "run")).fit(stop_at=stop)
    finish(tmp_path / "run")
    assert final_hashes(tmp_path / "run") == final_hashes(whole)
    rows = [list(read_journal(run / "log.jsonl")) for run in (whole, tmp_path / "run")]
    for row in (row for log in rows for row in log):
        del row["seconds"]
    assert rows[0] == rows[1]


def test_phases_patches_and_the_average_take_part(whole: Path) -> None:
    """What the test above compares is not empty."""
    checkpoint = load_checkpoint(latest(whole))
    assert any(
        "patches" in name and name.endswith(".up") and tensor.any() for name, tensor in checkpoint.weights.items()
    )
    assert any(name.startswith("average|model.patches.") for name in checkpoint.states)
    assert any(name.startswith("model.heads.captioner") for name in checkpoint.optimiser)
    assert not any("towers.image" in name for name in checkpoint.optimiser)
    own, average = checkpoint.weights, checkpoint.states
    name = "towers.text.word.weight"
    assert not torch.equal(own[f"model.{name}"], average[f"average|model.{name}"])


SLOTS = {"adamw": {"exp_avg", "exp_avg_sq", "step"}, "lamb": {"exp_avg", "exp_avg_sq", "step of its group"}}
SLOTS |= {"lion": {"exp_avg"}}
SLOTS |= {"schedule_free": {"iterate", "exp_avg_sq", "step of its group", "weight of its group"}}


def of_two_algorithms(run: Path, first: str, second: str) -> Trainer:
    """A run whose first phase has an optimiser of its own, and whose second has none."""
    setup = make_setup(run)
    options = [OptimiserOptions(name=name, schedule="constant", rate=1e-3, warmup=8) for name in (first, second)]
    one, two = (replace(p, optimiser=o) for p, o in zip(setup.phases, options, strict=True))
    return Trainer(replace(setup, phases=[replace(one, own_optimiser=True), replace(two, own_optimiser=False)]))


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), list(permutations(SLOTS, 2)))
def test_no_moments_of_one_algorithm_are_given_to_another(tmp_path: Path, first: str, second: str) -> None:
    of_two_algorithms(tmp_path / "whole", first, second).fit()
    moments = load_checkpoint(latest(tmp_path / "whole")).optimiser
    assert {name.rpartition("|")[2] for name in moments} == SLOTS[second]
    with pytest.raises(UserError, match="after 40 samples"):
        of_two_algorithms(tmp_path / "cut", first, second).fit(stop_at=40)
    of_two_algorithms(tmp_path / "cut", first, second).fit()
    assert final_hashes(tmp_path / "cut") == final_hashes(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("hangup_heard")
def test_a_signal_saves_at_the_end_of_the_step(whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    def send(position: int, pixels: torch.Tensor) -> None:
        if position == 3 * BATCH:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)  # Slurm and torchrun may both send one

    before = signal.getsignal(number)
    with pytest.raises(
        UserError, match=rf"interrupted \({number.name}\) after {4 * BATCH} samples; all of it is saved"
    ):
        Trainer(make_setup(tmp_path / "run", touch=send)).fit()
    assert signal.getsignal(number) is before
    finish(tmp_path / "run")
    assert final_hashes(tmp_path / "run") == final_hashes(whole)


def test_chunks_are_no_part_of_the_recipe_and_change_rounding_only(whole: Path, tmp_path: Path) -> None:
    spec = {**MODEL, "text": {**MODEL["text"], "dropout": 0.0}}
    one = weights_of(finish(tmp_path / "one", spec=spec, double=True).root)
    four = weights_of(finish(tmp_path / "four", spec=spec, double=True, options={"chunks": 4}).root)
    assert worst(one, four, relative=1e-7, absolute=1e-12) == ""


@pytest.mark.pool
def test_two_processes_train_as_one_through_both_phases(pool: Any, tmp_path: Path) -> None:
    """The second phase wraps the same model again, with other parameters in training."""
    spec = {**MODEL, "text": {**MODEL["text"], "dropout": 0.0}}
    expected = weights_of(finish(tmp_path / "one", spec=spec, double=True).root)
    for got in pool.run(2, run_without_dropout, str(tmp_path / "two")):
        assert got["samples"] == END
        assert worst(expected, got["weights"], relative=1e-7, absolute=1e-12) == ""
    assert final_hashes(tmp_path / "two")


def run_without_dropout(folder: str) -> dict[str, Any]:
    trainer = finish(Path(folder), double=True, spec={**MODEL, "text": {**MODEL["text"], "dropout": 0.0}})
    return {"weights": weights_of(trainer.root), "samples": trainer.samples_seen}


@pytest.mark.pool
def test_two_processes_resume_bit_for_bit(pool: Any, tmp_path: Path) -> None:
    pool.run(2, run_in_this_process, str(tmp_path / "whole"))
    assert pool.run(2, stop_in_this_process, str(tmp_path / "cut"), 56) == [f"{56} samples"] * 2
    pool.run(2, run_in_this_process, str(tmp_path / "cut"))
    assert final_hashes(tmp_path / "cut") == final_hashes(tmp_path / "whole")


@pytest.mark.pool
def test_all_processes_take_up_the_checkpoint_that_the_first_one_sees(pool: Any, tmp_path: Path) -> None:
    """A disk that machines share may show one of them its folders as they were before the last checkpoint."""
    new, old = tmp_path / "new", tmp_path / "old"
    with pytest.raises(UserError, match="interrupted"):
        Trainer(make_setup(new)).fit(stop_at=24)
    shutil.copytree(new, old, symlinks=True)
    shutil.rmtree(sorted((old / "checkpoints").glob("step-*"))[-1])
    assert pool.run(2, taken_up, [str(new), str(old)], ["data", "data"]) == [24, 24]


@pytest.mark.pool
def test_processes_with_other_records_than_each_other_do_not_train(pool: Any, tmp_path: Path) -> None:
    """Each would draw from an order of its own: samples twice in a batch, others never, and no number would tell."""
    for said in pool.run(2, taken_up, [str(tmp_path)] * 2, ["data", "one less"]):
        assert "Processes 0 and 1 have other training records" in said


def taken_up(folders: list[str], data: list[str]) -> int | str:
    trainer = Trainer(make_setup(Path(folders[collectives.rank()]), data=data[collectives.rank()]))
    try:
        trainer.resume()
    except UserError as error:
        return str(error)
    return trainer.samples_seen


def stop_in_this_process(folder: str, stop: int) -> str:
    try:
        Trainer(make_setup(Path(folder), double=True)).fit(stop_at=stop)
    except UserError as error:
        return str(error).split("after ")[1].split(";")[0]
    return "not stopped"


# the best ----------------------------------------------------------------------------------------------------------


def test_the_best_is_kept_and_pointed_to_even_if_the_kill_came_before_the_link(tmp_path: Path) -> None:
    def score(model: Any, samples_seen: int) -> dict[str, float]:
        return {"score": -abs(samples_seen - 24.0)}

    trainer = Trainer(make_setup(tmp_path / "run", validate=score))
    with pytest.raises(UserError, match="interrupted"):
        trainer.fit(stop_at=24)
    link = tmp_path / "run" / "checkpoints" / "best"
    assert link.resolve().name == "step-00000003"
    link.unlink()
    outcome = Trainer(make_setup(tmp_path / "run", validate=score)).fit()
    assert outcome.best is not None
    assert (outcome.best.name, outcome.best_value) == ("step-00000003", 0.0)
    assert load_checkpoint(outcome.best).trainer["samples_seen"] == 24


def test_a_first_value_that_is_no_number_is_not_the_best(tmp_path: Path) -> None:
    outcome = Trainer(
        make_setup(tmp_path / "run", validate=lambda model, n: {"score": n if n > 24 else math.nan})
    ).fit()
    assert outcome.best_value == outcome.samples_seen == 80


def test_patience_ends_the_run_and_a_second_start_does_not_go_on(tmp_path: Path) -> None:
    def score(model: Any, samples_seen: int) -> dict[str, float]:
        return {"score": 1.0}

    for _ in range(2):
        outcome = Trainer(make_setup(tmp_path / "run", validate=score, options={"patience": 1})).fit()
        assert outcome.samples_seen == 40  # best at 24, none better at the end of the first phase


@pytest.mark.parametrize("stop_at", [None, 40])
def test_patience_counts_anew_in_each_phase(tmp_path: Path, stop_at: int | None) -> None:
    def setup() -> Any:
        return make_setup(tmp_path / "run", validate=lambda model, n: {"score": 1.0}, options={"patience": 2})

    if stop_at is not None:
        with pytest.raises(UserError, match="interrupted"):
            Trainer(setup()).fit(stop_at=stop_at)
    assert Trainer(setup()).fit().samples_seen == 72  # the best at 24; at 40 a phase ends, then 48 and 72 are no better


def test_validation_sees_the_average_in_evaluation_mode_and_leaves_the_model_training(tmp_path: Path) -> None:
    seen: list[bool] = []
    setup = make_setup(tmp_path / "run", validate=lambda model, n: seen.append(model.training) or {"score": 0.0})
    trainer = Trainer(setup)
    trainer.fit()
    assert seen
    assert not any(seen)
    assert setup.model.towers["text"].training


def test_a_metric_that_is_not_measured_is_refused_after_saving(tmp_path: Path) -> None:
    setup = make_setup(tmp_path / "run", validate=lambda model, n: {"score/a": 0.5})
    setup = type(setup)(**{**vars(setup), "choose": "score/b"})
    with pytest.raises(ConfigError, match=r"choose is 'score/b', which validation does not measure: .*'score/a'\?"):
        Trainer(setup).fit()
    assert latest(tmp_path / "run").name == "step-00000003"


def test_a_metric_that_nobody_asked_for_may_be_missing(tmp_path: Path) -> None:
    """Another package's measure gives some number of the answer, where the data lacks the labels of ours."""
    setup = make_setup(tmp_path / "run", validate=lambda model, n: {"score/a": 0.5})
    outcome = Trainer(type(setup)(**{**vars(setup), "choose": "score/b", "asked": False})).fit()
    assert (outcome.samples_seen, outcome.best_value) == (80, None)


# refusals ----------------------------------------------------------------------------------------------------------


def copy_of(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run", symlinks=True))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"recipe": "other"}, r"holds a run of another configuration \(recipe recipe, now other\): choose another"),
        ({"data": "other"}, r"training records of .* are not those that it was trained on \(hash data, now other\)"),
        ({"spec": {**MODEL, "embed_dim": 4}}, r"another model than .*: \d+ of another .* bundle.yaml of a bundle"),
    ],
)
def test_a_run_of_something_else_is_refused_and_stays_as_it_was(
    whole: Path, tmp_path: Path, tree_hashes: Any, changes: dict[str, Any], sentence: str
) -> None:
    run = copy_of(whole, tmp_path)
    before = tree_hashes(run)
    with pytest.raises(UserError, match=sentence):
        finish(run, **changes)
    assert tree_hashes(run) == before


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "states.safetensors", "trainer.json"])
def test_a_flipped_byte_in_the_newest_checkpoint_is_refused(whole: Path, tmp_path: Path, name: str) -> None:
    run = copy_of(whole, tmp_path)
    path = latest(run) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} is damaged|is not JSON"):
        finish(run)


class TooMuch(torch.nn.Module):
    """An objective's worth of memory that no machine has."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.new_empty(1 << 50)


def test_out_of_memory_is_one_sentence_that_names_the_knob(tmp_path: Path) -> None:
    setup = make_setup(tmp_path / "run", options={"chunks": 2})
    setup.model.towers["image"].pooled_output = TooMuch()
    with pytest.raises(UserError, match=r"training\.batch 8 in 2 chunks: set training\.chunks=4 .* and resume"):
        Trainer(setup).fit()
