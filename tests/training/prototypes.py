"""A run whose phases use clusters, learned prototypes, a queue and prototypes of findings, on made-up samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medvlp.core import Batch, Column, FeatureTable, Key, Model, collectives
from medvlp.core.keys import Plan
from medvlp.core.protocols import Objective, State
from medvlp.core.registry import build
from medvlp.features.feature_pass import feature_pass
from medvlp.models.build import build_model
from medvlp.training.optimisation import OptimiserOptions
from medvlp.training.options import TrainingOptions
from medvlp.training.phases import PhasePlan, Refresh
from medvlp.training.setup import Setup
from medvlp.training.task import make_plan
from medvlp.training.trainer import Trainer
from tests.models.words import DUAL, HashWords
from tests.training.runs import WORDS, weights_of
from tests.training.world import FLOAT32

BATCH, END, SAMPLES = 8, 72, 24


def _batch(places: Tensor, dtype: torch.dtype) -> Batch:
    """Twenty-four samples of six looks, with the words of the look; the last of them has no text."""
    indices = (places % SAMPLES).tolist()
    pixels, words, owner = [], [], []
    for row, i in enumerate(indices):
        generator = torch.Generator().manual_seed(i)
        at = torch.arange(32, dtype=torch.float64)
        wave = ((i % 3) * at[:, None] + (i // 3 % 2 + 0.2) * at[None]) * 0.3
        noise = torch.rand(32, 32, generator=generator, dtype=torch.float64)
        pixels.append((0.5 + 0.4 * wave.sin() + 0.1 * noise)[None])
        if i != SAMPLES - 1:
            words.append(f"{WORDS[i % 6]} case {'abcd'[i // 6]}")
            owner.append(row)
    rows = torch.arange(len(indices))
    columns = {"image": Column(torch.stack(pixels).to(dtype), rows), "text": Column(tuple(words), torch.tensor(owner))}
    values = torch.tensor([[1.0, 0.0, -1.0, torch.nan, 1.0, 0.0][i % 6] for i in indices])
    columns["label.effusion"] = Column(values, rows)
    return Batch(tuple(f"s{i}" for i in indices), places, columns)


def _part(first: int, last: int) -> tuple[int, int]:
    """This process's contiguous part of the places first..last-1."""
    size, rank, world = last - first, collectives.rank(), collectives.world_size()
    return first + rank * size // world, first + (rank + 1) * size // world


def make_setup(run: Path, *, double: bool = False, chunks: int = 1, norm: str = "batch") -> Setup:
    """CLIP; then all three kinds of prototypes; then CLIP with the image tower locked."""
    dtype = torch.float64 if double else torch.float32
    model = build_model(DUAL, tokenizer=HashWords(), seed=3).to(dtype)
    states: dict[str, State] = {
        name: build("state", spec, where="test", given={"model": model})
        for name, spec in {
            "clusters": {"name": "clusters", "clusters": 4},
            "queue": {"name": "queue", "reads": ["image/raw", "text/raw"], "size": 12, "begin": 16},
            "findings": {"name": "class_prototypes", "labels": ["effusion"], "momentum": 0.9, "clean_from": 40},
        }.items()
    }

    def objective(**options: Any) -> Objective:
        return build("objectives", options, where="test").to(dtype)

    clip = {"clip": objective(name="clip")}
    prototypes = {
        "protoclip": objective(name="protoclip", hidden=16, width=8, norm=norm),
        "cpa": objective(name="sinkhorn_prototypes", prototypes=5, queue="queue", freeze=32),
        "findings": objective(name="class_prototypes", state="findings"),
    }
    phases: list[dict[str, Objective]] = [clip, {**clip, **prototypes}, clip]
    for phase in phases:
        heads = {name: head for part in phase.values() for name, head in part.heads().items()}
        refreshed = states["clusters"].refresh_needs() if len(phase) > 1 else frozenset()
        model.mount(heads, Plan.of(make_plan(phase, states).needs | refreshed))
    model.to(dtype)

    def batches(start: int) -> Iterator[Batch]:
        position = start
        while True:
            yield _batch(torch.arange(*_part(position, position + BATCH)), dtype)
            position += BATCH

    def episode(first: int, last: int) -> Iterator[Batch]:
        begin, end = _part(first, min(last, first + SAMPLES))
        for place in range(begin, end, 5):
            yield _batch(torch.arange(place, min(place + 5, end)), dtype)

    def features(model: Model, needs: frozenset[Key], given: Iterable[Batch] | None) -> FeatureTable:
        return feature_pass(model, episode(0, SAMPLES) if given is None else given, needs)

    refresh = (Refresh(state="clusters", every=20, over="episode"), Refresh(state="findings", every=1000))
    ends = ((16, (), ("*",)), (56, refresh, ("*",)), (END, (), ("*", "!model.towers.image.*")))
    return Setup(
        run=run,
        model=model,
        states=states,
        phases=[
            PhasePlan(
                until=until,
                objectives=phase,
                weights=dict.fromkeys(phase, 1.0),
                optimiser=OptimiserOptions(rate=3e-3, warmup=16, no_decay=["model.heads.*/proto.*"]),
                batches=batches,
                episode=episode,
                trainable=trainable,
                refresh=refreshes,
            )
            for phase, (until, refreshes, trainable) in zip(phases, ends, strict=True)
        ],
        options=TrainingOptions(
            batch=BATCH, chunks=chunks, validate_every=200, checkpoint_every=8, log_every=8, keep=20
        ),
        seed=5,
        precision=FLOAT32,
        recipe="recipe",
        feature_pass=features,
    )


def run_in_this_process(folder: str, chunks: int, norm: str) -> dict[str, Any]:
    """A whole run in float64 as one rank of a group; its weights and states."""
    trainer = Trainer(make_setup(Path(folder), double=True, chunks=chunks, norm=norm))
    trainer.fit()
    states = {
        f"{name}|{key}": tensor
        for name, state in trainer.setup.states.items()
        for key, tensor in state.state_dict().items()
    }
    return {"weights": weights_of(trainer.root), "states": states}
