"""Whole runs of a small real model on made-up samples, to be interrupted in every way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Model, collectives
from medvlp.core.protocols import Objective, State
from medvlp.core.registry import build
from medvlp.core.schedules import Ramp
from medvlp.models.build import build_model
from medvlp.state.ema import Ema
from medvlp.training.optimisation import OptimiserOptions
from medvlp.training.options import TrainingOptions
from medvlp.training.phases import PhasePlan
from medvlp.training.setup import Setup
from medvlp.training.task import make_plan
from medvlp.training.trainer import Trainer
from tests.models.words import DUAL, TEXT, HashWords
from tests.training.world import FLOAT32

BATCH, END = 8, 80
WORDS = ("effusion", "nodule", "clear lungs", "rib fracture", "no acute findings", "large heart", "stable")
# Dropout, a batch head with running statistics, two phases, patches that come and go, an average, a ramp.
MODEL: dict[str, Any] = {
    **DUAL,
    "text": {**TEXT, "dropout": 0.2},
    "projection": {"hidden": 12, "norm": "batch", "stage": "batch"},
}


def batches(dtype: torch.dtype, touch: Callable[[int, Tensor], None] | None) -> Callable[[int], Iterator[Batch]]:
    """Return what gives this process's part of each batch; `touch` may look at, or spoil, the pixels of a batch."""

    def stream(start: int) -> Iterator[Batch]:
        part = BATCH // collectives.world_size()
        position = start + collectives.rank() * part
        while True:
            places = torch.arange(position, position + part)
            pixels = torch.stack([_pixels(int(p) % 24, dtype) for p in places])
            if touch is not None:
                touch(position, pixels)
            words = tuple(WORDS[int(p) % 24 % len(WORDS)] for p in places)
            rows = torch.arange(part)
            ids = tuple(f"s{int(p) % 24}" for p in places)
            yield Batch(ids, places, {"image": Column(pixels, rows), "text": Column(words, rows)})
            position += BATCH

    return stream


def _pixels(index: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(index), dtype=torch.float64).to(dtype)


def make_setup(
    run: Path,
    *,
    double: bool = False,
    touch: Callable[[int, Tensor], None] | None = None,
    validate: Callable[[Model, int], Mapping[str, float]] | None = None,
    options: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] = MODEL,
    recipe: str = "recipe",
    data: str = "data",
) -> Setup:
    """Two phases of 40 samples each: CLIP; then CLIP and captions, image tower frozen, LoRA in the text tower."""
    dtype = torch.float64 if double else torch.float32
    model = build_model(spec, tokenizer=HashWords(), seed=3).to(dtype)
    given: dict[str, object] = {"model": model, "vocab_size": HashWords().vocab_size}

    def objective(**options: object) -> Objective:
        return build("objectives", options, where="test", given=given)

    clip, caption = objective(name="clip"), objective(name="caption", width=16, layers=1, heads=2)
    phases: list[dict[str, Objective]] = [{"clip": clip}, {"clip": clip, "caption": caption}]
    for phase in phases:
        model.mount({n: h for part in phase.values() for n, h in part.heads().items()}, make_plan(phase, {}))
    average = Ema(horizon=40)
    average.bind(model)
    states: dict[str, State] = {"average": average}
    optimiser = OptimiserOptions(rate=3e-3, warmup=16)
    lora: Mapping[str, object] = {"name": "lora", "kind": "text", "on": "linear[*]", "rank": 2}
    return Setup(
        run=run,
        model=model,
        states=states,
        phases=[
            PhasePlan(
                until=40,
                objectives=phases[0],
                weights={"clip": 1.0},
                optimiser=optimiser,
                batches=batches(dtype, touch),
            ),
            PhasePlan(
                until=END,
                objectives=phases[1],
                weights={"clip": 1.0, "caption": Ramp(start=0.0, end=0.5, begin=48, until=64)},
                optimiser=OptimiserOptions(rate=1e-3, warmup=8),
                own_optimiser=True,
                batches=batches(dtype, touch),
                trainable=("*", "!model.towers.image.*"),
                patches=(lora,),
            ),
        ],
        options=TrainingOptions(
            **{"batch": BATCH, "validate_every": 24, "checkpoint_every": 16, "log_every": 8, **(options or {})}
        ),
        seed=5,
        precision=FLOAT32,
        recipe=recipe,
        data=data,
        validate=validate,
        choose="score" if validate else "",
        released=lambda: average.model,
    )


def finish(run: Path, **changes: Any) -> Trainer:
    """Train to the end, from the newest checkpoint of the run if there is one."""
    trainer = Trainer(make_setup(run, **changes))
    trainer.fit()
    return trainer


def final_hashes(run: Path) -> dict[str, str]:
    """SHA-256 of weights, optimiser and states at the end of a run."""
    folder = sorted((run / "checkpoints").glob("step-*"))[-1]
    assert folder.name == f"step-{END // BATCH:08d}"
    names = ("weights", "optimiser", "states")
    return {n: hashlib.sha256((folder / f"{n}.safetensors").read_bytes()).hexdigest() for n in names}


def weights_of(root: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in root.state_dict().items()}


def run_in_this_process(folder: str) -> dict[str, Any]:
    """A whole run in float64 as one rank of a group; rank 0's weights, and the rows of the log."""
    trainer = finish(Path(folder), double=True)
    return {"weights": weights_of(trainer.root), "samples": trainer.samples_seen}
