"""`contrast` and `sigmoid_contrast` against loops, closed forms and textbook losses."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.objectives import Similarity, contrast, sigmoid_contrast

CASES = [1_000, pytest.param(10_000, marks=pytest.mark.slow)]  # the first are the same


def loop(z, positive, excluded, reading, in_denominator, weight, smoothing):
    """Sum and count straight from the definitions, on python floats; `positive` holds q, the target's weights."""
    total, count = 0.0, 0.0
    for r in range(len(z)):
        admitted = [c for c in range(len(z[r])) if not excluded[r][c]]
        wanted = [c for c in admitted if positive[r][c] > 0]
        others = [c for c in admitted if positive[r][c] == 0]
        if not wanted or weight[r] == 0 or (not in_denominator and not others):
            continue
        whole = sum(math.exp(z[r][c]) for c in (admitted if in_denominator else others))
        mass = sum(positive[r][c] for c in wanted)
        loss = 0.0
        if reading == "any":
            loss = -math.log(sum(math.exp(z[r][c]) for c in wanted) / whole)
        else:
            for c in wanted:
                below = whole
                if reading == "each":
                    below = sum(math.exp(z[r][k]) for k in others) + (math.exp(z[r][c]) if in_denominator else 0.0)
                loss += positive[r][c] / mass * -math.log(math.exp(z[r][c]) / below)
        uniform = sum(-math.log(math.exp(z[r][c]) / whole) for c in admitted) / len(admitted)
        total += weight[r] * ((1 - smoothing) * loss + smoothing * uniform)
        count += weight[r]
    return total, count


def case(draw: random.Random, number: int):
    """One random case; kinds of target, readings and options cycle, so that each combination comes often."""
    kind = ("index", "bool", "float")[number % 3]
    readings = ["shared"] if kind == "float" else ["shared", "any", "each"]
    rows, columns = draw.randint(0, 4), draw.randint(1, 5)
    spread = draw.choice([0.1, 3.0, 30.0])
    z = [[draw.uniform(-spread, spread) for _ in range(columns)] for _ in range(rows)]
    excluded = [[draw.random() < 0.3 for _ in range(columns)] for _ in range(rows)] if draw.random() < 0.6 else None
    weight = [draw.choice([0.0, 0.5, 1.0, 2.0]) for _ in range(rows)] if draw.random() < 0.5 else None
    positive = [[0.0] * columns for _ in range(rows)]
    if kind == "index":
        index = [draw.randint(-1, columns - 1) for _ in range(rows)]
        for r, c in enumerate(index):
            if c >= 0:
                positive[r][c] = 1.0
        target = torch.tensor(index, dtype=torch.int64)
    else:
        for r, c in itertools.product(range(rows), range(columns)):
            positive[r][c] = draw.choice([0.0, 0.0, 1.0, 1.0 if kind == "bool" else draw.random()])
        if kind == "float":
            positive = [[p / (sum(row) or 1.0) for p in row] for row in positive]
        target = torch.tensor(positive, dtype=torch.float64).reshape(rows, columns)
        target = target > 0 if kind == "bool" else target
    return {
        "z": z,
        "columns": columns,
        "positive": positive,
        "target": target,
        "excluded": excluded,
        "weight": weight,
        "reading": draw.choice(readings),
        "in_denominator": kind == "float" or draw.random() < 0.6,
        "smoothing": draw.choice([0.0, 0.1, 0.5]),
    }


@pytest.mark.parametrize("cases", CASES)
def test_contrast_equals_a_loop_on_thousands_of_random_cases(cases):
    draw = random.Random(0)
    for number in range(cases):
        c = case(draw, number)
        rows, columns = len(c["z"]), c["columns"]
        none = [[False] * columns] * rows
        expected = loop(
            c["z"],
            c["positive"],
            c["excluded"] or none,
            c["reading"],
            c["in_denominator"],
            c["weight"] or [1.0] * rows,
            c["smoothing"],
        )
        z = torch.tensor(c["z"], dtype=torch.float64).reshape(rows, columns)
        term = contrast(
            z,
            c["target"],
            exclude=None if c["excluded"] is None else torch.tensor(c["excluded"]).reshape(rows, columns).bool(),
            positives=c["reading"],
            positive_in_denominator=c["in_denominator"],
            row_weight=None if c["weight"] is None else torch.tensor(c["weight"], dtype=torch.float64),
            label_smoothing=c["smoothing"],
        )
        got = (term.sum.item(), term.count.item())
        assert got == pytest.approx(expected, rel=1e-10, abs=1e-10), (number, c)


