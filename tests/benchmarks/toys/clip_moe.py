"""CLIP-MoE (Zhang et al. 2024): a second stage within clusters, where the plain attribute of a pair helps no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.data.manifest import Manifest
from medvlp.data.samplers._order import order
from medvlp.data.samplers.within import Within
from medvlp.models._draws import RowDraws
from medvlp.models.scale import LogitScale
from medvlp.models.surgery.upcycle import Experts
from medvlp.objectives.clip import Clip
from medvlp.state.mcl import Mcl

CLAIM = (
    "An expert trained within the first stage's clusters tells apart what that stage ignored; one on all pairs less."
)
BETTER, WORSE = "within clusters", "all pairs"

PLAIN, FAINT, SEEN, SIZE = 8, 16, 48, 32
FIRST, SECOND = 60, 80


class Tower(nn.Module):
    """Three layers, the middle one a residual MLP that becomes experts."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(SEEN, 64), nn.Linear(64, 16)
        self.mlp: nn.Module = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))

    def forward(self, values: Tensor) -> Tensor:
        """Return unit rows."""
        tokens = self.enter(values)[:, None]
        return unit(self.leave((tokens + self.mlp(tokens))[:, 0]))

    def upcycle(self) -> list[nn.Parameter]:
        """Put a second expert to work; return its parameters."""
        import copy

        networks = [self.mlp, copy.deepcopy(self.mlp)]
        self.mlp = Experts(networks, top=None, width=64, draws=RowDraws(), site="mlp")
        return list(networks[1].parameters())


def toy(seed: int) -> dict[str, float]:
    """Return how often the nearest unseen text of the same plain attribute has an image's faint one; chance is 1/16."""
    draw = torch.Generator().manual_seed(seed)
    world = {view: torch.randn(PLAIN + FAINT, SEEN, generator=draw) for view in ("image", "text")}
    data, test = _pairs(3000, world, draw), _pairs(600, world, draw)
    found = {}
    for name in ("within clusters", "all pairs"):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            towers = nn.ModuleDict({view: Tower() for view in ("image", "text")})
        scale = LogitScale()
        everything = [*towers.parameters(), *scale.parameters()]
        rows = _uniform(len(data["image"]), seed)
        _train(towers, scale, data, everything, rows, FIRST)
        found["first stage"] = _faint(towers, test)
        if name == "within clusters":
            rows = _within(towers, data, seed)
        experts = [p for tower in towers.values() for p in tower.upcycle()]  # type: ignore[operator]
        _train(towers, scale, data, experts, rows, SECOND)
        found[name] = _faint(towers, test)
    return found


def _pairs(count: int, world: dict[str, Tensor], draw: torch.Generator) -> dict[str, Tensor]:
    plain, faint = torch.randint(PLAIN, (count,), generator=draw), torch.randint(FAINT, (count,), generator=draw)
    pairs = {"plain": plain, "faint": faint}
    for view, mixer in world.items():
        noise = 0.5 * torch.randn(count, SEEN, generator=draw)
        pairs[view] = torch.tanh(2 * mixer[plain] + 0.5 * mixer[PLAIN + faint] + noise)
    return pairs


def _uniform(count: int, seed: int) -> Tensor:
    """Return which samples each step of both stages sees, (steps, SIZE)."""
    every = [order(count, seed=seed, epoch=epoch) for epoch in range(1 + max(FIRST, SECOND) * SIZE // count)]
    return torch.from_numpy(np.concatenate(every)[: max(FIRST, SECOND) * SIZE]).view(-1, SIZE)


def _within(towers: nn.ModuleDict, data: dict[str, Tensor], seed: int) -> Tensor:
    ids = [f"s{i}" for i in range(len(data["image"]))]
    with torch.no_grad():
        features = {f"{view}/embedding": towers[view](data[view]).numpy() for view in ("image", "text")}
    mcl = Mcl(seed=seed)
    mcl.refresh(FeatureTable(ids, features))
    manifest = Manifest.of({"id": ids, "text": [""] * len(ids)}, root=Path())
    sampler = Within(state="mcl", manifest=manifest, seed=seed, batch=SIZE, states={"mcl": mcl})
    return torch.from_numpy(sampler.indices(0, SECOND * SIZE)).view(-1, SIZE)


def _train(
    towers: nn.ModuleDict,
    scale: LogitScale,
    data: dict[str, Tensor],
    trained: list[nn.Parameter],
    rows: Tensor,
    steps: int,
) -> None:
    optimiser, objective = torch.optim.AdamW(trained, lr=1e-3), Clip(positives="own", label_smoothing=0.1)
    for step in range(steps):
        owner = torch.arange(SIZE)
        parts = {
            parse_key(f"{view}/embedding"): Part(towers[view](data[view][rows[step]]), owner)
            for view in ("image", "text")
        }
        ctx = Context(parts=parts, batch=Batch(tuple(map(str, range(SIZE))), owner, {}), scale=scale)
        loss = torch.stack([term.value() for term in objective(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def _faint(towers: nn.ModuleDict, data: dict[str, Tensor]) -> float:
    image, text = (towers[view](data[view]) for view in ("image", "text"))
    scores = (image @ text.T).masked_fill(data["plain"][:, None] != data["plain"][None, :], -2.0)
    scores.fill_diagonal_(-2.0)  # of another sample
    return float((data["faint"][scores.argmax(dim=1)] == data["faint"]).float().mean())
