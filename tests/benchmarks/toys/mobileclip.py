"""MobileCLIP's stored teachers (Vasu et al. 2024): few samples, four replayable noises of each, a teacher of many."""

from __future__ import annotations

import torch

from medvlp.core import Batch, Context, FeatureTable
from medvlp.core.encoded import unit
from medvlp.core.keys import Plan, keys
from medvlp.core.parts import collect_parts
from medvlp.objectives.affinity_mimicking import AffinityMimicking
from medvlp.objectives.clip import Clip
from medvlp.state.stored import Stored
from tests.benchmarks.toys._taught import CLASSES, Towers, World, parts_of, train, zero_shot

CLAIM = "With rows that a teacher stored, a student of few samples is nearer to the truth than with the pairs alone."
BETTER, WORSE = "stored", "clip"

SAMPLES, REPLAYS, STEPS = 120, 4, 150


def toy(seed: int) -> dict[str, float]:
    """Return zero-shot accuracy on unseen pairs of students of 120 samples, and of the teacher of 4,000."""
    world, draw = World.of(seed), torch.Generator().manual_seed(seed)
    many, few = torch.arange(4000) % CLASSES, torch.arange(SAMPLES) % CLASSES
    teacher = train(
        Towers(seed, hidden=256), world.pairs(many, draw), [(Clip(positives="own"), 1.0)], steps=500, seed=seed
    )
    content = world.contents(few, draw)
    replays = [{kind: world.shown(kind, content, draw) for kind in world.mixers} for _ in range(REPLAYS)]
    store = Stored(teacher="large")
    with torch.no_grad():
        rows = {v: torch.cat([unit(teacher(v, each[v])) for each in replays]).numpy() for v in world.mixers}
    names = [f"{number} noise" for number in range(REPLAYS) for _ in range(SAMPLES)]
    columns = {**{f"large:{view}/embedding": values for view, values in rows.items()}, "id.replay": names}
    store.refresh(FeatureTable([str(i) for i in range(SAMPLES)] * REPLAYS, columns))
    test = world.pairs(many[:1000], draw)
    mimicking = AffinityMimicking(teachers=["stored"], teacher_scale=30.0, own=0.25, positives="own")
    students = {name: Towers(seed, hidden=48) for name in ("stored", "clip")}
    _train(students["stored"], mimicking, replays, store, seed)
    _train(students["clip"], Clip(positives="own"), replays, store, seed)
    return {name: zero_shot(each, test, many[:1000]) for name, each in {"teacher": teacher, **students}.items()}


def _train(towers: Towers, objective: Clip | AffinityMimicking, replays: list, store: Stored, seed: int) -> None:
    optimiser = torch.optim.AdamW(towers.parameters(), lr=3e-3, weight_decay=1e-3)
    draw, plan = torch.Generator().manual_seed(seed), Plan.of(keys("image/embedding", "text/embedding"))
    for _ in range(STEPS):
        rows = torch.randperm(SAMPLES, generator=draw)[:48]
        number = torch.randint(REPLAYS, (48,), generator=draw)
        views = {view: torch.stack([each[view] for each in replays])[number, rows] for view in ("image", "text")}
        words = {"text": [""] * 48, "id.replay": [f"{each} noise" for each in number.tolist()]}
        batch = Batch(tuple(str(row) for row in rows.tolist()), rows, {**Batch.of({**views, **words}).columns})
        parts = parts_of(towers, views) | collect_parts(store.encode(batch, plan), plan.views, who="stored")
        terms = objective(Context(parts=parts, batch=batch, scale=towers.scale))
        optimiser.zero_grad()
        sum(term.value() for term in terms.values()).backward()
        optimiser.step()
        towers.scale.after_step(0)
