"""Small real models, an uneven batch, and the gradients that a training step leaves, on any number of processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Column, Model, collectives
from medvlp.core.protocols import Objective, State, Teacher
from medvlp.core.registry import build
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.training.phases import set_trainable
from medvlp.training.precision import Precision
from medvlp.training.task import StepLog, Task, make_plan
from tests.models.words import DUAL, VISION, HashWords

FLOAT32 = Precision("cpu", torch.float32, "test")
SAMPLES = 8
# Sample 1 has two sentences, 3 shares its words with 0, and 6 and 7, one process of four, have no text at all.
TEXTS = (
    (0, "no acute findings"),
    (1, "large left effusion"),
    (1, "stable devices"),
    (2, "nodule in the right upper lobe with a long report of many words"),
    (3, "no acute findings"),
    (4, "rib fracture"),
    (5, "small right effusion"),
)
BANK = ("effusion", "nodule", "no finding")
PLACES = ("left", "right")

_SINGLE = {"name": "single", "image_size": 32, "patch_size": 8, "width": 16, "layers": 2, "attention_heads": 2}
_SINGLE |= {"embed_dim": 8}
_SIGLIP = {"scale": {"init": 10.0, "bias": -10.0}}
_MIXED = [
    {"name": "clip"},
    {"name": "caption", "width": 16, "layers": 1, "heads": 2},
    {"name": "distill", "teacher": "frozen", "bank": "words", "texts": "student", "temperature": 0.5},
]


def _head(norm: str) -> dict[str, object]:
    return {"projection": {"hidden": 12, "layers": 2, "norm": norm, "stage": "batch", "bias": True}}


_STREAMS = {"name": "dual_stream", "width": 8, "layers": 2, "heads": 2, "feedforward": 12, "dropout": 0.0}
_MEDSLIP = {"name": "medslip", "negatives": 1, "temperature": 0.5}

_BOTH = {**DUAL, "stack": {"name": "slices", "slice": VISION}}
_FILMS_AND_VOLUMES = [{"name": "clip", "image": "image.film"}, {"name": "clip", "as": "volumes", "image": "stack"}]

# name -> (model, objectives, patterns of what trains)
CASES: dict[str, tuple[Mapping[str, Any], list[dict[str, Any]], list[str]]] = {
    "clip": (DUAL, [{"name": "clip"}], ["*"]),
    "siglip": ({**DUAL, **_SIGLIP}, [{"name": "siglip"}], ["*"]),
    "single tower": (_SINGLE, [{"name": "clip"}], ["*"]),
    "batch norm over rows": ({**DUAL, **_head("batch")}, [{"name": "clip"}], ["*"]),
    "layer norm over rows": ({**DUAL, **_head("layer")}, [{"name": "clip"}], ["*"]),
    "late interaction": (DUAL, [{"name": "clip", "score": "late_interaction"}], ["*"]),
    "caption": (DUAL, [_MIXED[1]], ["*"]),
    "distill": (DUAL, [_MIXED[2]], ["*"]),
    "all together": (DUAL, _MIXED, ["*"]),
    "frozen image tower": (DUAL, _MIXED, ["*", "!model.towers.image.*"]),
    "frozen towers": (DUAL, [{"name": "clip"}], ["*", "!model.towers.*"]),
    "medslip": ({**DUAL, "heads": {"image/medslip": _STREAMS}}, [_MEDSLIP], ["*"]),
    "films and volumes": (_BOTH, _FILMS_AND_VOLUMES, ["*"]),
    "films and volumes, one trunk": (
        {**_BOTH, "stack": {"name": "slices", "slice": "image"}},
        _FILMS_AND_VOLUMES,
        ["*"],
    ),
    "images only": (DUAL, [{**_MIXED[2], "texts": "teacher"}], ["*"]),
}


def whole_batch(dtype: torch.dtype = torch.float32) -> Batch:
    """Eight samples with an image each and the texts of `TEXTS`."""
    every = torch.arange(SAMPLES)
    # Gratings of different directions and periods: of nearly equal rows BatchNorm would keep rounding errors only.
    at = torch.arange(32, dtype=torch.float64)
    waves = [((i % 3) * at[:, None] + (i // 3) * at[None] + at[None] / 9) * (0.2 + 0.1 * i) for i in range(SAMPLES)]
    noise = torch.rand(SAMPLES, 32, 32, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    pixels = (0.5 + 0.4 * torch.stack(waves).sin() + 0.1 * noise)[:, None]
    slices = pixels.repeat(2, 1, 1, 1)[: SAMPLES + 1].unflatten(0, (3, 3))
    columns = {
        "image": Column(pixels.to(dtype), every),
        # Of four processes one has films only, one volumes only, one both, of one sample too, and one neither.
        "image.film": Column(pixels[[0, 1, 4]].to(dtype), torch.tensor([0, 1, 4])),
        "stack": Column(
            slices.to(dtype),
            torch.tensor([2, 4, 5]),
            torch.tensor([[True, True, True], [True, True, False], [True, False, False]]),
            torch.zeros(3, 3, 3, dtype=dtype),
        ),
        "vector.triplets": _matrices(),
        "text": Column(tuple(words for _, words in TEXTS), torch.tensor([owner for owner, _ in TEXTS])),
    }
    return Batch(tuple(f"s{i}" for i in range(SAMPLES)), every + 40, columns)


def _matrices() -> Column:
    """What is stated of five samples; nothing of 2, 6 and 7, so that one process of four has none."""
    draw = torch.Generator().manual_seed(13)
    stated = torch.randint(-1, 2, (5, len(PLACES) * len(BANK)), generator=draw).float()
    return Column(stated, torch.tensor([0, 1, 3, 4, 5]))


def _books() -> dict[str, Bank]:
    draw = torch.Generator().manual_seed(12)
    books = {"pathology": BANK, "anatomy": PLACES}
    return {name: Bank(name, texts, torch.randn(len(texts), 5, generator=draw)) for name, texts in books.items()}


def own_part(batch: Batch) -> Batch:
    """Return this process's equal contiguous part; a column that it has no row of is absent, as after collation."""
    size, first = batch.size // collectives.world_size(), 0
    first = collectives.rank() * size
    part = batch.take(first, first + size)
    return Batch(part.ids, part.positions, {n: c for n, c in part.columns.items() if len(c.owner)})


