"""Nested embeddings: how much does the first quarter of an embedding retrieve alone?"""

from __future__ import annotations

import torch

from medvlp.core.encoded import unit
from medvlp.objectives.clip import Clip
from medvlp.objectives.matryoshka import Matryoshka
from tests.benchmarks.toys._pair_world import Pairs, Towers, pairs, recall, trained

CLAIM = "The first quarter of an embedding retrieves better after nested losses than after CLIP's own."
BETTER, WORSE = "matryoshka", "clip"


def toy(seed: int) -> dict[str, float]:
    """Recall at 1 among 500 held-out pairs by 4 of 16 numbers, and by all of them, after 600 steps of 32 pairs."""
    data, held_out = pairs(4000, seed), pairs(500, 500 + seed)
    scores = {}
    for name, objective in (("matryoshka", Matryoshka(halvings=2, positives="own")), ("clip", Clip(positives="own"))):
        towers = trained(objective, data, seed=seed, steps=600, batch=32)
        scores |= {name: _short(towers, held_out), f"{name}, whole": recall(towers, held_out)}
    return scores


@torch.no_grad()
def _short(towers: Towers, data: Pairs) -> float:
    image, text = (unit(rows[:, :4]) for rows in towers.embed(data))
    return float(((image @ text.T).argmax(dim=1) == torch.arange(len(image))).float().mean())