# gradients ----------------------------------------------------------------------------------------------------------


def targets(generator: torch.Generator) -> dict[str, Tensor]:
    some = torch.rand(4, 5, generator=generator) < 0.4
    some[0] = False
    distribution = torch.rand(4, 5, generator=generator, dtype=torch.float64)
    return {"index": torch.tensor([2, -1, 0, 4]), "bool": some, "float": distribution / distribution.sum(1, True)}


DEFINED = [("float", "shared", True)] + [
    (kind, reading, in_denominator)
    for kind in ("index", "bool")
    for reading in ("shared", "any", "each")
    for in_denominator in (True, False)
]


@pytest.mark.parametrize(("kind", "reading", "in_denominator"), DEFINED)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient_is_the_derivative(kind, reading, in_denominator, smoothing):
    generator = torch.Generator().manual_seed(1)
    target = targets(generator)[kind]
    exclude = torch.rand(4, 5, generator=generator) < 0.2
    z = torch.randn(4, 5, generator=generator, dtype=torch.float64).requires_grad_()

    def total(z):
        options = {"positives": reading, "positive_in_denominator": in_denominator, "label_smoothing": smoothing}
        return contrast(z, target, exclude=exclude, row_weight=torch.tensor([1.0, 1.0, 0.5, 2.0]), **options).sum

    assert torch.autograd.gradcheck(total, z)


@pytest.mark.parametrize("reading", ["shared", "any", "each"])
@pytest.mark.parametrize("in_denominator", [True, False])
def test_rows_without_anything_give_zero_with_zero_gradient(reading, in_denominator):
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    exclude = torch.zeros(3, 4, dtype=torch.bool)
    exclude[0] = True  # every column excluded
    target = torch.zeros(3, 4, dtype=torch.bool)
    target[0, 0] = True  # the positive of row 0 is excluded, rows 1 and 2 have none
    term = contrast(
        z, target, exclude=exclude, positives=reading, positive_in_denominator=in_denominator, label_smoothing=0.1
    )
    term.value().backward()
    assert term.sum.item() == 0
    assert term.count.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("reading", ["shared", "any", "each"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_excluded_columns_and_weightless_rows_hold_does_not_matter(reading, bad):
    generator = torch.Generator().manual_seed(2)
    clean = torch.randn(3, 4, generator=generator)
    target = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]).bool()
    exclude = torch.zeros(3, 4, dtype=torch.bool)
    exclude[:2, 3] = True
    weight = torch.tensor([1.0, 1.0, 0.0])
    gradients = []
    for value in (0.0, bad):
        z = clean.clone()
        z[:2, 3] = value
        z[2] = value
        z.requires_grad_()
        term = contrast(z, target, exclude=exclude, positives=reading, row_weight=weight, label_smoothing=0.1)
        pairwise = sigmoid_contrast(z, target, exclude=exclude, row_weight=weight)
        (term.sum + pairwise.sum).backward()
        gradients.append((term.sum.item(), pairwise.sum.item(), z.grad))
    assert gradients[0][:2] == gradients[1][:2]
    assert torch.equal(gradients[0][2], gradients[1][2])


@pytest.mark.parametrize("reading", ["shared", "any", "each"])
def test_large_scores_stay_finite(reading):
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    term = contrast(z, torch.tensor([[1, 0, 1], [1, 0, 0]]).bool(), positives=reading)
    term.sum.backward()
    assert torch.isfinite(term.sum)
    assert torch.isfinite(z.grad).all()


# what it reduces to -------------------------------------------------------------------------------------------------


def test_nt_xent_oracle():
    """The value on which two other libraries agree: B = 256, D = 512, temperature 0.07, float32."""
    torch.manual_seed(0)
    views = F.normalize(torch.cat([torch.randn(256, 512), torch.randn(256, 512)]), dim=1)
    partner = (torch.arange(512) + 256) % 512
    term = contrast(views @ views.T / 0.07, partner, exclude=torch.eye(512, dtype=torch.bool))
    assert term.value().item() == pytest.approx(6.380078, abs=1e-5)
    assert term.count.item() == 512


def test_one_positive_is_the_ordinary_cross_entropy_in_every_reading_and_kind():
    z = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for smoothing in (0.0, 0.3):
        expected = F.cross_entropy(z, torch.arange(6), label_smoothing=smoothing, reduction="sum")
        one = torch.eye(6, dtype=torch.float64)
        for target, reading in [(torch.arange(6), "any"), (one, "shared")] + [
            (one.bool(), reading) for reading in ("shared", "any", "each")
        ]:
            term = contrast(z, target, positives=reading, label_smoothing=smoothing)
            torch.testing.assert_close(term.sum, expected, rtol=1e-12, atol=1e-12)


