"""TinyCLIP's weight inheritance (Wu et al. 2023): half of a trained tower against as small a one that begins anew."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from medvlp.models.encoders._blocks import Trunk
from medvlp.models.scale import LogitScale
from medvlp.models.surgery._blocks import Branches
from medvlp.models.surgery.weight_inheritance import WeightInheritance
from medvlp.objectives.affinity_mimicking import AffinityMimicking
from medvlp.state.frozen import Frozen
from tests.benchmarks.toys._taught import CLASSES, SEEN, World, retrieval, train

CLAIM = (
    "After 60 steps of affinity mimicking a tower that inherited half of its teacher finds more texts than a fresh one."
)
BETTER, WORSE = "inherited", "fresh"

WIDTH, LAYERS, HEADS = 32, 4, 4


class Towers(nn.Module):
    """A transformer over four tokens for images and one for texts."""

    def __init__(self, seed: int, *, layers: int = LAYERS) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for name in ("image", "text"):
                enter, leave = nn.Linear(SEEN, 4 * WIDTH), nn.Linear(WIDTH, 16)
                trunk = Trunk(width=WIDTH, layers=layers, heads=HEADS)
                setattr(self, name, nn.ModuleDict({"enter": enter, "trunk": trunk, "leave": leave}))
        self.scale = LogitScale()

    def forward(self, view: str, values: Tensor) -> Tensor:
        """Raw embeddings of a view."""
        tower = self.get_submodule(view.partition(".")[0])
        tokens = tower.enter(values).unflatten(1, (4, WIDTH))  # type: ignore[operator]
        return tower.leave(tower.trunk(tokens, None, layers=False, attention=False).tokens.mean(dim=1))  # type: ignore[operator]

    def shrunk(self) -> Towers:
        """Return half of its blocks, and of their heads and channels."""
        small, rule = copy.deepcopy(self), WeightInheritance(kind="any", layers=LAYERS // 2)
        for name in ("image", "text"):
            blocks = small.get_submodule(f"{name}.trunk").blocks  # type: ignore[union-attr]
            stay = rule.staying(LAYERS)
            for i in reversed([i for i in range(LAYERS) if i not in stay]):
                del blocks[i]  # type: ignore[union-attr]
            for block in blocks:  # type: ignore[union-attr]
                branches = Branches(block)
                branches.select(torch.arange(HEADS // 2), torch.arange(branches.channels // 2))
        return small


def toy(seed: int) -> dict[str, float]:
    """Return recall at 1 among 600 of unseen pairs."""
    from medvlp.objectives.clip import Clip

    world, draw = World.of(seed), torch.Generator().manual_seed(seed)
    label = torch.arange(3000) % CLASSES
    data, test = world.pairs(label, draw), world.pairs(label[:600], draw)
    teacher = train(Towers(seed), data, [(Clip(positives="own"), 1.0)], steps=700, seed=seed)  # type: ignore[arg-type]
    mimicking = [(AffinityMimicking(teachers=["teacher"], positives="own"), 1.0)]
    frozen = Frozen()
    frozen._keep(copy.deepcopy(teacher))  # type: ignore[arg-type]
    fresh = Towers(seed + 1)
    fresh.scale = copy.deepcopy(teacher.scale)
    towers = {"teacher": teacher}
    for name, start in (("inherited", teacher), ("fresh", fresh)):
        towers[name] = train(start.shrunk(), data, mimicking, steps=60, seed=seed, teacher=frozen)  # type: ignore
    return {name: retrieval(each, test) for name, each in towers.items()}
