"""MeDSLIP's losses against loops written from their description, and what must hold whatever the numbers are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.parts import Part
from medvlp.core.registry import build
from medvlp.core.sample import Batch, Column
from medvlp.objectives._medslip import draw_others, existence_loss, pair_loss, prototype_loss
from medvlp.objectives.medslip import Medslip

R, A, P, D = 5, 6, 4, 3


def world(seed: int = 0, *, rows: int = R) -> dict[str, Tensor]:
    """What a head gives for `rows` images, two books and a matrix with every kind of entry, in float64."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    matrix = torch.randint(-1, 2, (rows, A, P), generator=draw).double()
    matrix[0, :, 0] = -1  # a pathology of which nothing is said
    matrix[1 % rows] = -1  # an image of which nothing is said
    return {
        "pathology": normal(rows, P, 2),
        "anatomy": normal(rows, A, 2),
        "pathology_text": normal(rows, P, D),
        "anatomy_text": normal(rows, A, D),
        "pairs": normal(rows, A, P),
        "book_pathology": normal(P, D),
        "book_anatomy": normal(A, D),
        "matrix": matrix,
    }


def context(given: dict[str, Tensor], *, positions: Tensor | None = None, seed: int = 0) -> Context:
    rows = len(given["pairs"])
    owner = torch.arange(rows)
    names = {
        "medslip": "pairs",
        **{f"medslip_{n}": n for n in ("pathology", "anatomy", "pathology_text", "anatomy_text")},
    }
    parts = {parse_key(f"image/{part}"): Part(given[name], owner) for part, name in names.items()}
    for stream in ("pathology", "anatomy"):
        book = given[f"book_{stream}"]
        parts[parse_key(f"bank.{stream}/raw")] = Part(book, torch.full((len(book),), -1))
    column = Column(given["matrix"].flatten(1).float(), owner)
    batch = Batch(tuple(map(str, range(rows))), owner if positions is None else positions, {"vector.triplets": column})
    return Context(parts=parts, batch=batch, seed=seed)


def by_loop(
    given: dict[str, Tensor], draws: dict[str, Tensor], *, negatives: int = 7, temperature: float | None = None
) -> dict[str, float]:
    """The five losses, image by image and query by query."""

    def score(place: Tensor, feature: Tensor) -> Tensor:
        return place @ feature if temperature is None else F.cosine_similarity(place, feature, dim=0) / temperature

    found: dict[str, list[float]] = {}
    for stream, other in (("pathology", "anatomy"), ("anatomy", "pathology")):
        for b in range(len(given["matrix"])):
            m = given["matrix"][b].T if stream == "pathology" else given["matrix"][b]
            for q in range(len(m)):
                said = m[q].tolist()
                label = 1 if 1 in said else 0 if 0 in said else -1
                if label >= 0:
                    loss = -given[stream][b, q].log_softmax(0)[label].item()
                    found.setdefault(f"exist_{stream}", []).append(loss)
                if label != 1:
                    continue
                book = given[f"book_{other}"]
                here = [r for r, value in enumerate(said) if value == 1]
                prototype = sum(book[r] for r in here) / len(here)
                free = sorted(
                    (r for r in range(len(said)) if said[r] != 1), key=lambda r: draws[stream][b, q, r].item()
                )
                feature = given[f"{stream}_text"][b, q]
                scores = [score(prototype, feature), *(score(book[r], feature) for r in free[:negatives])]
                loss = -torch.stack(scores).log_softmax(0)[0].item()
                found.setdefault(f"prototypes_{stream}", []).append(loss)
    for b in range(len(given["matrix"])):
        for r in range(A):
            for q in range(P):
                if given["matrix"][b, r, q] >= 0:
                    chance = torch.sigmoid(given["pairs"][b, r, q]).item()
                    found.setdefault("pairs", []).append(
                        -math.log(chance if given["matrix"][b, r, q] == 1 else 1 - chance)
                    )
    return {name: sum(losses) / len(losses) for name, losses in found.items()}


@pytest.mark.parametrize(("negatives", "temperature"), [(1, None), (3, None), (7, None), (3, 0.2)])
@pytest.mark.parametrize("seed", range(3))
def test_each_loss_is_the_loop(seed: int, negatives: int, temperature: float | None) -> None:
    given, ctx = world(seed), context(world(seed), seed=seed)
    draws = {
        "pathology": ctx.uniform(P, A, name="medslip negatives pathology"),
        "anatomy": ctx.uniform(A, P, name="medslip negatives anatomy"),
    }
    terms = Medslip(negatives=negatives, temperature=temperature).double()(ctx)
    expected = by_loop(given, draws, negatives=negatives, temperature=temperature)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():  # the temperature is stored in float32
        assert term.value().item() == pytest.approx(expected[name], rel=1e-9 if temperature is None else 1e-6), name


