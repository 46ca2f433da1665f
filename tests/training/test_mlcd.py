"""MLCD: clusters of frozen features, several labels an image, and classes that are sampled once for a whole step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Column, Context, Key, Objective, Term
from medvlp.core.encoded import unit
from medvlp.core.errors import UserError
from medvlp.core.keys import Plan, keys
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.journal import read_journal
from medvlp.training.phases import Refresh
from medvlp.training.trainer import Trainer
from tests.training.methods import BATCH, COHORT, Method, batch_of, check_resume, check_same, images, make_setup, train

CLASSES, LABELS, RATE, SCALE = 7, 3, 0.4, 8.0


class Mlcd(Objective):
    """log(1 + sum_p e^-s) + log(1 + sum_n e^s) over own labels p and sampled classes n (An et al. 2024, eq. 6)."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(4)
        self.classes = nn.Parameter(torch.randn(CLASSES, 8, generator=draws, dtype=torch.float64))

    def needs(self) -> frozenset[Key]:
        return keys("image/embedding", "vector.cluster_image", "state:clusters")

    def forward(self, ctx: Context) -> dict[str, Term]:
        scores = SCALE * ctx["image/embedding"] @ unit(self.classes).T
        positive = torch.zeros_like(scores).scatter_(1, ctx["vector.cluster_image"].long(), 1.0).bool()
        negative = (ctx.uniform_shared(CLASSES, name="classes") < RATE) & ~positive
        return {"mlcd": Term.of(_softplus(-scores, positive) + _softplus(scores, negative))}


def _softplus(scores: Tensor, member: Tensor) -> Tensor:
    """log(1 + the sum over members of e^scores), (R,)."""
    zero = torch.zeros_like(scores[:, :1])
    return torch.cat([zero, scores.masked_fill(~member, -torch.inf)], dim=1).logsumexp(dim=1)


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    return {"image": Column(images(indices, dtype), torch.arange(len(indices)))}


METHOD = Method(
    columns=columns,
    objectives=lambda: [{"mlcd": Mlcd()}],
    phases=[{"until": 48, "refresh": (Refresh(state="clusters", every=1000),)}],
    states={
        "frozen": {"name": "frozen"},
        "clusters": {
            "name": "clusters",
            "reads": ["frozen:image/embedding"],
            "clusters": CLASSES,
            "nearest": LABELS,
            "spherical": True,
        },
    },
)


def run_mlcd(folder: str, chunks: int = 1) -> dict[str, Any]:
    return train(METHOD, folder, chunks)


def test_its_value_is_the_papers_by_hand(tmp_path: Path) -> None:
    """log(1 + sum_n e^s + sum_p e^-s + sum_n e^s sum_p e^-s), row by row, with the nearest centres by cosine."""
    setup = make_setup(METHOD, tmp_path / "run")
    everybody = batch_of(METHOD, torch.arange(COHORT), torch.float64)
    plan = Plan.of(keys("image/embedding"))
    with torch.no_grad():
        rows = setup.model.finish(setup.model(everybody, plan), plan)["image"].part("embedding")
    classes = setup.phases[0].objectives["mlcd"].classes.detach().clone()
    with pytest.raises(UserError, match="interrupted"):
        Trainer(setup).fit(stop_at=BATCH)
    states = load_checkpoint(latest(tmp_path / "run")).states
    centres = states["clusters|centroids|image|image"].double()
    drawn = Context(parts={}, batch=everybody, seed=5).uniform_shared(CLASSES, name="classes") < RATE
    assert 0 < int(drawn.sum()) < CLASSES
    total = 0.0
    for i in range(BATCH):
        cosine = [float(rows[i] @ c / c.norm()) for c in centres]
        own = sorted(range(CLASSES), key=lambda k: -cosine[k])[:LABELS]
        assert states["clusters|nearest|image"][i].tolist() == own
        scores = [SCALE * float(rows[i] @ w / w.norm()) for w in classes]
        p = sum(math.exp(-scores[k]) for k in own)
        n = sum(math.exp(scores[k]) for k in range(CLASSES) if drawn[k] and k not in own)
        total += math.log(1 + n + p + n * p) / BATCH
    logged = next(row for row in read_journal(tmp_path / "run" / "log.jsonl") if row["kind"] == "train")
    assert logged["mlcd/mlcd"] == pytest.approx(total, rel=1e-7)


def test_a_step_in_chunks_is_a_whole_step(tmp_path: Path) -> None:
    check_same(*(run_mlcd(str(tmp_path / str(chunks)), chunks) for chunks in (1, 4)))


@pytest.mark.pool
def test_one_process_is_two(pool: Any, tmp_path: Path) -> None:
    expected = run_mlcd(str(tmp_path / "one"))
    for got in pool.run(2, run_mlcd, str(tmp_path / "two"), 2):
        check_same(expected, got)


@pytest.mark.slow
def test_interrupted_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    check_resume(METHOD, tmp_path, [16])
