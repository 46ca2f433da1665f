"""Pairs of two modalities made of one hidden cause, and small towers that learn which belong together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Objective, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key

Pairs = tuple[Tensor, Tensor]


def pairs(count: int, seed: int, *, causes: int = 8, width: int = 24, noise: float = 0.3, world: int = 0) -> Pairs:
    """Return (N, width) pictures and texts: two fixed maps of N hidden causes, with noise of their own."""
    fixed, draws = (torch.Generator().manual_seed(s) for s in (world, 1000 + seed))
    hidden = torch.randn(count, causes, generator=draws)
    maps = [torch.randn(causes, width, generator=fixed) * causes**-0.5 for _ in range(2)]
    seen = [torch.tanh(2 * hidden @ each) + noise * torch.randn(count, width, generator=draws) for each in maps]
    return seen[0], seen[1]


class Towers(nn.Module):
    """Two networks with one hidden layer, and a learned logit scale."""

    def __init__(self, *, seed: int, width: int = 24, embed_dim: int = 16, scale: float = 10.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            towers = [nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, embed_dim)) for _ in range(2)]
        self.image, self.text = towers
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    def scaled(self, scores: Tensor) -> Tensor:
        """Scale scores."""
        return self.log_scale.clamp(max=4.6).exp() * scores

    def embed(self, pairs: Pairs) -> Pairs:
        """Return unit rows of both."""
        return unit(self.image(pairs[0])), unit(self.text(pairs[1]))


class _Scale(nn.Module):
    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = (towers,)

    def forward(self, scores: Tensor) -> Tensor:
        return self.towers[0].scaled(scores)


def loss_of(objective: Objective, towers: Towers, batch: Pairs, *, seen: int = 0) -> Tensor:
    """Return the sum of an objective's terms on a batch of pairs, each of its own report."""
    count, owner = len(batch[0]), torch.arange(len(batch[0]))
    parts = {
        parse_key(f"{view}/embedding"): Part(rows, owner)
        for view, rows in zip(("image", "text"), towers.embed(batch), strict=True)
    }
    samples = Batch(tuple(map(str, range(count))), owner, {})
    ctx = Context(parts=parts, batch=samples, scale=_Scale(towers), samples_seen=seen)
    return torch.stack([term.value() for term in objective(ctx).values()]).sum()


def trained(objective: Objective, data: Pairs, *, seed: int, steps: int, batch: int, rate: float = 2e-3) -> Towers:
    """Train towers on pairs, drawn with replacement."""
    towers, draws = Towers(seed=seed), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(towers.parameters(), lr=rate)
    for step in range(steps):
        chosen = torch.randint(len(data[0]), (batch,), generator=draws)
        loss = loss_of(objective, towers, (data[0][chosen], data[1][chosen]), seen=step * batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return towers


@torch.no_grad()
def recall(towers: Towers, data: Pairs) -> float:
    """Return the share of pictures whose nearest text is their own."""
    image, text = towers.embed(data)
    return float(((image @ text.T).argmax(dim=1) == torch.arange(len(image))).float().mean())


def scores(
    objectives: dict[str, Objective], data: Pairs, held_out: Pairs, judge: Callable[[Towers, Pairs], float], **run: int
) -> dict[str, float]:
    """Train each objective alike and judge it on held-out pairs."""
    return {name: judge(trained(each, data, **run), held_out) for name, each in objectives.items()}
