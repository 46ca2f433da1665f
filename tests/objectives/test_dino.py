from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.schedules import Ramp
from medvlp.models.heads.dino import DinoHead
from medvlp.objectives import sinkhorn
from medvlp.objectives.dino import Dino

K = 5


class Centre:
    """What a teacher keeps beside its model."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def centre(self, part: str) -> torch.Tensor:
        assert part == "dino"
        return self.values


def scores(rows: int, seed: int) -> torch.Tensor:
    return torch.rand(rows, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def context(parts, *, samples=3, centre=None, seen=0) -> Context:
    made = {parse_key(key): Part(values, torch.tensor(owner)) for key, (values, owner) in parts.items()}
    state = Centre(torch.zeros(1, dtype=torch.float64) if centre is None else centre)
    return Context(parts=made, batch=Batch.of({"text": ["a"] * samples}), states={"ema": state}, samples_seen=seen)


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def test_it_is_the_mean_over_pairs_of_a_large_crop_and_another_crop():
    """Two samples with two large crops, one with one; small crops of two: every pair by a loop."""
    large, small = [0, 0, 1, 1, 2], [0, 0, 0, 2]
    taught, seen, local = scores(5, 0), scores(5, 1), scores(4, 2)
    centre = scores(1, 3)[0]
    parts = {"ema:image.large/dino": (taught, large), "image.large/dino": (seen, large)}
    parts["image.local/dino"] = (local, small)
    term = Dino(prototypes=K)(context(parts, centre=centre))["crops"]
    total, count = 0.0, 0
    for a, sample in enumerate(large):
        p = softmax([(g - c) / 0.04 for g, c in zip(taught[a].tolist(), centre.tolist(), strict=True)])
        others = [seen[b] for b, owner in enumerate(large) if owner == sample and b != a]
        for row in [*others, *(local[b] for b, owner in enumerate(small) if owner == sample)]:
            q = softmax([g / 0.1 for g in row.tolist()])
            total -= sum(x * math.log(y) for x, y in zip(p, q, strict=True))
            count += 1
    assert (term.count.item(), count) == (4 + 6 + 1, 11)
    assert term.value().item() == pytest.approx(total / count, rel=1e-10)


def test_views_of_one_crop_each_are_the_two_orders_of_the_paper():
    a, b, taught_a, taught_b = (scores(3, seed) for seed in range(4))
    parts = {"image/dino": (a, [0, 1, 2]), "image.second/dino": (b, [0, 1, 2])}
    parts |= {"ema:image/dino": (taught_a, [0, 1, 2]), "ema:image.second/dino": (taught_b, [0, 1, 2])}
    objective = Dino(large=["image", "image.second"], small=[], prototypes=K)
    got = objective(context(parts))["crops"].value()
    each = [
        -((t / 0.04).softmax(1) * (s / 0.1).log_softmax(1)).sum(1).mean() for t, s in ((taught_a, b), (taught_b, a))
    ]
    torch.testing.assert_close(got, sum(each) / 2)


def test_a_student_that_is_its_teacher_has_the_teachers_entropy():
    """Crops that show the same, one temperature: cross entropy is entropy, and nothing pulls the student away."""
    rows = scores(3, 0)
    student = rows.clone().requires_grad_()
    parts = {"ema:image/dino": (rows, [0, 1, 2]), "image/dino": (rows, [0, 1, 2])}
    parts["image.local/dino"] = (student, [0, 1, 2])
    objective = Dino(large=["image"], small=["image.local"], teacher_temperature=0.1, prototypes=K)
    term = objective(context(parts))["crops"]
    p = (rows / 0.1).softmax(1)
    torch.testing.assert_close(term.value(), -(p * p.log()).sum(1).mean())
    term.sum.backward()
    assert student.grad.abs().max() < 1e-12


def test_equal_shares_are_those_of_all_teacher_rows():
    taught, local = scores(4, 0), scores(2, 1)
    parts = {"ema:image.large/dino": (taught, [0, 0, 1, 1]), "image.large/dino": (scores(4, 2), [0, 0, 1, 1])}
    parts["image.local/dino"] = (local, [0, 1])
    objective = Dino(centring="sinkhorn", prototypes=K)
    got = objective(context(parts, samples=2, centre=torch.full((K,), torch.nan)))["crops"]
    target = sinkhorn(taught, epsilon=0.04)
    rows = [(1, 0), (0, 1), (3, 2), (2, 3)]
    log = (parts["image.large/dino"][0] / 0.1).log_softmax(1)
    total = -sum((target[a] * log[b]).sum() for a, b in rows)
    total -= sum((target[a] * (local[s] / 0.1).log_softmax(0)).sum() for a, s in ((0, 0), (1, 0), (2, 1), (3, 1)))
    torch.testing.assert_close(got.sum, total)


def test_equal_shares_are_the_same_of_two_views_and_of_two_crops_of_one():
    taught, seen = scores(6, 0), scores(6, 1)
    both = {"ema:image.large/dino": (taught, [0, 0, 1, 1, 2, 2]), "image.large/dino": (seen, [0, 0, 1, 1, 2, 2])}
    apart = {}
    for name, crop in (("image", slice(0, None, 2)), ("image.second", slice(1, None, 2))):
        apart |= {f"ema:{name}/dino": (taught[crop], [0, 1, 2]), f"{name}/dino": (seen[crop], [0, 1, 2])}
    options = {"small": [], "centring": "sinkhorn", "prototypes": K}
    one = Dino(large=["image.large"], **options)(context(both))["crops"]
    two = Dino(large=["image", "image.second"], **options)(context(apart))["crops"]
    assert one.count.item() == two.count.item() == 6
    torch.testing.assert_close(one.sum, two.sum)


def test_the_teachers_temperature_is_ramped_and_it_has_no_gradient():
    taught = scores(2, 0).requires_grad_()
    parts = {"ema:image/dino": (taught, [0, 1]), "image/dino": (scores(2, 2), [0, 1])}
    parts["image.local/dino"] = (scores(2, 1).requires_grad_(), [0, 1])
    ramp = Ramp(start=0.04, end=0.07, until=100)
    objective = Dino(large=["image"], teacher_temperature=ramp, prototypes=K)
    for seen, temperature in ((0, 0.04), (50, 0.055), (200, 0.07)):
        got = objective(context(parts, samples=2, seen=seen))["crops"]
        want = -((taught / temperature).softmax(1) * (parts["image.local/dino"][0] / 0.1).log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(got.value(), want)
    got.sum.backward()
    assert taught.grad is None


def test_without_a_centre_a_constant_teacher_is_no_worse_and_with_one_it_says_nothing():
    """Collapse: one prototype for everybody costs nothing without a centre; the centre makes the teacher uniform."""
    constant = torch.zeros(3, K, dtype=torch.float64)
    constant[:, 0] = 1.0
    parts = {"ema:image/dino": (constant, [0, 1, 2]), "image/dino": (constant, [0, 1, 2])}
    parts["image.local/dino"] = (constant, [0, 1, 2])
    objective = Dino(large=["image"], prototypes=K)
    assert objective(context(parts))["crops"].value() < 1e-3
    log = (constant[0] / 0.1).log_softmax(0)
    torch.testing.assert_close(objective(context(parts, centre=constant[0]))["crops"].value(), -log.mean())


def test_the_head_begins_without_bias_and_with_weights_of_spread_0_02():
    """A bias would draw all rows towards one place: unrelated rows had a mean cosine of 0.2 with torch's own start."""
    torch.manual_seed(0)
    head = DinoHead(in_width=64, hidden=256, prototypes=K)
    for layer in head.layers:
        assert not layer.bias.any()
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    values = torch.randn(100, 64)
    for place, layer in enumerate(head.layers):
        values = layer(torch.nn.functional.gelu(values) if place else values)
    rows = torch.nn.functional.normalize(values, dim=1)
    assert (rows.sum(dim=0).square().sum() - 100).item() / (100 * 99) < 0.1


def test_the_head_knows_directions_only():
    torch.manual_seed(0)
    head = DinoHead(in_width=4, hidden=8, layers=3, bottleneck=3, prototypes=K).double()
    values = torch.randn(2, 6, 4, dtype=torch.float64)
    got = head.scores(values)
    hidden = values
    for linear in head.layers[:-1]:
        hidden = torch.nn.functional.gelu(hidden @ linear.weight.T + linear.bias)
    hidden = hidden @ head.layers[-1].weight.T + head.layers[-1].bias
    for n, p in ((0, 0), (3, 1), (5, 4)):
        cosine = torch.nn.functional.cosine_similarity(hidden[1, n], head.prototypes[p], dim=0)
        torch.testing.assert_close(got[1, n, p], cosine)
    with torch.no_grad():
        head.prototypes.mul_(torch.linspace(0.1, 3, K, dtype=torch.float64)[:, None])
    torch.testing.assert_close(head.scores(values), got)


@pytest.mark.parametrize("views", [{"large": []}, {"large": ["image"], "small": ["image"]}])
def test_views_that_are_none_or_twice_are_refused(views):
    with pytest.raises(ConfigError, match="name a large one, and each once"):
        Dino(**views)
