"""FSDP2: what processes hold in parts trains as what one process holds whole, and goes on on any number of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.protocols import State
from medvlp.models.bank import Bank
from medvlp.state._anchors import Anchors
from medvlp.state.attentive_mask import AttentiveMask
from medvlp.state.class_prototypes import ClassPrototypes
from medvlp.training._parts import own_part
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.compiling import compilable
from medvlp.training.journal import LOG, read_journal
from medvlp.training.optimisation import OptimiserOptions, make_optimiser, optimiser_state
from medvlp.training.phases import Refresh
from medvlp.training.recompute import recomputable
from medvlp.training.sharded import Twin
from medvlp.training.trainer import Trainer
from tests.models.words import DUAL
from tests.training.prototypes import SAMPLES
from tests.training.prototypes import make_setup as prototype_setup
from tests.training.runs import END, MODEL, make_setup
from tests.training.world import CASES, make_task, whole_batch, worst
from tests.training.world import own_part as part_of

ROWS = ("*", "!model.towers.text.position[:3]", "!model.towers.image.*")


def steps(
    chunks: int, recompute: bool, cases: Sequence[str] = tuple(CASES), compiles: bool = False
) -> dict[str, dict[str, Tensor]]:
    """Case -> gradients of a second step, whole."""
    found = {}
    for case in cases:
        task, root = make_task(*CASES[case], chunks=chunks, dtype=torch.float64)
        if collectives.world_size() > 1:
            task.model = root["model"] = Twin(task.model, {}).trained
        task._blocks = recomputable(task.model) if recompute else []
        task._compiled = compilable(task.model, backend="aot_eager") if compiles else {}
        batch, weights = part_of(whole_batch(torch.float64)), {name: 0.3 + i for i, name in enumerate(task.objectives)}
        task.backward(batch, weights, samples_seen=0)
        root.zero_grad(set_to_none=True)
        task.backward(batch, weights, samples_seen=0)
        found[case] = {n: collectives.whole(p.grad).clone() for n, p in root.named_parameters() if p.grad is not None}
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, Tensor]]:
    """What one process finds, in one chunk."""
    return steps(1, False)


@pytest.mark.slow
@pytest.mark.pool
@pytest.mark.parametrize(("world", "chunks", "recompute"), [(2, 1, False), (2, 2, True), (4, 1, False)])
def test_gradients_are_those_of_one_process(
    pool: Any, expected: dict[str, dict[str, Tensor]], world: int, chunks: int, recompute: bool
) -> None:
    for got in pool.run(world, steps, chunks, recompute):
        faults = {case: worst(expected[case], got[case], relative=1e-9, absolute=1e-11) for case in CASES}
        assert not any(faults.values()), faults


@pytest.mark.slow
@pytest.mark.pool
def test_blocks_are_compiled_inside_what_is_computed_again_inside_what_is_sharded(
    pool: Any, expected: dict[str, dict[str, Tensor]]
) -> None:
    cases = ("clip", "single tower")
    for got in pool.run(2, steps, 2, True, cases, True):
        faults = {case: worst(expected[case], got[case], relative=1e-9, absolute=1e-11) for case in cases}
        assert not any(faults.values()), faults


def train(folder: str, parallel: str, names: list[str], stop_at: int | None = None) -> dict[str, Tensor]:
    """A run, or the part of it up to a number of samples; `names` are the optimisers of its phases.

    Two phases with clipped gradients, patches, rows that stand still, a frozen tower and an average; dropout and chunks
    where there is no other number of processes to compare with.
    """
    drops = {"spec": MODEL, "options": {"parallel": parallel, "checkpoint_every": 8, "chunks": 2}}
    plain = {"spec": DUAL, "options": {"parallel": parallel, "checkpoint_every": 8}}
    setup = make_setup(Path(folder), double=True, **(plain if "some" in folder else drops))
    phases = [
        dataclasses.replace(
            phase, optimiser=phase.optimiser.model_copy(update={"name": name, "schedule": "constant"}), trainable=rows
        )
        for phase, name, rows in zip(setup.phases, names, (["*"], ROWS), strict=True)
    ]
    trainer = Trainer(dataclasses.replace(setup, phases=phases))
    if stop_at is None:
        trainer.fit()
    else:
        with pytest.raises(UserError, match="interrupted"):
            trainer.fit(stop_at=stop_at)
    return {name: tensor.clone() for name, tensor in trainer.root.state_dict().items()}


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_journal(run / LOG) if row["kind"] == "train"]


@pytest.mark.slow
@pytest.mark.pool
def test_a_run_in_parts_is_that_of_whole_models(pool: Any, tmp_path: Path) -> None:
    whole, parts = tmp_path / "ddp", tmp_path / "fsdp"
    pool.run(2, train, str(whole), "ddp", ["adamw", "adamw"])
    got = pool.run(2, train, str(parts), "fsdp", ["adamw", "adamw"])
    expected, found = (load_checkpoint(latest(run)) for run in (whole, parts))
    for kind in ("weights", "optimiser", "states"):
        assert getattr(found, kind).keys() == getattr(expected, kind).keys()
        for name, tensor in getattr(expected, kind).items():
            torch.testing.assert_close(getattr(found, kind)[name], tensor, rtol=1e-6, atol=1e-8, msg=f"{kind} {name}")
    assert {**found.trainer, "guard": None} == {**expected.trainer, "guard": None}
    for own in got:  # all of it is everywhere again
        assert all(torch.equal(own[name], tensor) for name, tensor in found.weights.items())


@pytest.mark.slow
@pytest.mark.pool
@pytest.mark.parametrize("names", [["lamb", "lion"], ["schedule_free", "schedule_free"]])
def test_other_optimisers_lower_the_loss_as_they_do_over_whole_models(
    pool: Any, tmp_path: Path, names: list[str]
) -> None:
    """The loss: Lion moves weights that it does not depend on by the sign of their rounding errors."""
    for parallel in ("ddp", "fsdp"):
        pool.run(2, train, str(tmp_path / parallel), parallel, names)
    assert losses(tmp_path / "fsdp") == pytest.approx(losses(tmp_path / "ddp"), rel=1e-9)


@pytest.mark.slow
@pytest.mark.pool
def test_two_processes_then_four_then_one(pool: Any, tmp_path: Path) -> None:
    """In float64: how far rounding goes in float32 is the machine's affair (differences of 4e-7 and 2e-6 were seen)."""
    names = ["adamw", "adamw"]
    one, run = tmp_path / "some" / "one", tmp_path / "some" / "others"
    train(str(one), "ddp", names)
    pool.run(2, train, str(run), "fsdp", names, 32)
    pool.run(4, train, str(run), "fsdp", names, 56)
    train(str(run), "ddp", names)
    assert len(losses(run)) == END // 8
    assert losses(run) == pytest.approx(losses(one), rel=1e-10)


