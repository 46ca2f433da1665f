"""Mixup: pictures and labels of neighbours, mixed before they are encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Column, Context, HeadSpec, Key, Objective, Term
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.randomness import numpy_generator
from medvlp.data.batch_views.mixup import Mixup
from medvlp.training.journal import read_journal
from tests.training.elsewhere import ELSEWHERE, Devices
from tests.training.methods import BATCH, Method, batch_of, check_resume, check_same, images, make_setup, train

FINDINGS = ("effusion", "nodule")


class Classify(Objective):
    """Binary cross entropy of a linear head with labels that may be any share of 1, unknown ones aside."""

    def needs(self) -> frozenset[Key]:
        return keys("image/logits", *(f"label.{name}" for name in FINDINGS))

    def heads(self) -> dict[str, HeadSpec]:
        return {"logits": HeadSpec("projection", {"width": len(FINDINGS), "bias": True})}

    def forward(self, ctx: Context) -> dict[str, Term]:
        logits = ctx["image/logits"].flatten()
        target = torch.stack([ctx[f"label.{name}"] for name in FINDINGS], dim=1).to(logits).flatten()
        rows = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.nan_to_num(0), reduction="none")
        return {"labels": Term.of(rows, target.isfinite().to(rows))}


def columns(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    rows = torch.arange(len(indices))
    labels = torch.tensor([[1.0, 0.0, 1.0, 1.0, -1.0, 0.0, torch.nan, 1.0][i % 8] for i in indices.tolist()])
    other = torch.tensor([[0.0, 0.0, 1.0][i % 3] for i in indices.tolist()])
    return {
        "image": Column(images(indices, dtype), rows),
        "label.effusion": Column(labels, rows),
        "label.nodule": Column(other, rows),
    }


METHOD = Method(
    columns=columns,
    objectives=lambda: [{"classify": Classify()}],
    phases=[{"until": 40, "batch_views": (Mixup(alpha=0.8),)}],
)


def run_mixup(folder: str, chunks: int = 1) -> dict[str, Any]:
    return train(METHOD, folder, chunks)


def test_the_first_step_is_the_papers_by_hand(tmp_path: Path) -> None:
    setup = make_setup(METHOD, tmp_path / "run")
    batch = batch_of(METHOD, torch.arange(BATCH), torch.float64)
    pixels, labels = batch["image"].values, [batch[f"label.{name}"].values.tolist() for name in FINDINGS]
    share = [numpy_generator(5, i, "mixup").beta(0.8, 0.8) for i in range(BATCH)]
    mixed = [share[i] * pixels[i] + (1 - share[i]) * pixels[i + 1 - 2 * (i % 2)] for i in range(BATCH)]
    plan = Plan.of(keys("image/logits"))
    with torch.no_grad():
        logits = setup.model(Batch.of({"image": torch.stack(mixed)}), plan)["image"].extra["logits"]
    total = count = 0.0
    for f, known in enumerate(labels):
        for i in range(BATCH):
            own, other = known[i], known[i + 1 - 2 * (i % 2)]
            if own in (0.0, 1.0) and other in (0.0, 1.0):
                p = torch.sigmoid(logits[i, f])
                y = share[i] * own + (1 - share[i]) * other
                total -= float(y * p.log() + (1 - y) * (1 - p).log())
                count += 1
    assert count == 2 * BATCH - 4  # two pairs have an unknown label
    train(METHOD, str(tmp_path / "run"))
    row = next(row for row in read_journal(tmp_path / "run" / "log.jsonl") if row["kind"] == "train")
    assert row["classify/labels"] == pytest.approx(total / count, rel=1e-6)


def test_pairs_are_mixed_alike_on_a_device_without_float64() -> None:
    batch = batch_of(METHOD, torch.arange(BATCH), torch.float32)
    mixed = Mixup(alpha=0.8)(batch, seed=5)
    with Devices(wide=False):
        there = Mixup(alpha=0.8)(batch.to(ELSEWHERE), seed=5).to(torch.device("cpu"))
        for name in ("image", "label.effusion", "label.nodule"):
            torch.testing.assert_close(there[name].values, mixed[name].values, rtol=0, atol=0, equal_nan=True)


def test_a_step_in_chunks_is_a_whole_step(tmp_path: Path) -> None:
    check_same(*(run_mixup(str(tmp_path / str(chunks)), chunks) for chunks in (1, 4)))


@pytest.mark.pool
def test_one_process_is_two(pool: Any, tmp_path: Path) -> None:
    expected = run_mixup(str(tmp_path / "one"))
    for got in pool.run(2, run_mixup, str(tmp_path / "two"), 2):
        check_same(expected, got)


@pytest.mark.slow
def test_interrupted_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    check_resume(METHOD, tmp_path, [16])


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fields of batch view 'mixup' names 'text': name fields of kind image"):
        Mixup(fields=["text"])
    batch = batch_of(METHOD, torch.arange(3), torch.float32)
    with pytest.raises(ConfigError, match=r"mixes pairs and a process has 3 samples: make training.batch a multiple"):
        Mixup()(batch, seed=0)
    lacking = Batch(("a", "b"), torch.arange(2), {"image": Column(torch.zeros(1, 1, 2, 2), torch.tensor([1]))})
    with pytest.raises(ConfigError, match=r"mixup needs one 'image' of each sample: keep records that have it"):
        Mixup()(lacking, seed=0)