def test_a_prototype_whose_query_says_nothing_costs_log_eight() -> None:
    matrix = torch.full((2, 1, 20), -1.0)
    matrix[:, 0, :2] = 1
    term = prototype_loss(torch.zeros(2, 1, 5), matrix, torch.randn(20, 5), torch.rand(2, 1, 20))
    assert term.value().item() == pytest.approx(math.log(8), abs=1e-6)
    assert term.count.item() == 2


def test_the_prototype_of_one_place_is_that_place() -> None:
    """With a feature equal to a book's row, its score against itself is its squared length."""
    book = torch.eye(4, dtype=torch.float64) * 9
    matrix = torch.tensor([[[-1.0, 1.0, -1.0, -1.0]]])
    term = prototype_loss(book[None, [1]], matrix, book, torch.rand(1, 1, 4), negatives=3)
    assert term.value().item() == pytest.approx(math.log(1 + 3 * math.exp(-81)), abs=1e-12)
    two = prototype_loss(
        book[None, [1]], torch.tensor([[[1.0, 1.0, -1.0, -1.0]]]), book, torch.rand(1, 1, 4), negatives=2
    )
    assert two.value().item() == pytest.approx(math.log(1 + 2 * math.exp(-81 / 2)), abs=1e-12)


def test_where_nothing_is_said_every_loss_is_zero_with_finite_gradients() -> None:
    given = {n: t.clone().requires_grad_(n != "matrix") for n, t in world().items()}
    given["matrix"] = torch.full_like(given["matrix"].detach(), -1)
    for spec in ({}, {"temperature": 0.1, "absent_only": True}):
        terms = Medslip(**spec)(context(given))
        assert len(terms) == 5
        assert all(term.value().item() == 0 and term.count.item() == 0 for term in terms.values())
        sum(term.sum for term in terms.values()).backward()
        grads = [given[n].grad for n in given if given[n].grad is not None]
        assert grads
        assert all(torch.isfinite(grad).all() and not grad.any() for grad in grads)


def test_a_batch_without_the_field_is_a_batch_of_which_nothing_is_said() -> None:
    ctx = context(world())
    ctx.batch = Batch(ctx.batch.ids, ctx.batch.positions, {})
    assert all(term.count.item() == 0 for term in Medslip()(ctx).values())


def test_the_matrix_is_left_as_it_was() -> None:
    ctx = context(world())
    before = ctx["vector.triplets"].clone()
    Medslip()(ctx)
    assert torch.equal(ctx["vector.triplets"], before)


def test_images_may_stand_in_any_order() -> None:
    """Each keeps its place in the sample stream, and with it its draws."""
    given, order = world(3), torch.tensor([3, 0, 4, 1, 2])
    moved = {n: t if n.startswith("book") else t[order] for n, t in given.items()}
    here, there = Medslip()(context(given)), Medslip()(context(moved, positions=order))
    for name in here:
        torch.testing.assert_close(here[name].sum, there[name].sum)
        assert here[name].count == there[name].count


def test_queries_may_stand_in_any_order_where_all_others_are_drawn() -> None:
    given, order = world(4), torch.tensor([2, 0, 3, 1])
    moved = {**given, "matrix": given["matrix"][:, :, order], "pairs": given["pairs"][:, :, order]}
    moved |= {name: given[name][:, order] for name in ("pathology", "pathology_text")}
    moved["book_pathology"] = given["book_pathology"][order]
    here, there = (Medslip(negatives=A)(context(each)) for each in (given, moved))
    for name in here:
        torch.testing.assert_close(here[name].sum, there[name].sum)


def test_negatives_are_drawn_anew_when_a_sample_is_seen_again_and_alike_when_it_is_repeated() -> None:
    given = world(5)
    first, again = (Medslip(negatives=1)(context(given))["prototypes_pathology"].sum for _ in range(2))
    later = Medslip(negatives=1)(context(given, positions=torch.arange(R) + R))["prototypes_pathology"].sum
    other = Medslip(negatives=1)(context(given, seed=1))["prototypes_pathology"].sum
    assert torch.equal(first, again)
    assert not torch.allclose(first, later)
    assert not torch.allclose(first, other)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.booleans())
