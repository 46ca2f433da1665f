"""ALIP (Yang et al. 2023): of 40 % of the samples the report is another one's; captions are right."""

from __future__ import annotations

import torch

from medvlp.objectives.alip import Alip
from medvlp.objectives.clip import Clip
from tests.benchmarks.toys._taught import CLASSES, Towers, World, parts_of, train, zero_shot

CLAIM = "A report of another sample gets a smaller weight than one's own."
BETTER, WORSE = "weight_of_own", "weight_of_another"

SAMPLES, SHUFFLED, STEPS = 1200, 480, 300


def toy(seed: int) -> dict[str, float]:
    """Return mean weights of the gates after training, and zero-shot accuracy with and without captions and gates."""
    world, draw = World.of(seed), torch.Generator().manual_seed(seed)
    label = torch.arange(SAMPLES) % CLASSES
    data = world.pairs(label, draw)
    data["text.caption"] = world.shown("text", world.codes[label], draw)
    wrong = torch.randperm(SAMPLES, generator=draw)[:SHUFFLED]
    data["text"][wrong] = data["text"][wrong.roll(1)]
    test = world.pairs(label, draw)
    raw, caption = Clip(positives="own"), Clip(positives="own", text="text.caption")
    gates = Alip(positives="own", horizon=640.0)
    towers = {
        "raw": train(Towers(seed), data, [(raw, 1.0)], steps=STEPS, seed=seed),
        "captions": train(Towers(seed), data, [(raw, 1.0), (caption, 1.0)], steps=STEPS, seed=seed),
        "gates": train(Towers(seed), data, [(gates, 1.0)], steps=STEPS, seed=seed),
    }
    with torch.no_grad():
        found = {key.view: part.values for key, part in parts_of(towers["gates"], data).items() if key.part != "raw"}
        v, x, c = (found[view] for view in ("image", "text", "text.caption"))
        of_text, _ = gates.weights(torch.stack([(x * c).sum(1), (x * v).sum(1), (c * v).sum(1)]))
    own = torch.ones(SAMPLES, dtype=torch.bool)
    own[wrong] = False
    scores = {name: zero_shot(each, test, label) for name, each in towers.items()}
    return {BETTER: float(of_text[own].mean()), WORSE: float(of_text[~own].mean()), **scores}
