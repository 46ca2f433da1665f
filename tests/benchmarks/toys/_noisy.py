"""A small network on vectors, trained by a method of labels that may be wrong or by plain cross entropy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core import Batch, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.models.heads.relation import Relation
from medvlp.objectives._noisy_labels import NoisyLabels
from medvlp.objectives.class_prototypes import ClassPrototypeLoss
from medvlp.state.class_prototypes import ClassPrototypes
from medvlp.state.queue import Queue

WIDTH, BATCH, STEPS = 8, 64, 300


class Net(nn.Module):
    """Two layers that can learn labels by heart, a classifier, a projection and the way back."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(d, 128), nn.ReLU(), nn.Linear(128, 16))
        self.findings, self.rows, self.back = nn.Linear(16, 1), nn.Linear(16, WIDTH), nn.Linear(WIDTH, 16)

    def parts(self, x: Tensor) -> dict[str, Tensor]:
        raw = self.body(x)
        rows = self.rows(raw)
        return {"raw": raw, "findings": self.findings(raw), "rows": rows, "back": self.back(rows)}


Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, 1) and indices (B,) -> a number


def plain(x: Tensor, loss: Loss, *, seed: int) -> Net:
    """Train with a loss of logits."""
    torch.manual_seed(seed)
    net = Net(x.shape[1])
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for index in _batches(len(x), seed):
        optimiser.zero_grad()
        loss(net.parts(x[index])["findings"], index).backward()
        optimiser.step()
    return net


def noisy(
    objective: NoisyLabels,
    state: ClassPrototypes,
    x: Tensor,
    fields: Mapping[str, Tensor | list[str]],
    *,
    seed: int,
    text: Tensor | None = None,
    begin: bool = True,
    prototypes: Mapping[str, Any] | None = None,
) -> Net:
    """Train with a method, its prototypes beside it; `begin`: prototypes begin as means of the labelled cohort."""
    torch.manual_seed(seed)
    name, ids = objective.rows, [f"s{i}" for i in range(len(x))]
    net = Net(x.shape[1])
    teacher, view = copy.deepcopy(net), objective.view
    heads = nn.ModuleDict(
        {f"{name}_low": Prototypes(embed_dim=WIDTH, prototypes=2), "relation": Relation(embed_dim=WIDTH)}
    )
    beside = [f"{view}/findings", "label.effusion"] if name == "ins" else []
    queue = Queue(reads=[f"ema:{view}/{name}"], size=256, beside=beside)
    against = None
    if prototypes is not None:
        against = ClassPrototypeLoss(reads=f"{view}/{name}", **prototypes)
    optimiser = torch.optim.Adam([*net.parameters(), *heads.parameters()], lr=3e-3)
    every = {key: value for key, value in fields.items() if isinstance(value, Tensor)}
    for step, index in enumerate(_batches(len(x), seed)):
        if begin and step == 50:
            with torch.no_grad():
                columns = {f"{view}/{name}": net.parts(x)["rows"].numpy(), **{k: v.numpy() for k, v in every.items()}}
            if text is not None:
                columns["text/embedding"] = text.numpy()
            state.refresh(FeatureTable(ids, columns))
        parts, taught = net.parts(x[index]), teacher.parts(x[index])["rows"].detach()
        owner = torch.arange(len(index))
        named = {"raw": "raw", "findings": "findings", "rows": name, "back": f"{name}_back"}
        values = {f"{view}/{named[part]}": rows for part, rows in parts.items()} | {f"ema:{view}/{name}": taught}
        chosen = {k: v[index] if isinstance(v, Tensor) else [v[i] for i in index.tolist()] for k, v in fields.items()}
        batch = Batch(tuple(ids[i] for i in index.tolist()), index, Batch.of(chosen).columns)
        ctx = Context(
            parts={parse_key(key): Part(rows, owner) for key, rows in values.items()},
            batch=batch,
            states={"class_prototypes": state, "queue": queue},
            heads=heads,
            samples_seen=step * BATCH,
        )
        for each in (state, queue):
            each.observe(ctx)
        terms = list(objective(ctx).values()) + (list(against(ctx).values()) if against else [])
        optimiser.zero_grad()
        sum(term.value() for term in terms).backward()
        optimiser.step()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), net.parameters(), strict=True):
                slow.lerp_(fast, 0.02)
            heads[f"{name}_low"].weight.copy_(unit(heads[f"{name}_low"].weight))
        for each in (state, queue):
            each.after_step(net, (step + 1) * BATCH)
    return net


def cross_entropy(labels: Tensor) -> Loss:
    return lambda logits, index: F.binary_cross_entropy_with_logits(logits[:, 0], labels[index])


@torch.no_grad()
def auroc(net: Net, x: Tensor, truth: Tensor) -> float:
    score = net.parts(x)["findings"][:, 0]
    return float((score[truth == 1][:, None] > score[truth == 0][None]).double().mean())


def _batches(count: int, seed: int):
    draws = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        yield torch.randperm(count, generator=draws)[:BATCH]