@settings(max_examples=60, deadline=None)
def test_others_are_never_present_none_twice_and_as_many_as_there_are(seed: int, count: int, absent_only: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.randint(-1, 2, (6, 7), generator=draw).float()
    drawn = draw_others(matrix, torch.rand(6, 7, generator=draw), count=count, absent_only=absent_only)
    for row, chosen in zip(matrix, drawn.tolist(), strict=True):
        real = [c for c in chosen if c >= 0]
        absent = int((row == 0).sum())
        pool = (row == 0) if absent_only and absent else (row != 1)
        assert len(set(real)) == len(real) == min(count, int(pool.sum()))
        assert all(pool[c] for c in real)


def test_each_other_is_as_likely_as_another() -> None:
    matrix = torch.tensor([[1.0, -1.0, 0.0, -1.0, 0.0, -1.0]]).expand(6000, -1)
    drawn = draw_others(matrix, torch.rand(6000, 6, generator=torch.Generator().manual_seed(0)), count=2)
    counts = torch.bincount(drawn.flatten(), minlength=6)
    assert counts[0] == 0
    assert (counts[1:] - 2400).abs().max() < 5 * (2400 * 0.6) ** 0.5


def test_present_beats_absent_and_silence_is_left_out() -> None:
    matrix = torch.tensor([[[0.0, 1.0], [0.0, 0.0], [-1.0, -1.0], [-1.0, 0.5]]])
    logits = torch.tensor([[[0.0, 3.0]]]).expand(1, 4, 2)
    losses = F.cross_entropy(torch.tensor([[0.0, 3.0]] * 2), torch.tensor([1, 0]), reduction="none")
    half = losses.mean()  # a soft statement asks for both halves
    term = existence_loss(logits, matrix)
    assert term.count.item() == 3
    torch.testing.assert_close(term.sum, losses.sum() + half)


def test_pairs_are_pooled_over_the_batch_not_averaged_by_image() -> None:
    matrix = torch.tensor([[[1.0, 0.0, 1.0]], [[-1.0, -1.0, 0.0]]])
    scores = torch.tensor([[[2.0, 2.0, 2.0]], [[5.0, 5.0, 2.0]]])
    expected = [math.log1p(math.exp(-2)), math.log1p(math.exp(2)), math.log1p(math.exp(-2)), math.log1p(math.exp(2))]
    assert pair_loss(scores, matrix).value().item() == pytest.approx(sum(expected) / 4, rel=1e-6)


def test_a_temperature_compares_directions_and_learns() -> None:
    given = world(6)
    objective = Medslip(temperature=0.1)
    longer = {n: t * 7 if n.startswith("book") or n.endswith("text") else t for n, t in given.items()}
    here, there = objective(context(given)), objective(context(longer))
    torch.testing.assert_close(here["prototypes_anatomy"].sum, there["prototypes_anatomy"].sum)
    here["prototypes_anatomy"].sum.backward()
    assert objective.protocl.log_scale.grad.abs().item() > 1e-6
    with torch.no_grad():
        objective.protocl.log_scale.fill_(9.0)
    objective.protocl.after_step(0)
    assert objective.protocl.log_scale.exp().item() == pytest.approx(100)
    plain = Medslip()
    assert not list(plain.parameters())


def test_weights_scale_their_terms_and_zero_asks_for_nothing() -> None:
    given = world(7)
    full, weighed = Medslip()(context(given)), Medslip(exist=0.5, prototypes=2.0, pairs=3.0)(context(given))
    for name, factor in (("exist_anatomy", 0.5), ("prototypes_anatomy", 2.0), ("pairs", 3.0)):
        assert weighed[name].value().item() == pytest.approx(factor * full[name].value().item())
    alone = Medslip(prototypes=0, pairs=0)
    assert sorted(map(str, alone.needs())) == ["image/medslip_anatomy", "image/medslip_pathology", "vector.triplets"]
    assert sorted(alone(context(given))) == ["exist_anatomy", "exist_pathology"]


def test_the_prototypes_stand_alone_under_their_own_name() -> None:
    given = world(8)
    alone: Any = build("objectives", {"name": "medslip_protocl"}, where="test")
    whole = Medslip()(context(given))
    for name, term in alone(context(given)).items():
        assert torch.equal(term.sum, whole[name].sum)


def test_images_of_a_sample_share_its_matrix_and_those_without_one_are_left_out() -> None:
    given = world(9)
    ctx = context(given)
    column = Column(given["matrix"].flatten(1).float()[[0, 3]], torch.tensor([0, 3]))
    ctx.batch = Batch(ctx.batch.ids, ctx.batch.positions, {"vector.triplets": column})
    twice = {
        key: Part(part.values, torch.tensor([0, 0, 2, 3, 4])) if not key.is_bank else part
        for key, part in ctx.parts.items()
    }
    terms = Medslip()(Context(parts=twice, batch=ctx.batch))
    said = int((given["matrix"][0] >= 0).sum())
    assert terms["pairs"].count.item() == 2 * said + int((given["matrix"][3] >= 0).sum())


def test_mistakes_are_one_sentence() -> None:
    given = world()
    given["matrix"] = given["matrix"][:, :3]
    with pytest.raises(
        ConfigError, match=r"'vector.triplets' has \(12,\) values a sample, and the head 'medslip' has 6 a"
    ):
        Medslip()(context(given))
    with pytest.raises(ConfigError, match=r"x\.prototypes is -1\.0: input should be greater than or equal to 0"):
        build("objectives", {"name": "medslip", "prototypes": -1.0}, where="x")
    with pytest.raises(ConfigError, match=r"x\.temperature is 0\.0: input should be greater than 0"):
        build("objectives", {"name": "medslip", "temperature": 0.0}, where="x")
