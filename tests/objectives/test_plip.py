from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.clip import Clip
from medvlp.objectives.plip import Plip, divergence
from tests.objectives.world import Scale, rows


def test_it_is_the_reverse_divergence_by_loops() -> None:
    patients = ["p", "q", "p", "r"]
    parts = {
        parse_key(f"{view}/embedding"): Part(rows(4, n), torch.arange(4)) for n, view in enumerate(("image", "text"))
    }
    ctx = Context(parts=parts, batch=Batch.of({"id.patient": patients}), scale=Scale())
    scores = ctx.scale(rows(4, 0) @ rows(4, 1).T)
    want = 0.0
    for z in (scores, scores.T):
        for i in range(4):
            powers = [math.exp(v) for v in z[i].tolist()]
            same = [patients[j] == patients[i] for j in range(4)]
            for j in range(4):
                p, q = powers[j] / sum(powers), same[j] / sum(same)
                want += p * math.log(p / (q + 1e-8)) / 8
    got = sum(term.value() for term in Plip()(ctx).values())
    assert got.item() == pytest.approx(want, rel=1e-9)


def test_where_every_row_is_its_own_the_least_is_the_one_hot() -> None:
    eye = torch.eye(3, dtype=torch.bool)
    assert divergence(1e3 * torch.eye(3), eye, eps=1e-8).value().item() == pytest.approx(0, abs=1e-6)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert divergence(torch.randn(3, 3, generator=generator), eye, eps=1e-8).value() > 0.1


def test_equal_shares_and_any_other_sharing_within_an_identity_are_near_0_and_half_is_not_lost_to_a_length() -> None:
    """The trap of a mask divided by its length: two of one identity would then cost -log of the square root of 2."""
    both = torch.tensor([[True, True, False]])
    term = divergence(torch.tensor([[0.0, 0.0, -60.0]]), both, eps=1e-8)
    assert term.value().item() == pytest.approx(0, abs=1e-6)


def test_a_patients_other_report_is_not_pushed_away_and_clip_pushes_it() -> None:
    """The gradient's sign at the other report of one patient, where both are alike and a stranger's is further."""
    image = rows(3, 0)
    text = image.clone()
    text[1] = text[0]  # samples 0 and 1 are one patient's and say the same in other words
    owner = torch.arange(3)
    moved = {}
    for name, objective in (("plip", Plip()), ("clip", Clip(positives="own"))):
        other = text.clone().requires_grad_()
        parts = {parse_key("image/embedding"): Part(image, owner), parse_key("text/embedding"): Part(other, owner)}
        ctx = Context(parts=parts, batch=Batch.of({"id.patient": ["p", "p", "q"]}), scale=Scale())
        term = objective(ctx)["image_to_text"]
        # of image 0 alone: text 1 is the other report of its patient
        scores = ctx.scale(image[:1] @ other.T)
        if name == "plip":
            loss = divergence(scores, torch.tensor([[True, True, False]]), eps=1e-8).sum
        else:
            loss = torch.nn.functional.cross_entropy(scores, torch.tensor([0]), reduction="sum")
        (grad,) = torch.autograd.grad(loss, other)
        moved[name] = float(grad[1] @ image[0])
        assert term.count == 3
    assert moved["plip"] <= 0, "a step down brings it nearer or leaves it"
    assert moved["clip"] > 0, "a step down pushes it away"


def test_a_row_without_anybody_adds_nothing() -> None:
    term = divergence(torch.zeros(2, 2), torch.tensor([[False, False], [True, False]]), eps=1e-8)
    assert term.count == 1
