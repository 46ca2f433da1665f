"""Glyphs with stripes that no caption names: does a tower tell two apart that differ in the stripes' direction alone?

A glyph is a disc, a square, a triangle or a cross, somewhere near the middle, and its stripes run across or upwards. A
caption names the glyph. A blind pair are two pictures of one kind whose stripes run differently.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import Key, Plan
from medvlp.core.parts import collect_parts
from medvlp.core.registry import build
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.build import build_model
from medvlp.models.patches._patch import apply_patches
from medvlp.training.phases import set_trainable
from medvlp.training.task import Task
from tests.models.words import HashWords
from tests.training.world import FLOAT32

KINDS, SIDE, BATCH = ("disc", "square", "triangle", "cross"), 16, 32
VISION = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": SIDE}
VISION |= {"options": {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}}
TEXT = {"name": "transformer", "width": 16, "layers": 1, "heads": 2}
SPEC: dict[str, Any] = {"name": "dual", "vision": VISION, "text": TEXT, "embed_dim": 16}
DENOISER = {"size": 8, "channels": [16, 32]}
IMAGE = ["model.towers.image.*", "model.heads.image/raw.*"]


def pictures(kind: Tensor, upwards: Tensor, generator: torch.Generator) -> Tensor:
    """Draw (N, 1, 16, 16) pictures in [0, 1] of kinds (N,) whose stripes run upwards (N,) or across."""
    centre = 7.5 + (4 * torch.rand(len(kind), 2, 1, 1, generator=generator) - 2)
    at = torch.arange(SIDE).float()
    y, x = at[:, None] - centre[:, 0], at[None] - centre[:, 1]
    triangle = (y.abs() < 5) & (2 * x.abs() < y + 5)
    cross = (x.abs() < 5) & (y.abs() < 5) & ((x.abs() < 2.5) | (y.abs() < 2.5))
    shapes = torch.stack([x**2 + y**2 < 25, (x.abs() < 4.5) & (y.abs() < 4.5), triangle, cross], dim=1)
    inside = shapes[torch.arange(len(kind)), kind].float()
    stripes = (1.05 * torch.where(upwards[:, None, None], x, y)).sin()
    noise = 0.05 * torch.randn(len(kind), SIDE, SIDE, generator=generator)
    return (0.2 + inside * (0.4 + 0.25 * stripes) + noise).clamp(0, 1)[:, None]


@dataclass
class Blind:
    """A model trained by CLIP on captions that name the kind, and what is asked of it."""

    model: TowerModel
    seed: int

    @classmethod
    def trained(cls, seed: int, *, steps: int = 200) -> Blind:
        """Train both towers."""
        torch.manual_seed(seed)
        model = build_model(SPEC, tokenizer=HashWords(), seed=seed)
        assert isinstance(model, TowerModel)
        found = cls(model, seed)
        found.train({"name": "clip", "positives": "same_report"}, ["*"], steps=steps, rate=2e-3, first=0)
        return found

    def train(
        self,
        spec: Mapping[str, Any],
        trainable: Sequence[str],
        *,
        steps: int,
        rate: float,
        first: int,
        patches: Sequence[Mapping[str, object]] = (),
    ) -> float:
        """Train as a phase does on fresh pictures, from a place in their stream on; return the loss of its last tenth.

        Patches stay on.
        """
        objective = build("objectives", spec, where="toy")
        self.model.mount(objective.heads(), Plan.of(objective.needs()))
        if patches:
            apply_patches(self.model, patches, seed=self.seed)
        options = {"states": {}, "seed": self.seed, "chunks": 1, "precision": FLOAT32}
        task = Task(model=self.model, objectives={"it": objective}, **options)
        set_trainable(task, trainable, where="toy")
        optimiser = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
        generator, losses = torch.Generator().manual_seed(1000 * self.seed + first), []
        for step in range(steps):
            kind = torch.randint(len(KINDS), (BATCH,), generator=generator)
            seen = pictures(kind, torch.rand(BATCH, generator=generator) < 0.5, generator)
            place = first + BATCH * step
            fields = {"image": seen, "text": [KINDS[i] for i in kind.tolist()]}
            optimiser.zero_grad()
            losses.append(task.backward(Batch.of(fields, first=place), {"it": 1.0}, samples_seen=place).loss)
            optimiser.step()
            task.after_step(place + BATCH)
        self.model.eval()
        return sum(losses[-steps // 10 :]) / len(losses[-steps // 10 :])

    def copied(self) -> Blind:
        """Return the same model apart."""
        return copy.deepcopy(self)

    @torch.no_grad()
    def embedded(self, kind: Tensor, upwards: Tensor, generator: torch.Generator) -> Tensor:
        """Return the embeddings of fresh pictures, (N, D)."""
        key = Key("image", "embedding")
        seen = Batch.of({"image": pictures(kind, upwards, generator)})
        return self.model.eval()(seen, Plan.of([key]))["image"].part("embedding")

    @torch.no_grad()
    def pairs(self, count: int = 600) -> float:
        """Return the share of blind pairs told apart.

        Of three pictures of one kind, one is nearer to that with its own stripes than to that with others.
        """
        generator = torch.Generator().manual_seed(10_000 + self.seed)
        kind = torch.randint(len(KINDS), (count,), generator=generator)
        upwards = torch.rand(count, generator=generator) < 0.5
        one, same, other = (self.embedded(kind, up, generator) for up in (upwards, upwards, ~upwards))
        return float(((one * same).sum(1) > (one * other).sum(1)).float().mean())

    @torch.no_grad()
    def zero_shot(self, count: int = 600) -> float:
        """Return the share of pictures whose nearest caption is that of their kind."""
        generator = torch.Generator().manual_seed(20_000 + self.seed)
        kind = torch.randint(len(KINDS), (count,), generator=generator)
        found = self.embedded(kind, torch.rand(count, generator=generator) < 0.5, generator)
        words = self.model.eval()(Batch.of({"text": list(KINDS)}), Plan.of([Key("text", "embedding")]))["text"]
        return float(((found @ words.part("embedding").T).argmax(1) == kind).float().mean())

    @torch.no_grad()
    def drawing(self, spec: Mapping[str, Any], *, shuffled: bool = False, count: int = 300) -> float:
        """Return the denoising error on unseen pictures; `shuffled`: the condition is of another picture."""
        objective = build("objectives", spec, where="toy")
        plan = Plan.of(objective.needs())
        generator = torch.Generator().manual_seed(30_000 + self.seed)
        kind = torch.randint(len(KINDS), (count,), generator=generator)
        batch = Batch.of({"image": pictures(kind, torch.rand(count, generator=generator) < 0.5, generator)})
        parts = collect_parts(self.model.eval()(batch, plan), plan.views)
        condition = {
            key: Part(part.values.roll(int(shuffled), 0), part.owner, part.grid) for key, part in parts.items()
        }
        (term,) = objective(Context(parts=condition, batch=batch, heads=self.model.heads, seed=self.seed)).values()
        return float(term.value())

    def nearness(self, before: Blind, count: int = 600) -> float:
        """Return the mean cosine of the embeddings of pictures with those that another model gave them."""
        kind, upwards = torch.arange(count) % len(KINDS), torch.arange(count) // len(KINDS) % 2 == 1
        one, two = (each.embedded(kind, upwards, torch.Generator().manual_seed(3)) for each in (self, before))
        return float((one * two).sum(1).mean())


def scores(after: Blind, before: Blind) -> dict[str, float]:
    """Return pairs told apart and zero-shot accuracy before and after, and how near the embeddings stayed."""
    found = {"after": after.pairs(), "before": before.pairs(), "nearness": after.nearness(before)}
    return {**found, "zero_shot_after": after.zero_shot(), "zero_shot_before": before.zero_shot()}