def test_a_distribution_is_torchs_soft_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    q = torch.randn(5, 7, generator=generator, dtype=torch.float64).softmax(1)
    for smoothing in (0.0, 0.3):
        expected = F.cross_entropy(z, q, label_smoothing=smoothing, reduction="sum")
        torch.testing.assert_close(contrast(z, q, label_smoothing=smoothing).sum, expected, rtol=1e-12, atol=1e-12)


def test_shared_is_supcon_l_out():
    """Khosla et al. 2020, eq. 2: mean over positives of the log softmax over all but the anchor."""
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(12, 8, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.arange(12) % 4
    z, self_pair = features @ features.T / 0.1, torch.eye(12, dtype=torch.bool)
    log_p = z.masked_fill(self_pair, -torch.inf).log_softmax(1)
    same = (labels[:, None] == labels[None]) & ~self_pair
    expected = -torch.where(same, log_p, 0).sum(1) / same.sum(1)
    term = contrast(z, labels[:, None] == labels[None], exclude=self_pair)
    torch.testing.assert_close(term.value(), expected.mean(), rtol=1e-12, atol=1e-12)


def test_shared_is_linear_so_a_uniform_distribution_over_positives_is_the_same():
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    positive = torch.rand(4, 5, generator=generator) < 0.5
    q = positive.double() / positive.sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(contrast(z, positive).sum, contrast(z, q).sum, rtol=1e-12, atol=1e-12)


def test_decoupled_is_nce_plus_log_of_the_rest_and_its_gradient_is_not_damped():
    """Yeh et al. 2022: L_DCL = L_NCE + log(1 - q), and NCE's gradient is DCL's times (1 - q)."""
    z = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    q = z.detach().softmax(1).diagonal()
    coupled = contrast(z, torch.arange(6))
    decoupled = contrast(z, torch.arange(6), positive_in_denominator=False)
    expected = coupled.sum + (1 - q).log().sum()
    torch.testing.assert_close(decoupled.sum, expected, rtol=1e-12, atol=1e-12)
    (grad_coupled,) = torch.autograd.grad(coupled.sum, z)
    (grad_decoupled,) = torch.autograd.grad(decoupled.sum, z)
    torch.testing.assert_close(grad_coupled, (1 - q)[:, None] * grad_decoupled, rtol=1e-12, atol=1e-12)


def test_decoupled_with_one_column_has_no_negatives_and_gives_nothing():
    term = contrast(torch.tensor([[3.0]]), torch.tensor([0]), positive_in_denominator=False)
    assert (term.sum.item(), term.count.item()) == (0.0, 0.0)


def test_readings_are_ordered_on_rows_with_several_positives():
    """-log of the sum <= mean of -log (Jensen), and dropping rival positives from the denominator lowers the loss."""
    z = torch.randn(50, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    positive = torch.zeros(50, 9, dtype=torch.bool)
    positive[:, :3] = True
    loss = {reading: contrast(z, positive, positives=reading).sum for reading in ("shared", "any", "each")}
    assert loss["any"] < loss["each"] < loss["shared"]


def test_excluding_a_column_is_removing_it():
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exclude = torch.zeros(4, 6, dtype=torch.bool)
    exclude[:, 5] = True
    for options in ({}, {"positive_in_denominator": False}, {"label_smoothing": 0.2}):
        left = contrast(z, torch.arange(4), exclude=exclude, **options)
        right = contrast(z[:, :5], torch.arange(4), **options)
        torch.testing.assert_close(left.sum, right.sum, rtol=1e-12, atol=1e-12)


def test_row_weights_are_repetitions():
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([1, 2, 0])
    weighted = contrast(z, target, row_weight=torch.tensor([2.0, 0.0, 1.0]))
    repeated = contrast(z[[0, 0, 2]], target[[0, 0, 2]])
    torch.testing.assert_close(weighted.value(), repeated.value(), rtol=1e-12, atol=1e-12)
    assert weighted.count == repeated.count


def test_similarity_is_its_dense_matrix():
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator)
    lazy = Similarity(rows, columns, lambda a, b: a @ b.T, lambda scores: 7 * scores)
    for target in (torch.tensor([0, 3, 4]), torch.eye(3, 5, dtype=torch.bool)):
        assert torch.equal(contrast(lazy, target).sum, contrast(7 * (rows @ columns.T), target).sum)


def test_half_precision_is_reduced_in_float32():
    z = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    term = contrast(z, torch.arange(8))
    assert term.sum.dtype == torch.float32
    assert torch.equal(term.sum, contrast(z.float(), torch.arange(8)).sum)


@pytest.mark.parametrize("kind", ["index", "bool", "float"])
def test_no_rows_and_no_columns(kind):
    for rows, columns in ((0, 3), (3, 0)):
        target = {
            "index": torch.full((rows,), -1),
            "bool": torch.zeros(rows, columns, dtype=torch.bool),
            "float": torch.zeros(rows, columns),
        }[kind]
        z = torch.zeros(rows, columns, requires_grad=True)
        term = contrast(z, target)
        term.value().backward()
        assert (term.sum.item(), term.count.item()) == (0.0, 0.0)


# the sigmoid sibling ------------------------------------------------------------------------------------------------


def test_sigmoid_contrast_equals_a_loop():
    draw = random.Random(1)
    for _ in range(500):
        rows, columns = draw.randint(1, 4), draw.randint(1, 4)
        z = [[draw.uniform(-20, 20) for _ in range(columns)] for _ in range(rows)]
        positive = [[draw.random() < 0.3 for _ in range(columns)] for _ in range(rows)]
        excluded = [[draw.random() < 0.3 for _ in range(columns)] for _ in range(rows)]
        weight = [draw.choice([0.0, 1.0, 2.0]) for _ in range(rows)]
        total = count = 0.0
        for r in range(rows):
            asked = [c for c in range(columns) if not excluded[r][c]]
            for c in asked:
                total += weight[r] * math.log1p(math.exp(-z[r][c] if positive[r][c] else z[r][c]))
            count += weight[r] if asked else 0.0
        term = sigmoid_contrast(
            torch.tensor(z, dtype=torch.float64),
            torch.tensor(positive),
            exclude=torch.tensor(excluded),
            row_weight=torch.tensor(weight),
        )
        assert (term.sum.item(), term.count.item()) == pytest.approx((total, count), rel=1e-10, abs=1e-10)


def test_sigmoid_contrast_is_binary_cross_entropy_over_pairs():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 6, generator=generator, dtype=torch.float64).requires_grad_()
    target = torch.eye(6, dtype=torch.bool)
    expected = F.binary_cross_entropy_with_logits(z, target.double(), reduction="sum") / 6
    torch.testing.assert_close(sigmoid_contrast(z, target).value(), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda z: sigmoid_contrast(z, target).sum, z)


