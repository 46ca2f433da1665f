"""Long-CLIP (Zhang et al. 2024): reports of which most stands behind the place where the text tower stopped reading."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.encoders.transformer import TextTransformer
from medvlp.models.scale import LogitScale
from medvlp.models.surgery.stretch_positions import StretchPositions
from medvlp.objectives.clip import Clip
from medvlp.objectives.long_clip import LongClip
from tests.models.words import HashWords

CLAIM = "On long reports a text tower with stretched positions finds more of them by image than one that cuts them."
BETTER, WORSE = "stretched", "cut"

SAID, VALUES, MAIN, FILLERS, READ = 10, 4, 2, 40, 16  # each statement has four words, one of which counts
SHORT, LONG, SIZE = 120, 160, 64


class Towers(nn.Module):
    """A perceptron for images, a transformer for texts."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            words = HashWords(vocab_size=SAID * VALUES + FILLERS, max_length=READ)
            self.text = TextTransformer(words=words, width=32, layers=1, heads=2, mlp_ratio=2.0)
            self.image = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32))
        self.scale = LogitScale()

    def read(self, ids: Tensor) -> Tensor:
        """Return unit rows of texts, which are cut where the tower stops."""
        rows = self.text(ids[:, : self.text.words.max_length], parts=frozenset({"pooled"}))
        return unit(rows.part("pooled"))


def toy(seed: int) -> dict[str, float]:
    """Return recall at 1 among 400 unseen reports, after 120 steps on summaries and 160 on reports."""
    draw = torch.Generator().manual_seed(seed)
    mixer = torch.randn(SAID * VALUES, 64, generator=draw)
    mixer[: MAIN * VALUES] *= 2  # what a summary names is most of what images differ in
    data, test = _pairs(3000, mixer, draw), _pairs(400, mixer, draw)
    found = {}
    for name in ("stretched", "cut", "stretched, long text only"):
        towers = Towers(seed)
        _train(towers, data, Clip(text="text.short"), SHORT, seed)
        if name != "cut":
            StretchPositions(keep=4, ratio=4)(SimpleNamespace(towers={"text": towers.text}))  # type: ignore[arg-type]
        objective = Clip(positives="own") if "only" in name else LongClip(components=16)
        _train(towers, data, objective, LONG, seed)
        found[name] = _recall(towers, test)
    return found


def _pairs(count: int, mixer: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
    """Images, reports (N, 40) of ten statements, and summaries of the main two."""
    values = torch.randint(VALUES, (count, SAID), generator=draw)
    words = values + VALUES * torch.arange(SAID)
    seen = torch.nn.functional.one_hot(words, SAID * VALUES).sum(dim=1).float() @ mixer
    report = torch.randint(FILLERS, (count, SAID, 4), generator=draw) + SAID * VALUES
    report[:, :, 2] = words
    noise = torch.randn(count, 64, generator=draw)
    return {"image": torch.tanh((seen + noise) / 4), "text": report.flatten(1), "text.short": words[:, :MAIN]}


def _train(towers: Towers, data: dict[str, Tensor], objective: Any, steps: int, seed: int) -> None:
    optimiser = torch.optim.AdamW(towers.parameters(), lr=3e-3, weight_decay=1e-3)
    draw = torch.Generator().manual_seed(seed)
    needed = sorted({key.view for key in objective.needs() if key.part})  # in one order, that a seed repeats
    for _ in range(steps):
        rows = torch.randperm(len(data["image"]), generator=draw)[:SIZE]
        owner = torch.arange(SIZE)
        shown = {view: (towers.image if view == "image" else towers.read)(data[view][rows]) for view in needed}
        parts = {parse_key(f"{view}/embedding"): Part(unit(rows), owner) for view, rows in shown.items()}
        words = {view: [str(each) for each in data[view][rows].tolist()] for view in ("text", "text.short")}
        ctx = Context(parts=parts, batch=Batch.of(words), scale=towers.scale)
        loss = torch.stack([term.value() for term in objective(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def _recall(towers: Towers, data: dict[str, Tensor]) -> float:
    image, text = unit(towers.image(data["image"])), towers.read(data["text"])
    return float(((image @ text.T).argmax(dim=1) == torch.arange(len(image))).float().mean())
