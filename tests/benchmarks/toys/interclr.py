"""Pictures of ten kinds without labels: members of a cluster as positives, with a loose or a strict margin."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.interclr import InterClr
from medvlp.state.clusters import Clusters
from medvlp.state.queue import Queue

CLAIM = (
    "A loose margin and semi-hard negatives beat a strict margin, the hardest negatives and MoCo (nearest neighbours)."
)
BETTER, WORSE = "loose", "strict"
KEY, BATCH, STEPS = "ema:image.second/interclr", 32, 500
OPTIONS = {
    "loose": {"inter": 0.75, "margin": -0.5, "nearest": 128, "negatives": 32},
    "strict": {"inter": 0.75, "margin": 0.5, "nearest": 128, "negatives": 32},
    "hardest": {"inter": 0.75, "margin": -0.5, "nearest": 32, "negatives": 32},
    "moco": {"inter": 0.0},
}


def world(count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return (N, 24) pictures and their kinds: ten places, spread along half of the axes, and noise along the rest."""
    kinds = torch.randint(10, (count,), generator=draws)
    places = 1.2 * torch.randn(10, 12, generator=torch.Generator().manual_seed(3))
    spread = torch.randn(count, 12, generator=draws)
    return torch.cat([places[kinds] + spread, 1.5 * torch.randn(count, 12, generator=draws)], dim=1), kinds


def toy(seed: int) -> dict[str, float]:
    """Accuracy of the nearest of 1,000 training neighbours for 500 others."""
    draws = torch.Generator().manual_seed(seed)
    (data, kinds), (held_out, truth) = world(1000, draws), world(500, draws)
    found = {}
    for name, options in OPTIONS.items():
        tower = _trained(InterClr(**options), data, seed)
        with torch.no_grad():
            near = (unit(tower(held_out)) @ unit(tower(data)).T).topk(5, dim=1).indices
        found[name] = float((kinds[near].mode(dim=1).values == truth).float().mean())
    return found


def _trained(objective: InterClr, data: Tensor, seed: int) -> nn.Module:
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 16))
    teacher, optimiser = copy.deepcopy(tower), torch.optim.Adam(tower.parameters(), lr=2e-3)
    clusters = Clusters(reads=["image/interclr"], clusters=20, spherical=True, restarts=1)
    queue = Queue(reads=[KEY], size=512)
    for step in range(STEPS):
        if step % 100 == 0:
            with torch.no_grad():
                rows = teacher(data).numpy()
            clusters.refresh(FeatureTable([str(i) for i in range(len(data))], {"image/interclr": rows}))
        chosen, owner = torch.randint(len(data), (BATCH,), generator=draws), torch.arange(BATCH)
        looks = [data[chosen] + 0.7 * torch.randn(BATCH, 24, generator=draws) for _ in range(2)]
        with torch.no_grad():
            taught = teacher(looks[1])
        parts = {parse_key("image/interclr"): Part(tower(looks[0]), owner), parse_key(KEY): Part(taught, owner)}
        batch = Batch(tuple(str(i) for i in range(BATCH)), step * BATCH + owner, {})
        ctx = Context(parts=parts, batch=batch, states={"clusters": clusters, "queue": queue}, seed=seed)
        queue.observe(ctx)
        loss = torch.stack([term.value() for term in objective(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        queue.after_step(tower, 0)
        with torch.no_grad():
            for own, new in zip(teacher.parameters(), tower.parameters(), strict=True):
                own.lerp_(new, 0.02)
    return tower
