"""Two coloured things, left and right; a false caption exchanges their colours. Some things are fine-tuned on."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.clip import Clip
from medvlp.objectives.degla import Degla

CLAIM = "Fine-tuned on captions and false copies, DeGLA tells exchanged attributes apart better than CLIP."
BETTER, WORSE = "degla", "clip"
THINGS, COLOURS, WIDTH, BATCH = 12, 6, 48, 64


class Towers(nn.Module):
    """Images are sums of what is seen at each place, with noise; captions are four words in their order."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.image = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, 32))
        self.words = nn.Embedding(THINGS + COLOURS, 16)
        self.text = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 32))

    def encode(self, image: Tensor, *texts: Tensor) -> list[Tensor]:
        return [F.normalize(self.image(image)), *(F.normalize(self.text(self.words(t).flatten(1))) for t in texts)]


def toy(seed: int) -> dict[str, float]:
    found = run(seed)
    return {BETTER: found["degla"][0], WORSE: found["clip"][0]}


def run(seed: int) -> dict[str, tuple[float, float]]:
    """Return (accuracy against exchanged colours, zero-shot accuracy on the things left out of fine-tuning)."""
    world = torch.randn(2, THINGS, COLOURS, WIDTH, generator=torch.Generator().manual_seed(seed))
    first = Towers(seed)
    _train(first, world, seed, steps=400, things=range(THINGS), objective=None)
    found = {}
    for name, weights in (("clip", None), ("degla", {}), ("degla without teacher", {"distillation": 0.0})):
        model = copy.deepcopy(first)
        objective = None if weights is None else Degla(**weights)
        _train(model, world, seed + 1, steps=300, things=range(THINGS // 2), objective=objective)
        found[name] = (_exchanged(model, world, seed), _zero_shot(model, world, seed))
    return found


def _drawn(world: Tensor, count: int, things: range, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their captions (colour, thing, colour, thing) and those with the colours exchanged."""
    thing = torch.randint(things.start, things.stop, (count, 2), generator=draw)
    colour = torch.randint(COLOURS, (count, 2), generator=draw)
    colour[:, 1] = (colour[:, 0] + 1 + colour[:, 1] % (COLOURS - 1)) % COLOURS  # another one
    image = world[0, thing[:, 0], colour[:, 0]] + world[1, thing[:, 1], colour[:, 1]]
    image = image + 4.0 * torch.randn(image.shape, generator=draw)
    text = torch.stack([THINGS + colour[:, 0], thing[:, 0], THINGS + colour[:, 1], thing[:, 1]], dim=1)
    return image, text, text[:, [2, 1, 0, 3]]


def _train(model: Towers, world: Tensor, seed: int, *, steps: int, things: range, objective: Degla | None) -> None:
    draw, teacher = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3 if len(things) == THINGS else 1e-3)
    for _ in range(steps):
        views = _drawn(world, BATCH, things, draw)
        parts = {
            parse_key(f"{who}{view}/embedding"): Part(rows, torch.arange(BATCH))
            for who, encoded in (("", model.encode(*views)), ("ema:", teacher.encode(*views)))
            for view, rows in zip(("image", "text", "text.negative"), encoded, strict=True)
        }
        words = [str(row) for row in views[1].tolist()]
        ctx = Context(parts=parts, batch=Batch.of({"text": words}), scale=_Ten())
        loss = sum(term.value() for term in (objective or Clip())(ctx).values())
        optimiser.zero_grad()
        torch.as_tensor(loss).backward()
        optimiser.step()
        with torch.no_grad():
            for own, student in zip(teacher.parameters(), model.parameters(), strict=True):
                own.lerp_(student, 0.002)


class _Ten(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return 10 * scores


@torch.no_grad()
def _exchanged(model: Towers, world: Tensor, seed: int) -> float:
    """How often a new image of the things of fine-tuning is nearer to its caption than to the exchanged one."""
    v, t, n = model.encode(*_drawn(world, 2000, range(THINGS // 2), torch.Generator().manual_seed(seed + 7)))
    return ((v * t).sum(dim=1) > (v * n).sum(dim=1)).double().mean().item()


@torch.no_grad()
def _zero_shot(model: Towers, world: Tensor, seed: int) -> float:
    """Accuracy for the first thing of images of the other things, among captions with each of these in its place."""
    image, text, _ = _drawn(world, 1000, range(THINGS // 2, THINGS), torch.Generator().manual_seed(seed + 8))
    scores = []
    for thing in range(THINGS // 2, THINGS):
        asked = text.clone()
        asked[:, 1] = thing
        v, t = model.encode(image, asked)
        scores.append((v * t).sum(dim=1))
    return torch.stack(scores, dim=1).argmax(dim=1).eq(text[:, 1] - THINGS // 2).double().mean().item()
