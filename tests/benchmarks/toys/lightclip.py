"""Reports that nearly say the same: a hard target takes copies for negatives."""

from __future__ import annotations

import torch

from medvlp.objectives.clip import Clip
from medvlp.objectives.lightclip import LightClip
from tests.benchmarks.toys._pair_world import Pairs, Towers, loss_of, pairs, scores

CLAIM = "Where captions come many times over, softened targets end with the lower validation loss."
BETTER, WORSE = "softened", "hard"


@torch.no_grad()
def judge(towers: Towers, held_out: Pairs) -> float:
    """Return minus CLIP's loss with own pairs as the only positives, over batches of 50."""
    parts = [(held_out[0][i : i + 50], held_out[1][i : i + 50]) for i in range(0, len(held_out[0]), 50)]
    return -float(torch.stack([loss_of(Clip(positives="own"), towers, part) for part in parts]).mean())


def toy(seed: int) -> dict[str, float]:
    """Twenty captions, each of some ten pictures, 1,000 steps of 32 pairs."""

    def copied(found: Pairs, draws: torch.Generator) -> Pairs:
        """Give each picture of a group nearly the group's caption, and nearly the group's look."""
        image, text = pairs(20, 77)
        group = torch.randint(20, (len(found[0]),), generator=draws)
        noise = [0.3 * torch.randn(len(group), 24, generator=draws) for _ in range(2)]
        return image[group] + noise[0], text[group] + 0.1 * noise[1]

    draws = torch.Generator().manual_seed(seed)
    data, held_out = copied(pairs(200, seed), draws), copied(pairs(500, 500 + seed), draws)
    objectives = {"softened": LightClip(positives="own", alpha=0.2), "hard": Clip(positives="own")}
    return scores(objectives, data, held_out, judge, seed=seed, steps=1000, batch=32)