def make_task(
    model_spec: Mapping[str, Any],
    objective_specs: list[dict[str, Any]],
    trainable: list[str],
    *,
    chunks: int = 1,
    dtype: torch.dtype = torch.float32,
) -> tuple[Task, nn.ModuleDict]:
    """Build as `medvlp.runs.build` does, and return the task with the root whose parameters are trained."""
    banks = {"words": Bank("words", BANK), **_books()}
    model: Model = build_model(model_spec, tokenizer=HashWords(), banks=banks, seed=3).to(dtype)
    given: dict[str, object] = {"model": model, "vocab_size": HashWords().vocab_size}
    objectives: dict[str, Objective] = {
        str(spec.get("as", spec["name"])): build(
            "objectives", {key: value for key, value in spec.items() if key != "as"}, where="test", given=given
        ).to(dtype)
        for spec in objective_specs
    }
    states: dict[str, State] = {"frozen": build("state", {"name": "frozen"}, where="test")}
    plan = make_plan(objectives, states)
    model.mount({name: head for part in objectives.values() for name, head in part.heads().items()}, plan)
    for state in states.values():
        assert isinstance(state, Teacher)
        state.bind(model)
    _leave_the_start(model)
    root = nn.ModuleDict({"model": model, "objectives": nn.ModuleDict(objectives)})
    set_trainable(root, trainable, where="test")
    return Task(model=model, objectives=objectives, states=states, seed=5, chunks=chunks, precision=FLOAT32), root


def _leave_the_start(model: nn.Module) -> None:
    """Move every parameter a little: at the start some gradients vanish, and a student is its own teacher."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(11)
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.05 * noise.to(parameter.dtype))


def gradients_of(root: nn.Module) -> dict[str, Tensor]:
    """Copy every gradient, by parameter name; None where there is none."""
    return {name: p.grad.clone() for name, p in root.named_parameters() if p.grad is not None}


def step(case: str, chunks: int, double: bool, silent: str = "") -> dict[str, Any]:
    """One training step's gradients and log on this process's part of the batch; `silent` has weight 0."""
    dtype = torch.float64 if double else torch.float32
    task, root = make_task(*CASES[case], chunks=chunks, dtype=dtype)
    weights = {name: 0.0 if name == silent else 0.3 + i for i, name in enumerate(task.objectives)}
    # The second step finds what a first one leaves behind: reducers that were not finished, buffers that were.
    task.backward(own_part(whole_batch(dtype)), weights, samples_seen=0)
    root.zero_grad(set_to_none=True)
    log: StepLog = task.backward(own_part(whole_batch(dtype)), weights, samples_seen=0)
    buffers = {name: tensor.clone() for name, tensor in root.named_buffers()}
    return {"loss": log.loss, "terms": dict(log.terms), "gradients": gradients_of(root), "buffers": buffers}


def worst(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], *, relative: float, absolute: float) -> str:
    """Return the parameter that breaks ``|g1 - g2| <= relative |g1| + absolute |all g|`` most, or nothing."""
    if expected.keys() != got.keys():
        return f"gradients of other parameters: {sorted(expected.keys() ^ got.keys())}"
    everything = float(torch.stack([g.double().norm() for g in expected.values()]).norm())
    faults = {}
    for name, gradient in expected.items():
        difference = float((gradient.double() - got[name].double()).norm())
        faults[name] = difference / (relative * float(gradient.double().norm()) + absolute * everything)
    name = max(faults, key=lambda n: faults[n])
    return "" if faults[name] <= 1 else f"{name} is {faults[name]:.3g} times over the tolerance"
