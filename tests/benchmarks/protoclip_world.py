"""ProtoCLIP against CLIP on a synthetic world of forty classes, over seeds; one JSON line.

    python tests/benchmarks/protoclip_world.py [--seeds 0 1 2 3] [--clusters 80 40 10]

Image and text of a sample share the code of their class and a code of their own; the rest is private noise. Small
networks are trained by the real trainer: CLIP alone, and CLIP with prototypes (with back translation, and direct) after
a first episode without. Judged on held-out samples: class of the nearest neighbours among training images, agreement of
k-means with the classes (NMI), and class of the nearest mean text. It proves the machinery, nothing of patients.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import print_report
from torch import Tensor, nn

from medvlp.core import Batch, Column, Encoded, FeatureTable, Key, Model
from medvlp.core.encoded import unit
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import Objective, Site, State
from medvlp.core.registry import build
from medvlp.features.feature_pass import feature_pass
from medvlp.features.kmeans import kmeans
from medvlp.models._draws import seeded
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.scale import ScaleOptions
from medvlp.text.tokenizers import TokenBatch, pad_batch
from medvlp.training.optimisation import OptimiserOptions
from medvlp.training.options import TrainingOptions
from medvlp.training.phases import PhasePlan, Refresh
from medvlp.training.precision import Precision
from medvlp.training.setup import Setup
from medvlp.training.task import make_plan
from medvlp.training.trainer import Trainer

CLASSES, TRAIN, TEST, WIDTH = 40, 4000, 1500, 64
BATCH, EPISODE, EPISODES = 32, 1920, 12


@dataclass(frozen=True)
class World:
    """Samples of one seed, training ones first; `image` and `text` are (N, 64), `label` is (N,)."""

    image: Tensor
    text: Tensor
    label: Tensor

    @classmethod
    def of(cls, seed: int) -> World:
        """Draw x = tanh([class code, half the sample's code, noise] W / 6); images have twice the noise of texts."""
        draw = np.random.default_rng(seed)
        classes, n = draw.normal(size=(CLASSES, 16)), TRAIN + TEST
        label, own = draw.integers(CLASSES, size=n), draw.normal(size=(n, 16))
        made = []
        for noise in (2.0, 1.0):
            mixed = np.concatenate([classes[label], 0.5 * own, noise * draw.normal(size=(n, 16))], axis=1)
            made.append(torch.from_numpy(np.tanh(mixed @ draw.normal(size=(48, WIDTH)) / 6)).float())
        return cls(made[0], made[1], torch.from_numpy(label))


class Numbers:
    """A text is the number of a row in the world's table."""

    name, identity, vocab_size, max_length, pad_id = "numbers", "numbers", TRAIN + TEST, 8, 0

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        return pad_batch([[int(text or 0)] for text in texts], pad_id=0, truncated=0)

    def save(self, folder: str | Path) -> None:
        raise NotImplementedError


class Vectors(TextEncoder):
    """64-128-128: an image is its vector, a text the vector of its number."""

    def __init__(self, kind: str, table: Tensor) -> None:
        super().__init__(words=Numbers())
        self.kinds = (kind,)
        self.width = self.token_width = 128
        self._table = table
        self.net = nn.Sequential(nn.Linear(WIDTH, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())

    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode rows."""
        rows = values.flatten(1) if values.is_floating_point() else self._table[values[:, 0]]
        return Encoded(owner=torch.arange(len(rows)), pooled=self.net(rows))

    def sites(self) -> Mapping[str, Site]:
        """None."""
        return {}


def batch_of(world: World, places: np.ndarray, indices: np.ndarray) -> Batch:
    """Samples by index, at places of the stream."""
    owner = torch.arange(len(indices))
    columns = {
        "image": Column(world.image[indices].reshape(-1, 1, 8, 8), owner),
        "text": Column(tuple(map(str, indices.tolist())), owner),
    }
    return Batch(tuple(map(str, indices.tolist())), torch.from_numpy(places), columns)


def trained(world: World, seed: int, objectives: Sequence[Mapping[str, Any]], clusters: int) -> Model:
    """Train; without objectives beside CLIP it is CLIP for all episodes."""
    with seeded(seed, "towers"):
        towers = {"image": Vectors("image", world.text), "text": Vectors("text", world.text)}
    model = TowerModel(
        towers=towers,
        embed_dim=64,
        vocab_size=None,
        options={
            "projection": {"bias": True},
            "heads": {},
            "scale": ScaleOptions(),
            "banks": {},
            "seed": seed,
            "where": "model",
        },
    )
    states: dict[str, State] = {}
    if objectives:
        states["clusters"] = build("state", {"name": "clusters", "clusters": clusters, "seed": seed}, where="states")
    clip = {"clip": build("objectives", {"name": "clip", "positives": "own"}, where="clip")}
    both: dict[str, Objective] = {**clip, **{str(o["name"]): build("objectives", o, where="") for o in objectives}}
    heads = {name: head for part in both.values() for name, head in part.heads().items()}
    needs = frozenset[Key]().union(*(state.refresh_needs() for state in states.values()))
    model.mount(heads, Plan.of(make_plan(both, states).needs | needs))
    stream = np.concatenate(
        [np.random.default_rng((seed, epoch)).permutation(TRAIN) for epoch in range(1 + EPISODES * EPISODE // TRAIN)]
    )

    def batches(start: int) -> Iterator[Batch]:
        for first in range(start, len(stream) - BATCH, BATCH):
            yield batch_of(world, np.arange(first, first + BATCH), stream[first : first + BATCH])

    def episode(first: int, last: int) -> Iterator[Batch]:
        places = first + np.sort(np.unique(stream[first:last], return_index=True)[1])
        for part in np.array_split(places, 4):
            yield batch_of(world, part, stream[part])

    def features(model: Model, needs: frozenset[Key], given: Iterable[Batch] | None) -> FeatureTable:
        assert given is not None
        return feature_pass(model, given, needs)

    # The rate of the source's toy: no warm-up, no decay of the rate.
    optimiser = OptimiserOptions(
        rate=1e-3,
        warmup=0,
        schedule="constant",
        weight_decay=0.05,
        betas=(0.9, 0.999),
        clip=10.0,
        no_decay=["*proto*"] if objectives else [],  # CLIP alone has no prototypes
    )
    refresh = (Refresh(state="clusters", every=EPISODE, over="episode"),) if objectives else ()
    ends = [(EPISODE, clip, ()), (EPISODES * EPISODE, both, refresh)]
    phases = [
        PhasePlan(
            until=until,
            objectives=chosen,
            weights=dict.fromkeys(chosen, 1.0),
            optimiser=optimiser,
            batches=batches,
            episode=episode,
            refresh=passes,
        )
        for until, chosen, passes in ends
    ]
    with tempfile.TemporaryDirectory() as folder:
        rarely = 10**9
        options = TrainingOptions(batch=BATCH, validate_every=rarely, checkpoint_every=rarely, log_every=EPISODE)
        setup = Setup(
            run=Path(folder) / "run",
            model=model,
            states=states,
            phases=phases,
            options=options,
            seed=seed,
            precision=Precision("cpu", torch.float32, "fixed"),
            recipe="world",
            feature_pass=features,
        )
        Trainer(setup).fit()
    return model


def judged(world: World, model: Model) -> dict[str, float]:
    """kNN, NMI and zero-shot of the held-out images."""
    from sklearn.metrics import normalized_mutual_info_score

    every = np.arange(TRAIN + TEST)
    batches = (batch_of(world, part, part) for part in np.array_split(every, 10))
    table = feature_pass(model, batches, keys("image/embedding", "text/embedding"))
    image, text = (torch.from_numpy(table[f"{view}/embedding"]) for view in ("image", "text"))
    known, asked, truth = image[:TRAIN], image[TRAIN:], world.label[TRAIN:]
    near = world.label[:TRAIN][(asked @ known.T).topk(20).indices]
    votes = torch.stack([(near == c).sum(1) for c in range(CLASSES)], dim=1).argmax(1)
    means = unit(torch.stack([text[:TRAIN][world.label[:TRAIN] == c].mean(0) for c in range(CLASSES)]))
    found = kmeans(asked, CLASSES, spherical=True, iterations=50, restarts=5)
    return {
        "knn": float((votes == truth).float().mean()),
        "nmi": float(normalized_mutual_info_score(truth.numpy(), found.labels.numpy())),
        "zero_shot": float(((asked @ means.T).argmax(1) == truth).float().mean()),
    }


def main() -> None:
    """Run all arms over the seeds and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    arguments.add_argument("--clusters", type=int, nargs="+", default=[80, 40, 10])
    asked = arguments.parse_args()
    proto = {"name": "protoclip", "hidden": 128, "width": 32}
    arms: dict[str, tuple[list[dict[str, Any]], int]] = {"clip": ([], 0)}
    for k in asked.clusters:
        arms[f"pbt_{k}"] = ([proto], k)
        arms[f"direct_{k}"] = ([{**proto, "back_translation": False}], k)
    arms[f"pbt_layer_norm_{asked.clusters[0]}"] = ([{**proto, "norm": "layer"}], asked.clusters[0])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    begin = time.perf_counter()
    for seed in asked.seeds:
        world = World.of(seed)
        for name, (objectives, clusters) in arms.items():
            found[name].append(judged(world, trained(world, seed, objectives, clusters)))
    metrics = ("knn", "nmi", "zero_shot")
    first = f"pbt_{asked.clusters[0]}"
    print_report(
        "protoclip_world",
        n={"seeds": len(asked.seeds), "train": TRAIN, "test": TEST, "classes": CLASSES},
        packages=("torch", "numpy", "scikit-learn"),
        synthetic=True,
        chance={"knn": 1 / CLASSES, "zero_shot": 1 / CLASSES},
        mean={n: {m: round(statistics.fmean(r[m] for r in runs), 4) for m in metrics} for n, runs in found.items()},
        sd={n: {m: round(_sd([r[m] for r in runs]), 4) for m in metrics} for n, runs in found.items()},
        seeds_won_by_first_pbt={
            m: sum(a[m] > b[m] for a, b in zip(found[first], found["clip"], strict=True)) for m in metrics
        },
        each={n: [{m: round(r[m], 4) for m in metrics} for r in runs] for n, runs in found.items()},
        seconds_a_run=round((time.perf_counter() - begin) / (len(arms) * len(asked.seeds)), 1),
    )


def _sd(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
