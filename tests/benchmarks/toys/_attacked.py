"""A small model that tells eight smooth patterns by their names: what is left of that after an attack?

Pictures of 32 x 32 are one of eight patterns, fainter or stronger, with noise; a text is "CLASS pattern seen". The
model is a real one, trained by CLIP. Attacks are fitted on some pictures; accuracy (the nearest name) is of others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from medvlp.core import Context, Part
from medvlp.core.attack import Attack, Perturbation
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch
from medvlp.models.build import build_model
from medvlp.objectives.clip import Clip
from medvlp.text.wordpiece import train_wordpiece
from tests.tiny import MODEL, VISION

NAMES = ("coarse", "bright", "double", "flat", "grainy", "hollow", "lobed", "patchy")
SIZE = 32


def world(count: int, seed: int) -> Batch:
    """Draw pictures with their texts and classes."""
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.randn(len(NAMES), 1, 6, 6, generator=torch.Generator().manual_seed(99))
    patterns = F.interpolate(patterns, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    kind = torch.randint(len(NAMES), (count,), generator=draw)
    strength = 0.08 + 0.08 * torch.rand(count, 1, 1, 1, generator=draw)
    noise = 0.04 * torch.randn(count, 1, SIZE, SIZE, generator=draw)
    images = (0.5 + strength * patterns[kind] + noise).clamp(0, 1)
    return Batch.of({"image": images, "text": [f"{NAMES[k]} pattern seen" for k in kind.tolist()]})


def trained(seed: int, *, steps: int = 150) -> Model:
    """Train a model on batches of 32."""
    words = train_wordpiece([f"{name} pattern seen" for name in NAMES] * 2, vocab_size=200, max_length=12)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model({**MODEL, "vision": VISION, "embed_dim": 16}, tokenizer=words).train()
    wanted = keys("image/embedding", "text/embedding")
    plan, objective = Plan.of(wanted), Clip()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch = world(32, 1000 * (seed + 1) + step)
        rows = model.finish(model(batch, plan), plan)
        parts = {key: Part(rows[key.view].part("embedding"), rows[key.view].owner) for key in wanted}
        ctx = Context(parts=parts, batch=batch, scale=model.scale)
        loss = torch.stack([term.value() for term in objective(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def errors(model: Model, batch: Batch) -> float:
    """Return the share of pictures whose nearest name is another's; texts are those of `world`."""
    plan = Plan.of(keys("image/embedding", "text/embedding"))
    names = Batch.of({"image": torch.zeros(len(NAMES), 1, SIZE, SIZE), "text": [f"{n} pattern seen" for n in NAMES]})
    table = model.finish(model(names, plan), plan)["text"].part("embedding")
    seen = model.finish(model(batch, plan), plan)["image"].part("embedding")
    own = torch.tensor([NAMES.index(text.split()[0]) for text in batch.strings("text")])
    return float(((seen @ table.T).argmax(dim=1) != own).float().mean())


def fitted(attack: Attack, model: Model, seed: int) -> Perturbation:
    """Fit an attack on 64 pictures in batches of 8."""
    whole = world(64, 50_000 + seed)
    return attack.fit(model, [whole.take(at, at + 8) for at in range(0, 64, 8)])


def held_out(seed: int) -> Batch:
    """Return 300 other pictures."""
    return world(300, 90_000 + seed)