def with_states(parallel: str, **states: State) -> Trainer:
    """A run whose first phase begins with a pass for each of the states."""
    setup = prototype_setup(Path("unused"), double=True)
    phase = dataclasses.replace(setup.phases[0], refresh=[Refresh(state=name, every=1000) for name in states])
    setup.model.add_bank(Bank("findings", ("effusion case a",), names=("effusion",)))
    for state in states.values():
        state._model = setup.model  # as the builder gives it
    options = setup.options.model_copy(update={"parallel": parallel})
    return Trainer(dataclasses.replace(setup, phases=[phase], states=states, options=options))


def anchors(parallel: str) -> Tensor:
    """Which of the samples a run begins with as anchors of its one finding."""
    options = Anchors(bank="findings", each=3, neighbours=4, inner=2)
    state = ClassPrototypes(labels=["effusion"], anchors=options)
    with_states(parallel, findings=state).rehearsal(0)
    return state.anchored.of([f"s{i}" for i in range(SAMPLES)])[:, 0]


@pytest.mark.slow
@pytest.mark.pool
def test_anchors_that_the_model_defines_are_those_of_a_whole_model(pool: Any) -> None:
    expected = anchors("ddp")
    assert expected.sum() == 6
    for parallel in ("ddp", "fsdp"):
        for got in pool.run(2, anchors, parallel):
            assert torch.equal(got, expected), parallel


def refusal() -> str:
    with pytest.raises(ConfigError) as refused:
        with_states("fsdp", masks=AttentiveMask()).rehearsal(0)
    return str(refused.value)


@pytest.mark.slow
@pytest.mark.pool
def test_a_state_that_encodes_at_every_step_is_refused(pool: Any) -> None:
    expected = "State 'masks' asks the whole model at every step, which training.parallel fsdp holds in parts: use ddp."
    assert pool.run(2, refusal) == [expected] * 2


def refused_optimiser() -> str:
    task, _ = make_task(*CASES["siglip"])
    with pytest.raises(ConfigError) as refused:
        make_optimiser(nn.ModuleDict({"model": Twin(task.model, {}).trained}), OptimiserOptions(name="muon"))
    return str(refused.value)


@pytest.mark.slow
@pytest.mark.pool
def test_an_optimiser_of_whole_matrices_is_refused(pool: Any) -> None:
    expected = "Optimiser 'muon' needs whole matrices, and training.parallel is fsdp: set ddp, or adamw."
    assert pool.run(2, refused_optimiser) == [expected] * 2


def held() -> dict[str, int]:
    """Bytes that this process holds of what trains in the towers: weights, moments, and what the model keeps."""
    task, root = make_task(*CASES["siglip"])
    outside = set(task.model.outside_forward())
    twin = Twin(task.model, {})
    trained = nn.ModuleDict({"model": twin.trained})
    optimiser = make_optimiser(trained, OptimiserOptions())
    for parameter in trained.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    inside = {f"model.{n}" for n, _ in task.model.named_parameters() if n not in outside}
    tensors = {**dict(trained.named_parameters()), **optimiser_state(optimiser)}
    return {
        "held": sum(own_part(t).nbytes for name, t in tensors.items() if name.partition("|")[0] in inside and t.dim()),
        "left": sum(p.untyped_storage().nbytes() for n, p in root.named_parameters() if n in inside),
        "whole": 3 * sum(p.nbytes for n, p in root.named_parameters() if n in inside),
        "tensors": len(inside),
    }


@pytest.mark.pool
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_what_a_process_holds_falls_with_their_number(pool: Any, world: int) -> None:
    found = pool.run(world, held)
    assert sum(each["held"] for each in found) == found[0]["whole"]
    for each in found:
        # Rows are dealt out tensor by tensor, the odd ones to the first processes; of the model one number a tensor.
        assert each["held"] < 1.1 * each["whole"] / world
        assert each["left"] == 4 * each["tensors"]
