"""Small pictures of one pattern at some place, a text that names it, and a tower that learns from holes and words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medvlp.core import Batch
from medvlp.core.keys import Plan, keys
from medvlp.core.registry import build
from medvlp.models.build import build_model
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.precision import Precision
from medvlp.training.task import Task, make_plan

CLAIM = (
    "A report written by SyCoCa names the pattern more often when the likest patches are hidden than patches by chance."
)
BETTER, WORSE = "likest", "chance"
NAMES = ("effusion", "nodule", "fracture", "edema", "emphysema", "atelectasis")
TEXTS = tuple(f"there is {name} seen" for name in NAMES)
WORDS = train_wordpiece(TEXTS * 3, vocab_size=80, max_length=10)
VISION = {"name": "timm", "architecture": "vit_tiny_patch16_224", "image_size": 32, "pool": "avg"}
VISION |= {"options": {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}}
SPEC = {"name": "dual", "vision": VISION, "text": {"name": "transformer", "width": 32, "layers": 1, "heads": 2}}


def pictures(label: Tensor, seed: int) -> Tensor:
    """Return (N, 1, 32, 32): noise, and in one cell of 8 pixels the label's grating."""
    draw, at = torch.Generator().manual_seed(seed), torch.arange(8.0)
    angle = label.float() * torch.pi / len(NAMES)
    wave = torch.sin(
        1.6 * (at[None, :, None] * angle.cos()[:, None, None] + at[None, None] * angle.sin()[:, None, None])
    )
    out = 0.5 + 0.15 * torch.randn(len(label), 1, 32, 32, generator=draw)
    for i, place in enumerate(torch.randint(0, 16, (len(label),), generator=draw).tolist()):
        out[i, 0, 8 * (place // 4) : 8 * (place // 4) + 8, 8 * (place % 4) : 8 * (place % 4) + 8] += 0.3 * wave[i]
    return out.clamp(0, 1)


def toy(seed: int) -> dict[str, float]:
    """Return the share of unseen pictures whose written report names their pattern."""
    return {"likest": _trained("relevance", seed), "chance": _trained("chance", seed)}


def _trained(by: str, seed: int) -> float:
    model: Any = build_model({**SPEC, "embed_dim": 16}, tokenizer=WORDS, seed=seed)
    mask = build("state", {"name": "attentive_mask", "ratio": 0.25, "by": by}, where="toy", given={"model": model})
    specs = (
        {"name": "clip", "exclude": "same_report"},
        {"name": "sycoca", "width": 32, "layers": 1, "heads": 2, "side": 4},
    )
    objectives: Any = {str(spec["name"]): build("objectives", spec, where="toy") for spec in specs}
    plan = make_plan(objectives, {"mask": mask})
    model.mount({name: head for each in objectives.values() for name, head in each.heads().items()}, plan)
    precision = Precision("cpu", torch.float32, "toy")
    task = Task(model=model, objectives=objectives, states={"mask": mask}, seed=seed, chunks=1, precision=precision)
    optimiser, draw = torch.optim.AdamW(task.parameters(), lr=2e-3), torch.Generator().manual_seed(seed)
    for step in range(200):
        label = torch.randint(0, len(NAMES), (32,), generator=draw)
        batch = Batch.of(
            {"image": pictures(label, 1000 * seed + step), "text": [TEXTS[i] for i in label]}, first=32 * step
        )
        optimiser.zero_grad()
        task.backward(batch, {"clip": 1.0, "sycoca": 2.0}, samples_seen=32 * step)
        optimiser.step()
    label = torch.arange(240) % len(NAMES)
    with torch.no_grad():
        rows = model.eval()(Batch.of({"image": pictures(label, 10**6 + seed)}), Plan.of(keys("image/tokens")))["image"]
    head = model.heads["captioner"]
    ids = head.write(rows.tokens, None, start=WORDS.start_id, stop=WORDS.stop_id, longest=8).tolist()
    written = [WORDS.decode([i for i in row if i != WORDS.stop_id]) for row in ids]
    return sum(NAMES[i] in text for i, text in zip(label.tolist(), written, strict=True)) / len(label)
