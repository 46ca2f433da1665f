"""Runs of small published methods that are no part of the package, in one process or several, whole or interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Column, FeatureTable, Key, Model, collectives
from medvlp.core.errors import UserError
from medvlp.core.keys import Plan
from medvlp.core.protocols import Objective, State, Teacher
from medvlp.core.registry import build
from medvlp.core.sample import ImageRecord
from medvlp.features.feature_pass import feature_pass
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.text.tokenizers import Tokenizer
from medvlp.training.checkpoints import latest
from medvlp.training.optimisation import OptimiserOptions
from medvlp.training.options import TrainingOptions
from medvlp.training.phases import PhasePlan
from medvlp.training.setup import Setup
from medvlp.training.task import make_plan
from medvlp.training.trainer import Trainer
from tests.models.words import DUAL, HashWords
from tests.training.world import FLOAT32

BATCH, COHORT = 8, 24
AT_THE_END = 10**6  # samples between checkpoints: one at the end alone, since each waits for the disk


@dataclass(frozen=True)
class Method:
    """A method on a cohort of made-up samples.

    Attributes:
        columns: indices of samples -> fields.
        objectives: makes those of each phase.
        phases: further options of each phase's plan, ``until`` among them.
        states: specs by name.
        spec: of the model.
        banks: of the model, by name.
        records: indices of samples -> where their pictures lie, field by field.
        words: the tokenizer.
    """

    columns: Callable[[Tensor, torch.dtype], dict[str, Column]]
    objectives: Callable[[], Sequence[Mapping[str, Objective]]]
    phases: Sequence[Mapping[str, Any]]
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=lambda: DUAL)
    banks: Mapping[str, Bank] = field(default_factory=dict)
    records: Callable[[Tensor], dict[str, tuple[ImageRecord, ...]]] = lambda indices: {}
    words: Tokenizer = field(default_factory=HashWords)

    @property
    def end(self) -> int:
        return self.phases[-1]["until"]


def images(indices: Tensor, dtype: torch.dtype, *, look: int = 0) -> Tensor:
    """Gratings with noise, (B, 1, 32, 32); another look at a sample changes phase and noise."""
    at, out = torch.arange(32, dtype=torch.float64), []
    for i in indices.tolist():
        wave = ((i % 3) * at[:, None] + (i // 3 % 4 + 0.2) * at[None]) * 0.3 + 0.4 * look
        noise = torch.rand(32, 32, generator=torch.Generator().manual_seed(i + 1000 * look), dtype=torch.float64)
        out.append((0.5 + 0.4 * wave.sin() + 0.1 * noise)[None])
    return torch.stack(out).to(dtype)


def batch_of(method: Method, places: Tensor, dtype: torch.dtype) -> Batch:
    indices = places % COHORT
    ids = tuple(f"s{i}" for i in indices.tolist())
    return Batch(ids, places, method.columns(indices, dtype), method.records(indices))


def make_setup(
    method: Method, run: Path, *, chunks: int = 1, double: bool = True, device: str = "cpu", checkpoint_every: int = 8
) -> Setup:
    """Build as `medvlp.config` does."""
    dtype = torch.float64 if double else torch.float32
    model = build_model(method.spec, tokenizer=method.words, banks=method.banks, seed=3).to(device, dtype)
    states: dict[str, State] = {
        name: build("state", spec, where="test", given={"model": model, "name": name})
        for name, spec in method.states.items()
    }
    objectives = [{name: part.to(dtype) for name, part in phase.items()} for phase in method.objectives()]
    for phase, options in zip(objectives, method.phases, strict=True):
        heads = {name: head for part in phase.values() for name, head in part.heads().items()}
        passes = [states[refresh.state].refresh_needs() for refresh in options.get("refresh", ())]
        model.mount(heads, Plan.of(make_plan(phase, states).needs.union(*passes)))
    model.to(dtype)
    teachers = {name: state for name, state in states.items() if isinstance(state, Teacher)}
    for teacher in teachers.values():
        teacher.bind(model)

    def part(first: int, last: int) -> Tensor:
        size, rank, world = last - first, collectives.rank(), collectives.world_size()
        return torch.arange(first + rank * size // world, first + (rank + 1) * size // world)

    def batches(start: int) -> Iterator[Batch]:
        position = start
        while True:
            yield batch_of(method, part(position, position + BATCH), dtype)
            position += BATCH

    def features(model: Model, needs: frozenset[Key], given: Iterable[Batch] | None) -> FeatureTable:
        cohort = [batch_of(method, places, dtype) for places in part(0, COHORT).split(5)]
        return feature_pass(model, cohort if given is None else given, needs, teachers=teachers)

    optimiser = OptimiserOptions(rate=3e-3, warmup=16)
    return Setup(
        run=run,
        model=model,
        states=states,
        phases=[
            PhasePlan(
                **{
                    "objectives": phase,
                    "weights": dict.fromkeys(phase, 1.0),
                    "optimiser": optimiser,
                    "batches": batches,
                    **options,
                }
            )
            for phase, options in zip(objectives, method.phases, strict=True)
        ],
        options=TrainingOptions(
            batch=BATCH, chunks=chunks, validate_every=1000, checkpoint_every=checkpoint_every, log_every=8, keep=20
        ),
        seed=5,
        precision=FLOAT32,
        recipe="recipe",
        feature_pass=features,
    )


def train(method: Method, folder: str, chunks: int = 1, *, checkpoint_every: int = AT_THE_END) -> dict[str, Any]:
    """A whole run in float64 as one rank of a group; its weights and states."""
    trainer = Trainer(make_setup(method, Path(folder), chunks=chunks, checkpoint_every=checkpoint_every))
    trainer.fit()
    return {
        "weights": {name: tensor.clone() for name, tensor in trainer.root.state_dict().items()},
        "states": {
            f"{name}|{key}": tensor.clone()
            for name, state in trainer.setup.states.items()
            for key, tensor in state.state_dict().items()
        },
    }


def check_same(expected: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Weights and states equal up to the rounding of float64 that a few steps of AdamW enlarge."""
    for kind in ("weights", "states"):
        assert expected[kind].keys() == got[kind].keys()
        for name, tensor in expected[kind].items():
            torch.testing.assert_close(got[kind][name], tensor, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


def check_resume(method: Method, tmp_path: Path, stops: Sequence[int]) -> None:
    """A run in float32 that was stopped, anywhere, ends with the bytes of one that was not."""

    def trainer(run: Path) -> Trainer:
        return Trainer(make_setup(method, run, double=False, checkpoint_every=AT_THE_END))

    trainer(tmp_path / "whole").fit()
    for stop in stops:
        run = tmp_path / f"stopped-{stop}"
        with pytest.raises(UserError, match="Training was interrupted"):
            trainer(run).fit(stop_at=stop)
        trainer(run).fit()
        assert _hashes(method, run) == _hashes(method, tmp_path / "whole"), stop


def _hashes(method: Method, run: Path) -> dict[str, str]:
    folder = latest(run)
    assert folder is not None
    assert folder.name == f"step-{method.end // BATCH:08d}"
    names = ("weights", "optimiser", "states")
    return {n: hashlib.sha256((folder / f"{n}.safetensors").read_bytes()).hexdigest() for n in names}