# what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": torch.tensor([0])}, r"An index target is \(R,\) = \(2,\), not \(1,\)"),
        ({"target": torch.zeros(2, 2).bool()}, r"\(R, C\) = \(2, 3\), not \(2, 2\)"),
        ({"target": torch.ones(2, 3)}, "rows that sum to 1"),
        ({"target": torch.tensor([[2.0, -1.0, 0.0], [1.0, 0.0, 0.0]])}, "no negative entry"),
        ({"target": torch.full((2, 3), 1 / 3), "positives": "any"}, "has no negatives, so positives='any'"),
        ({"target": torch.full((2, 3), 1 / 3), "positive_in_denominator": False}, "use 'shared' and True"),
        ({"exclude": torch.zeros(2, 3)}, "exclude is bool"),
        ({"row_weight": torch.ones(3)}, r"row_weight is \(R,\) = \(2,\), not \(3,\)"),
        ({"positives": "all"}, "positives is 'all': use 'shared', 'any', 'each'"),
        ({"label_smoothing": 1.0}, r"label_smoothing is 1.0: use a number in \[0, 1\)"),
    ],
)
def test_contrast_refuses(options, sentence):
    arguments = {"target": torch.tensor([0, 1]), **options}
    with pytest.raises(ValueError, match=sentence):
        contrast(torch.zeros(2, 3), **arguments)


def test_sigmoid_contrast_refuses_a_target_that_is_not_boolean():
    with pytest.raises(ValueError, match=r"is bool \(R, C\) or int \(R,\), not torch.float32"):
        sigmoid_contrast(torch.zeros(2, 2), torch.eye(2))


def test_scores_are_a_matrix():
    with pytest.raises(ValueError, match=r"Scores are \(R, C\), not \(2,\)"):
        contrast(torch.zeros(2), torch.tensor([0, 1]))
