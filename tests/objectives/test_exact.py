"""Every objective of the package: processes, chunks and interruptions leave no trace, and what it adds is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp.core.registry import available
from medvlp.objectives import _similarity
from medvlp.training.trainer import Trainer
from tests.objectives.cases import cases
from tests.once import made_once
from tests.training.methods import BATCH, Method, check_resume, check_same, make_setup, train

WRITTEN = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("[!_]*.py"))
NAMES = [(name, case) for name in WRITTEN for case in cases(name)]


def test_every_objective_has_its_cases() -> None:
    assert set(available("objectives")) == set(WRITTEN)


def case_of(name: str, case: str) -> Method:
    return cases(name)[case]


def run(name: str, case: str, folder: str, chunks: int) -> dict[str, Any]:
    return train(case_of(name, case), folder, chunks)


Whole = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What a case comes to in one process and one chunk, trained once for all workers."""
    return lambda name, case: made_once(
        tmp_path_factory, f"{name}-{case}", lambda folder: run(name, case, str(folder), 1)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), NAMES)
def test_a_step_in_chunks_is_a_whole_step(name: str, case: str, whole: Whole, tmp_path: Path) -> None:
    check_same(whole(name, case), run(name, case, str(tmp_path), 4))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), NAMES)
def test_a_step_by_tiles_is_a_whole_step(
    name: str, case: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_similarity, "TILE", 2 * BATCH)
    check_same(whole(name, case), run(name, case, str(tmp_path), 1))


@pytest.mark.slow
@pytest.mark.pool
@pytest.mark.parametrize(("name", "case"), NAMES)
def test_one_process_is_two(pool: Any, name: str, case: str, whole: Whole, tmp_path: Path) -> None:
    for got in pool.run(2, run, name, case, str(tmp_path), 2):
        check_same(whole(name, case), got)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), NAMES)
def test_interrupted_it_goes_on_bit_for_bit(name: str, case: str, tmp_path: Path) -> None:
    check_resume(case_of(name, case), tmp_path, [case_of(name, case).end - BATCH])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), NAMES)
def test_every_weight_of_it_moves(name: str, case: str, whole: Whole, tmp_path: Path) -> None:
    """What an objective owns or mounts is reached by its gradient: no weight is there for nothing."""
    setup = make_setup(case_of(name, case), tmp_path)
    trainer = Trainer(setup)
    before = {key: tensor.clone() for key, tensor in trainer.root.state_dict().items()}
    after = whole(name, case)["weights"]
    mounted = {head for phase in setup.phases for part in phase.objectives.values() for head in part.heads()}
    still = [key for key in before if key in after and torch.equal(before[key], after[key])]  # surgery renames some
    assert [key for key in still if key.startswith("objectives.") or _head(key) & mounted] == []


def _head(key: str) -> set[str]:
    """Return how an objective may have named the head of a weight: "kind/part" or "part"; none of other weights."""
    _, found, rest = key.partition("heads.")
    name = rest.partition(".")[0]
    return {name, name.rpartition("/")[2]} if found else set()
