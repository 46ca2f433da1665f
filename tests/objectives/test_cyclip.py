from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.objectives.cyclip import Cyclip
from tests.objectives.world import rows


def context(
    image: Tensor, text: Tensor, of_image: list[int] | None = None, of_text: list[int] | None = None
) -> Context:
    owners = {"image": of_image or list(range(len(image))), "text": of_text or list(range(len(text)))}
    values = {"image": image, "text": text}
    parts = {parse_key(f"{v}/embedding"): Part(values[v], torch.tensor(owners[v])) for v in values}
    return Context(parts=parts, batch=Batch.of({"id.patient": ["p"] * (1 + max(*owners["image"], *owners["text"]))}))


def values(ctx: Context, **options: float) -> dict[str, float]:
    return {name: term.value().item() for name, term in Cyclip(**options)(ctx).items()}


def test_it_is_the_papers_double_sums():
    v, t = rows(5, 0), rows(5, 1)
    cross = sum((v[j] @ t[k] - v[k] @ t[j]).item() ** 2 for j in range(5) for k in range(5)) / 5
    within = sum((v[j] @ v[k] - t[j] @ t[k]).item() ** 2 for j in range(5) for k in range(5)) / 5
    found = values(context(v, t), cross_modal=0.25, in_modal=2.0)
    assert found["cross_modal"] == pytest.approx(0.25 * cross, rel=1e-12)
    assert found["in_modal"] == pytest.approx(2 * within, rel=1e-12)
    # The code that the paper came with: a mean over the matrix of scaled logits, over the scale's square, times N.
    logits = 30 * v @ t.T
    assert cross == pytest.approx((logits - logits.T).square().mean().item() / 30**2 * 5, rel=1e-12)


def test_turning_one_modality_leaves_its_inner_geometry_and_may_undo_that_between_the_two():
    v = rows(6, 0)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    found = values(context(v, v @ turn))
    assert found["in_modal"] == pytest.approx(0, abs=1e-20)
    assert found["cross_modal"] > 1e-3
    mirror = torch.diag(torch.tensor([1.0, -1, 1, -1, 1, 1], dtype=torch.float64))  # symmetric: v M v^T is too
    assert values(context(v, v @ mirror))["cross_modal"] == pytest.approx(0, abs=1e-20)
    assert values(context(v, v)) == {"cross_modal": 0, "in_modal": 0}


def test_the_two_directions_are_of_one_size_and_grow_with_the_batch():
    """A trap of the method: the same weights are stronger in a larger batch, since both sums run over columns."""
    v, t = rows(4, 0), rows(4, 1)
    once, twice = values(context(v, t)), values(context(v.repeat(2, 1), t.repeat(2, 1)))
    assert twice == pytest.approx({name: 2 * value for name, value in once.items()}, rel=1e-12)


def test_samples_without_a_partner_form_no_pair_and_the_first_text_counts():
    v, t = rows(4, 0), rows(4, 1)
    found = values(context(v, t, [0, 1, 2, 4], [1, 1, 3, 4]))
    assert found == pytest.approx(values(context(v[[1, 3]], t[[0, 3]])), rel=1e-12)
    nothing = Cyclip()(context(v[:1], t[:1], [0], [1]))
    assert [(term.sum.item(), term.count.item()) for term in nothing.values()] == [(0, 0), (0, 0)]


def test_it_asks_for_both_embeddings():
    objective = build("objectives", {"name": "cyclip", "text": "text.impression"}, where="x")
    assert sorted(map(str, objective.needs())) == ["image/embedding", "text.impression/embedding"]
