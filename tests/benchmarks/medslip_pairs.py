"""Does MeDSLIP's intra-image contrast bind findings to places? 4 anatomies x 4 pathologies; one JSON line a run.

Run: python tests/benchmarks/medslip_pairs.py --world patches
     python tests/benchmarks/medslip_pairs.py --world phantom --cache pictures.npz

Three runs a seed, alike but for the matrix or the weight of the pairs' term:

- ``with``: all terms;  ``without``: pairs 0;  ``shuffled``: all terms, but in each training picture the places are
  exchanged among its findings, so that both marginals (which findings, which places) are as they were.

Measured on test pictures, mean over queries: ``marginal`` AUROC of existence over the 8 queries; ``pair`` AUROC of each
pair over all pictures; ``bound`` AUROC over the pairs whose finding and place are both present in a picture with at
least two of each: knowing the marginals is of no use there, and chance is 0.5. The claim is about ``bound``.

Worlds: ``patches`` is fixed and linear: 16 patches of features, a place code each, a finding's direction added on
patches of its place, noise on all. ``phantom`` renders radiographs of the synthetic thorax with one to three findings
(consolidation, nodule, atelectasis, effusion; moderate or severe) in the left or right, upper or lower lung, and trains
a small residual net from nothing.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads

import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import print_report
from torch import Tensor, nn

from medvlp.core.context import Context
from medvlp.core.encoded import Encoded
from medvlp.core.keys import Plan, keys
from medvlp.core.parts import Part, collect_parts
from medvlp.core.randomness import numpy_generator
from medvlp.core.sample import Batch, Column
from medvlp.models.bank import Bank, encoded_bank
from medvlp.models.build import build_model
from medvlp.models.heads.dual_stream import DualStream
from medvlp.objectives.medslip import Medslip
from medvlp.statistics.metrics import auroc

PATHOLOGIES = ("consolidation", "nodule", "atelectasis", "effusion")
ANATOMIES = ("left upper lung", "left lower lung", "right upper lung", "right lower lung")
LOWER = (1, 3)  # an effusion is drawn to the base
PARTS = ("medslip", *(f"medslip_{s}{p}" for s in ("pathology", "anatomy") for p in ("", "_text")))
HEAD = {"width": 48, "layers": 2, "heads": 4, "feedforward": 96, "dropout": 0.1, "std": 0.08}


@dataclass(frozen=True)
class World:
    """Inputs (N, ...) and truth (N, A, P) of 0 and 1."""

    inputs: Tensor
    truth: np.ndarray

    def rows(self, index: np.ndarray) -> World:
        """Return some pictures."""
        return World(self.inputs[torch.from_numpy(index)], self.truth[index])


def drawn_pairs(index: int) -> list[tuple[int, int]]:
    """(place, finding) of one picture: one to three findings, each at a place of its own choice."""
    draw = numpy_generator(0, index, "pairs")
    chosen = draw.permutation(len(PATHOLOGIES))[: int(draw.integers(1, 4))]
    return [(int(draw.choice(LOWER)) if p == 3 else int(draw.integers(len(ANATOMIES))), int(p)) for p in chosen]


def truth_of(pairs: list[tuple[int, int]]) -> np.ndarray:
    """Matrix (A, P)."""
    matrix = np.zeros((len(ANATOMIES), len(PATHOLOGIES)), dtype=np.float32)
    for place, finding in pairs:
        matrix[place, finding] = 1
    return matrix


def shuffled(truth: np.ndarray, index: int) -> np.ndarray:
    """The places exchanged among the findings of a picture; both marginals stay."""
    places, findings = np.nonzero(truth)
    moved = np.zeros_like(truth)
    moved[places[numpy_generator(1, index, "shuffle").permutation(len(places))], findings] = 1
    return moved


# worlds -------------------------------------------------------------------------------------------------------------


def patches_world(count: int, *, width: int = 24, noise: float = 0.7) -> World:
    """Sixteen patches, four a place."""
    fixed = numpy_generator(0, 0, "directions")
    codes, directions = fixed.standard_normal((4, width)), fixed.standard_normal((4, width))
    inputs, truth = np.empty((count, 16, width), np.float32), []
    for i in range(count):
        pairs, draw = drawn_pairs(i), numpy_generator(0, i, "patches")
        x = np.repeat(codes, 4, axis=0) + noise * draw.standard_normal((16, width))
        for place, finding in pairs:
            x[4 * place + draw.permutation(4)[:2]] += directions[finding]
        inputs[i] = x
        truth.append(truth_of(pairs))
    return World(torch.from_numpy(inputs), np.stack(truth))


def film(index: int) -> np.ndarray:
    """One radiograph of 128 pixels, 8 bits."""
    from medvlp.phantom.body import build_body
    from medvlp.phantom.facts import Finding, Patient, Study
    from medvlp.phantom.projection import project
    from medvlp.phantom.radiograph import DetectorLook, expose
    from medvlp.phantom.rules import RULES, severity_of

    draw = numpy_generator(0, index, "film")
    findings = []
    for place, finding in drawn_pairs(index):
        name = PATHOLOGIES[finding]
        rule, share = RULES[name], 0.5 + 0.5 * float(draw.random())
        size = rule.low + share * (rule.high - rule.low) if rule.size else 0.0
        lobe = "" if name == "effusion" else ("upper", "lower")[place % 2]
        side = "left" if place < 2 else "right"
        findings.append(Finding(name, side, lobe, severity_of(rule, share), size, share, int(draw.integers(2**31))))
    person = Patient(f"P{index:06d}", "F" if draw.random() < 0.5 else "M", 30 + index % 50, 170.0, 25.0, "train")
    study = Study(f"S{index}", person, 0, "20200101", f"A{index}", "n", "d", ("PA",), tuple(findings), None)
    look = DetectorLook(bits=8, marker="")
    pixels = expose(project(build_body(study, seed=0), "PA", size=128), look, generator=draw)
    return np.asarray(pixels, dtype=np.uint8)


def phantom_world(count: int, cache: Path, workers: int) -> World:
    """Radiographs, rendered once."""
    held = np.load(cache)["films"] if cache.exists() else np.zeros((0, 128, 128), np.uint8)
    if len(held) < count:
        with ProcessPoolExecutor(workers) as pool:
            new = list(pool.map(film, range(len(held), count), chunksize=8))
        held = np.concatenate([held, np.stack(new)])
        np.savez_compressed(cache, films=held)
    pixels = torch.from_numpy(held[:count].astype(np.float32) / 255)[:, None]
    return World(pixels, np.stack([truth_of(drawn_pairs(i)) for i in range(count)]))


# model --------------------------------------------------------------------------------------------------------------


class Patches(nn.Module):
    """The head alone, on features."""

    def __init__(self, banks: Mapping[str, Bank], width: int) -> None:
        super().__init__()
        self.head = DualStream(token_width=width, banks=banks, **HEAD)

    def forward(self, inputs: Tensor) -> Mapping[Any, Part]:
        """Return the parts of a context."""
        mask = torch.ones(inputs.shape[:2], dtype=torch.bool)
        rows = Encoded(owner=torch.arange(len(inputs)), tokens=inputs, mask=mask)
        return collect_parts({"image": rows.give(self.head(rows, "medslip"))}, {"image": frozenset(PARTS)})


class Pictures(nn.Module):
    """A small residual net and the head."""

    def __init__(self, banks: Mapping[str, Bank], seed: int) -> None:
        super().__init__()
        vision = {"name": "timm", "architecture": "resnet10t", "image_size": 128, "channels": 1, "norm": "group"}
        vision |= {"unshuffle": 2, "coordinates": True}
        sizes = {"channels": [32, 96, 96, 96], "stem_width": 16, "layers": [1, 1, 0, 0], "zero_init_last": False}
        spec = {"name": "vision", "vision": {**vision, "options": sizes}}
        spec |= {"heads": {"image/medslip": {"name": "dual_stream", **HEAD}}}
        self.model = build_model(spec, tokenizer=None, banks=banks, seed=seed)
        self.plan = Plan.of(keys(*(f"image/{part}" for part in PARTS)))

    def forward(self, inputs: Tensor) -> Mapping[Any, Part]:
        """Return the parts of a context."""
        return collect_parts(self.model(Batch.of({"image": inputs}), self.plan), {"image": frozenset(PARTS)})


def train(world: World, variant: str, *, seed: int, kind: str, samples: int, batch: int, rate: float) -> nn.Module:
    """Train one variant; the order of samples and the first weights depend on the seed alone."""
    torch.manual_seed(seed)
    names = {"pathology": PATHOLOGIES, "anatomy": ANATOMIES}
    plain = {name: Bank(name, texts, names=texts) for name, texts in names.items()}
    banks = {n: encoded_bank(b, {"name": "hashed_words", "width": 64}, where=n) for n, b in plain.items()}
    net = Patches(banks, world.inputs.shape[-1]) if kind == "patches" else Pictures(banks, seed)
    books = {
        k: Part(banks[k.view.removeprefix("bank.")].vectors, torch.full((4,), -1))
        for k in Medslip().needs()
        if k.is_bank
    }
    truth = np.stack([shuffled(t, i) for i, t in enumerate(world.truth)]) if variant == "shuffled" else world.truth
    matrices = torch.from_numpy(truth.reshape(len(truth), -1))
    objective = Medslip(pairs=0.0 if variant == "without" else 1.0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    steps, order = samples // batch, torch.Generator().manual_seed(seed)
    stream = torch.cat([torch.randperm(len(truth), generator=order) for _ in range(samples // len(truth) + 1)])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.1)
    net.train()
    for step in range(steps):
        index = stream[step * batch : (step + 1) * batch]
        every = torch.arange(batch)
        rows = Batch(tuple(map(str, index)), every + step * batch, {"vector.triplets": Column(matrices[index], every)})
        ctx = Context(parts={**net(world.inputs[index]), **books}, batch=rows, seed=seed)
        loss = sum((term.value() for term in objective(ctx).values()), torch.zeros(()))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return net.eval()


def measure(net: nn.Module, test: World) -> dict[str, float]:
    """The three AUROCs."""
    with torch.no_grad():
        pieces = [{k.part: p.values for k, p in net(part).items()} for part in test.inputs.split(100)]
    found = {name: torch.cat([piece[name] for piece in pieces]).double().numpy() for name in pieces[0]}
    pairs, truth = found["medslip"], test.truth
    present = {"pathology": truth.max(1), "anatomy": truth.max(2)}
    marginal = [
        auroc(present[s][:, q], found[f"medslip_{s}"][:, q, 1] - found[f"medslip_{s}"][:, q, 0])
        for s in present
        for q in range(4)
    ]
    single = [auroc(truth[:, a, p], pairs[:, a, p]) for a in range(4) for p in range(4) if truth[:, a, p].any()]
    several = (present["pathology"].sum(1) > 1) & (present["anatomy"].sum(1) > 1)
    both = several[:, None, None] & (present["anatomy"][:, :, None] * present["pathology"][:, None] == 1)
    possible = truth.any(0)[None]  # pairs that the world never has are no test of binding
    chosen = both & possible
    return {
        "marginal": round(float(np.mean(marginal)), 4),
        "pair": round(float(np.mean(single)), 4),
        "bound": round(float(auroc(truth[chosen], pairs[chosen])), 4),
        "bound_n": int(chosen.sum()),
    }


def main() -> None:
    """Train, measure, print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--world", choices=("patches", "phantom"), default="patches")
    words.add_argument("--cache", type=Path, default=Path("medslip_pairs.npz"))
    words.add_argument("--train", type=int, default=1600)
    words.add_argument("--test", type=int, default=500)
    words.add_argument("--samples", type=int, default=32000)
    words.add_argument("--seeds", type=int, nargs="+", default=[0])
    words.add_argument("--variants", nargs="+", default=["with", "without", "shuffled"])
    words.add_argument("--workers", type=int, default=2)
    words.add_argument("--render-only", action="store_true")
    chosen = words.parse_args()
    count = chosen.train + chosen.test
    whole = patches_world(count) if chosen.world == "patches" else phantom_world(count, chosen.cache, chosen.workers)
    if chosen.render_only:
        return
    learn, test = whole.rows(np.arange(chosen.train)), whole.rows(np.arange(chosen.train, count))
    for seed in chosen.seeds:
        for variant in chosen.variants:
            start = time.perf_counter()
            options = {"kind": chosen.world, "samples": chosen.samples, "batch": 32, "rate": 2e-3}
            net = train(learn, variant, seed=seed, **options)
            print_report(
                "medslip_pairs",
                n={"train": chosen.train, "test": chosen.test, "samples": chosen.samples},
                packages=("torch",),
                world=chosen.world,
                variant=variant,
                seed=seed,
                seconds=round(time.perf_counter() - start, 1),
                **measure(net, test),
            )


if __name__ == "__main__":
    main()
