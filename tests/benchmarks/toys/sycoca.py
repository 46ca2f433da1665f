"""SyCoCa (Ma et al. 2024): to draw again what the words name teaches more than to draw again what chance hides."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Batch
from medvlp.core.keys import Key, Plan
from medvlp.core.registry import build
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.build import build_model
from medvlp.state.attentive_mask import AttentiveMask
from medvlp.training.task import Task
from tests.benchmarks.toys._blind import SPEC
from tests.models.words import HashWords
from tests.training.world import FLOAT32

CLAIM = "Of few pictures of two objects attentive masks give better retrieval of unseen ones than masks by chance."
BETTER, WORSE = "attentive", "chance"
KINDS, CELL, CELLS, BATCH = 8, 4, 16, 32
NAMES = ("disc", "square", "cross", "ring", "bar", "wedge", "spot", "comb")


def pictures(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """Draw (N, 1, 16, 16) noise with an object of each of (N, 2) kinds, a pattern of 4 x 4 pixels in a cell."""
    patterns = torch.rand(KINDS, CELL, CELL, generator=torch.Generator().manual_seed(99)) > 0.5
    cells = 0.15 * torch.rand(len(kinds), CELLS, CELL, CELL, generator=generator)
    places = torch.rand(len(kinds), CELLS, generator=generator).argsort(dim=1)[:, : kinds.shape[1]]
    cells[torch.arange(len(kinds))[:, None], places] += 0.8 * patterns[kinds]
    return cells.view(-1, 4, 4, CELL, CELL).permute(0, 1, 3, 2, 4).reshape(-1, 1, 16, 16)


def captions(kinds: Tensor) -> list[str]:
    """Return the names of the objects in a picture, in the order of the alphabet."""
    return [" ".join(sorted(NAMES[i] for i in row)) for row in kinds.tolist()]


def drawn(count: int, generator: torch.Generator) -> Tensor:
    """Draw the two kinds of each of so many pictures, (N, 2)."""
    return torch.rand(count, KINDS, generator=generator).argsort(dim=1)[:, :2]


def trained(seed: int, by: str | None, *, samples: int = 48, steps: int = 300) -> TowerModel:
    """Train on some pictures over and over: by CLIP and CoCa's captions alone, or with masks of a kind as well."""
    torch.manual_seed(seed)
    spec = {**SPEC, "vision": {**SPEC["vision"], "pool": "avg"}}
    model = build_model(spec, tokenizer=HashWords(), seed=seed)
    assert isinstance(model, TowerModel)
    writer = {"width": 32, "layers": 1, "heads": 2}
    second = {"name": "caption", **writer} if by is None else {"name": "sycoca", "keep": 0.5, "side": CELL, **writer}
    objectives = {
        "pairs": build("objectives", {"name": "clip", "positives": "same_report"}, where="toy"),
        "writing": build("objectives", second, where="toy"),
    }
    for each in objectives.values():
        model.mount(each.heads(), Plan.of(each.needs()))
    states = {} if by is None else {"mask": AttentiveMask(ratio=0.5, by=by, model=model)}
    task = Task(model=model, objectives=objectives, states=states, seed=seed, chunks=1, precision=FLOAT32)
    optimiser = torch.optim.AdamW(task.parameters(), lr=2e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(1000 * seed)
    kinds = drawn(samples, generator)
    seen, texts = pictures(kinds, generator), captions(kinds)
    for step in range(steps):
        chosen = torch.randint(samples, (BATCH,), generator=generator)
        fields = {"image": seen[chosen], "text": [texts[i] for i in chosen.tolist()]}
        optimiser.zero_grad()
        place = BATCH * step
        task.backward(Batch.of(fields, first=place), {"pairs": 1.0, "writing": 2.0}, samples_seen=place)
        optimiser.step()
        task.after_step(place + BATCH)
    return model.eval()


@torch.no_grad()
def retrieval(model: TowerModel, seed: int, count: int = 1000) -> float:
    """Return the share of unseen pictures whose nearest caption of all pairs of kinds is their own."""
    generator = torch.Generator().manual_seed(20_000 + seed)
    kinds = drawn(count, generator)
    every = torch.combinations(torch.arange(KINDS))
    known = captions(every)
    keys = [Key("image", "embedding"), Key("text", "embedding")]
    image = model(Batch.of({"image": pictures(kinds, generator)}), Plan.of(keys[:1]))["image"].part("embedding")
    text = model(Batch.of({"text": known}), Plan.of(keys[1:]))["text"].part("embedding")
    found = (image @ text.T).argmax(dim=1)
    own = torch.tensor([known.index(each) for each in captions(kinds)])
    return float((found == own).float().mean())


def toy(seed: int) -> dict[str, float]:
    """Return the share retrieved after both kinds of masks, and after CoCa."""
    found = {
        name: retrieval(trained(seed, name if name != "attentive" else "relevance"), seed) for name in (BETTER, WORSE)
    }
    return {**found, "coca": retrieval(trained(seed, None), seed)}
