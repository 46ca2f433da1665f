"""What the intra-image contrast is for: without it a model knows what there is and where, not which is where."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import Encoded
from medvlp.core.keys import parse_key
from medvlp.core.parts import Part, collect_parts
from medvlp.core.sample import Batch, Column
from medvlp.models.bank import Bank
from medvlp.models.heads.dual_stream import DualStream
from medvlp.objectives.medslip import Medslip
from medvlp.statistics.metrics import auroc

SIDE, PATCHES, WIDTH, BATCH, STEPS = 3, 2, 12, 64, 150
PARTS = frozenset({"m", "m_pathology", "m_anatomy", "m_pathology_text", "m_anatomy_text"})


def world(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, patches, width) with two findings at two places each, of three; and the truth (N, 3, 3)."""
    fixed, draw = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    places, findings = torch.randn(SIDE, WIDTH, generator=fixed), 1.5 * torch.randn(SIDE, WIDTH, generator=fixed)
    truth, x = torch.zeros(count, SIDE, SIDE), 0.2 * torch.randn(count, SIDE, PATCHES, WIDTH, generator=draw)
    x = x + places[:, None]
    for i in range(count):
        at, what = (torch.randperm(SIDE, generator=draw)[:2] for _ in range(2))
        truth[i, at, what] = 1
        x[i, at] += findings[what][:, None]
    return x.flatten(1, 2), truth


def rows_of(head: DualStream, x: Tensor) -> Encoded:
    rows = Encoded(owner=torch.arange(len(x)), tokens=x, mask=torch.ones(x.shape[:2], dtype=torch.bool))
    return rows.give(head(rows, "m"))


def trained(pairs: float) -> tuple[float, float]:
    """Train on the linear world; return the AUROC of existence and that of pairs whose two parts are both there."""
    torch.manual_seed(0)
    banks = {name: Bank(name, ("a", "b", "c"), 4 * torch.randn(SIDE, 8)) for name in ("pathology", "anatomy")}
    options = {"width": 16, "layers": 1, "heads": 2, "feedforward": 32, "dropout": 0.0, "std": 0.16}
    head = DualStream(token_width=WIDTH, banks=banks, **options)
    objective = Medslip(head="m", pairs=pairs)
    books = {parse_key(f"bank.{n}/raw"): Part(b.vectors, torch.full((SIDE,), -1)) for n, b in banks.items()}
    optimiser = torch.optim.Adam(head.parameters(), lr=5e-3)
    x, truth = world(STEPS * BATCH // 4, seed=1)
    every = torch.arange(BATCH)
    for step in range(STEPS):
        index = (every + step * BATCH) % len(x)
        batch = Batch(
            tuple(map(str, index.tolist())), every, {"vector.triplets": Column(truth[index].flatten(1), every)}
        )
        parts = collect_parts({"image": rows_of(head, x[index])}, {"image": PARTS})
        loss = sum(
            (t.value() for t in objective(Context(parts={**parts, **books}, batch=batch)).values()), torch.zeros(())
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x, truth = world(400, seed=2)
    with torch.no_grad():
        found = rows_of(head.eval(), x)
    existence = [
        auroc(truth.amax(axis)[:, q].numpy(), (logits[:, q, 1] - logits[:, q, 0]).numpy())
        for axis, logits in ((1, found.part("m_pathology")), (2, found.part("m_anatomy")))
        for q in range(SIDE)
    ]
    both = truth.amax(2)[:, :, None] * truth.amax(1)[:, None] == 1
    return sum(existence) / len(existence), float(auroc(truth[both].numpy(), found.part("m")[both].numpy()))


@pytest.mark.slow
def test_pairs_are_bound_by_the_intra_image_contrast_alone() -> None:
    marginal, bound = trained(1.0)
    marginal_without, bound_without = trained(0.0)
    assert bound > 0.95
    assert bound_without < 0.7
    assert abs(marginal - marginal_without) < 0.02  # existence is not the price
    assert marginal > 0.95
