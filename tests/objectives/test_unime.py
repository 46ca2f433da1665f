from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.core.sample import Column
from medvlp.core.term import Term
from medvlp.objectives.clip import Clip
from medvlp.objectives.unime import Unime, hardest
from medvlp.objectives.unime_distill import UnimeDistill
from tests.objectives.taught import Times
from tests.objectives.world import rows


def context(image: Tensor, text: Tensor, reports: list[str] | None = None) -> Context:
    owner = torch.arange(len(image))
    parts = {parse_key("image/embedding"): Part(image, owner), parse_key("text/embedding"): Part(text, owner)}
    batch = Batch.of({"text": reports or [f"report {i}" for i in range(len(image))]})
    return Context(parts=parts, batch=batch, scale=torch.nn.Identity())


def test_it_is_the_loop_over_filtered_and_sorted_columns():
    v, t, k, margin = rows(7, 0), rows(7, 1), 3, 0.1
    total = 0.0
    for one, other in ((v, t), (t, v)):
        for i in range(7):
            own = float(one[i] @ other[i])
            left = [z for j in range(7) if j != i and (z := float(one[i] @ other[j])) <= own + margin]
            hard = sorted(left, reverse=True)[:k]
            total += math.log(sum(map(math.exp, [own, *hard]))) - own
    terms = Unime(negatives=k, margin=margin)(context(v, t))
    assert sum(term.value().item() for term in terms.values()) == pytest.approx(total / 14, rel=1e-12)


def test_positives_share_a_rows_negatives_at_the_models_scale_and_what_is_excluded_is_none():
    """Reports 0 and 3 are equal, patients of 1 and 2 too; the bar is of cosines, whatever the scale."""
    v, t, k, margin, scale = rows(6, 3), rows(6, 4), 2, 0.15, 20.0
    reports, patients = ["a", "b", "c", "A ", "e", "f"], list("pqqrst")
    parts = {
        parse_key("image/embedding"): Part(v, torch.arange(6)),
        parse_key("text/embedding"): Part(t, torch.arange(6)),
    }
    ctx = Context(parts=parts, batch=Batch.of({"text": reports, "id.patient": patients}), scale=Times(scale))
    alike = [[i, 3 - i] if i in (0, 3) else [i] for i in range(6)]
    terms, filtered = Unime(negatives=k, margin=margin, exclude="same_patient")(ctx), 0
    for name, one, other in (("image_to_text", v, t), ("text_to_image", t, v)):
        total = 0.0
        for i in range(6):
            cosine = (one[i] @ other.T).tolist()
            bar = max(cosine[p] for p in alike[i]) + margin
            others = [j for j in range(6) if j not in alike[i] and patients[j] != patients[i]]
            left = [cosine[j] for j in others if cosine[j] <= bar]
            filtered += len(left) < len(others)
            hard = sum(math.exp(scale * z) for z in sorted(left, reverse=True)[:k])
            for p in alike[i]:
                total += (math.log(math.exp(scale * cosine[p]) + hard) - scale * cosine[p]) / len(alike[i])
        assert terms[name].value().item() == pytest.approx(total / 12, rel=1e-10)
    assert filtered > 0


def test_with_every_negative_and_no_bar_it_is_clip():
    ctx = context(rows(6, 0), rows(6, 1))
    clip, unime = Clip(positives="own")(ctx), Unime(negatives=5, margin=math.inf, positives="own")(ctx)
    for name, term in clip.items():
        assert unime[name].value().item() == pytest.approx(term.value().item(), rel=1e-14)


def test_a_positive_is_never_filtered_and_a_row_without_negatives_costs_nothing():
    """With a margin far below zero nothing else is left: the loss of a row that has its positive alone is 0."""
    terms = Unime(margin=-5.0)(context(rows(4, 0), rows(4, 1)))
    assert [(term.sum.item(), term.count.item()) for term in terms.values()] == [(0, 4), (0, 4)]


def test_a_copy_of_the_positive_passes_the_filter_and_becomes_the_hardest_negative():
    """The trap of the reference: only a margin below 0 filters it, so copies must be known otherwise."""
    v = rows(4, 0)
    t = rows(4, 1)
    t = torch.stack([t[0], t[0], t[2], t[3]])
    scores, own = v @ t.T, torch.eye(4, dtype=torch.bool)
    for margin, found in ((0.1, True), (0.0, True), (-1e-9, False)):
        assert hardest(scores, own, ~own, negatives=4, margin=margin)[0, 1].item() is found
    unaware = Unime(negatives=1, positives="own")(context(v, t, ["a", "A ", "b", "c"]))
    known = Unime(negatives=1)(context(v, t, ["a", "A ", "b", "c"]))
    assert unaware["image_to_text"].sum > known["image_to_text"].sum


def test_what_is_excluded_is_no_negative_and_few_columns_are_enough():
    scores = torch.tensor([[0.5, 0.55, 0.4, 0.3, 0.9]])
    own = torch.tensor([[True, False, False, False, False]])
    others = torch.tensor([[False, False, True, True, True]])
    assert hardest(scores, own, others, negatives=8, margin=0.1).tolist() == [[False, False, True, True, False]]
    none = torch.zeros_like(own)  # a row without a positive has no bar
    assert not hardest(scores, none, others, negatives=2, margin=0.1).any()


def test_which_columns_are_kept_has_no_gradient_and_others_have_none():
    v, t = rows(5, 0), rows(5, 1).requires_grad_()
    objective = Unime(negatives=1)
    objective(context(v, t))["image_to_text"].sum.backward()
    own = torch.eye(5, dtype=torch.bool)
    used = own | hardest((v @ t.detach().T), own, ~own, negatives=1, margin=0.1)
    assert t.grad is not None
    assert torch.equal(t.grad.abs().sum(dim=1) > 0, used.any(dim=0))


# the first stage ----------------------------------------------------------------------------------------------------


def texts(student: Tensor, taught: Tensor) -> Context:
    owner = torch.arange(len(student))
    parts = {parse_key("text/embedding"): Part(student, owner), parse_key("frozen:text/embedding"): Part(taught, owner)}
    return Context(parts=parts, batch=Batch.of({"text": list("abcdefgh")[: len(student)]}))


def divergence(student: Tensor, taught: Tensor, **options: float) -> float:
    objective = UnimeDistill(teacher="frozen:text/embedding", **options)
    return objective(texts(student, taught))["texts"].value().item()


def test_it_is_the_divergence_of_rows():
    e, h, total = rows(5, 0), rows(5, 1), 0.0
    for i in range(5):
        p = [math.exp(float(h[i] @ h[j]) / 0.3) for j in range(5)]
        q = [math.exp(float(e[i] @ e[j]) / 0.3) for j in range(5)]
        total += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    assert divergence(e, h, temperature=0.3) == pytest.approx(total / 5, rel=1e-11)


def test_it_is_zero_if_and_only_if_the_rows_are_equal():
    h = rows(5, 0)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    assert divergence(h @ turn, h) == pytest.approx(0, abs=1e-12)  # only similarities count: a turned teacher is one
    student = (h @ turn).requires_grad_()
    objective = UnimeDistill(teacher="frozen:text/embedding", temperature=0.2)
    objective(texts(student, h))["texts"].sum.backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12
    assert divergence(rows(5, 1), h, temperature=0.2) > 1e-3


def test_a_teacher_may_be_wider_and_have_any_length_and_learns_nothing():
    student, taught = rows(4, 0), torch.randn(4, 9, dtype=torch.float64).requires_grad_()
    found = divergence(student, taught, temperature=0.2)
    assert found == pytest.approx(divergence(student, 7 * taught, temperature=0.2), rel=1e-9)
    objective = UnimeDistill(teacher="frozen:text/embedding", temperature=0.2)
    term = objective(texts(student.requires_grad_(), taught))["texts"]
    term.sum.backward()
    assert taught.grad is None


def test_stored_vectors_of_any_length_are_a_teacher_too():
    student, taught = rows(4, 0), rows(4, 1)
    ctx = texts(student, taught)
    stored = ctx.batch.with_columns({"vector.teacher": Column(7 * taught, torch.arange(4))})
    objective = UnimeDistill(teacher="vector.teacher", temperature=0.2)
    found = objective(Context(parts=ctx.parts, batch=stored))["texts"].value().item()
    assert found == pytest.approx(divergence(student, taught, temperature=0.2), rel=1e-9)
    assert sorted(map(str, objective.needs())) == ["text/embedding", "vector.teacher"]


def stored(student: Tensor, taught: Tensor | None, owner: list[int]) -> Term:
    """The term of a teacher of whom samples `owner` have a vector."""
    batch = Batch.of({"text": list("abcdefgh")[: len(student)]})
    if taught is not None:
        batch = batch.with_columns({"vector.teacher": Column(taught, torch.tensor(owner))})
    parts = {parse_key("text/embedding"): Part(student, torch.arange(len(student)))}
    return UnimeDistill(teacher="vector.teacher", temperature=0.2)(Context(parts=parts, batch=batch))["texts"]


def test_a_text_without_a_stored_vector_is_left_out():
    student, taught, others = rows(5, 0), rows(5, 1), [0, 1, 3, 4]
    whole, few = student.clone().requires_grad_(), student[others].requires_grad_()
    broken = taught.clone()
    broken[2, 1] = math.nan
    expected = stored(few, taught[others], [0, 1, 2, 3])
    expected.sum.backward()
    for values, owner in ((taught[others], others), (broken, list(range(5)))):
        whole.grad = None
        found = stored(whole, values, owner)
        found.sum.backward()
        assert found.count.item() == expected.count.item() == 4
        assert found.sum.item() == pytest.approx(expected.sum.item(), rel=1e-12)
        assert whole.grad is not None
        assert few.grad is not None
        torch.testing.assert_close(whole.grad[others], few.grad)
        assert not whole.grad[2].any()


def test_where_no_text_has_a_stored_vector_nothing_is_taught():
    for taught in (None, torch.full((4, 3), math.nan, dtype=torch.float64)):
        student = rows(4, 0).requires_grad_()
        term = stored(student, taught, [0, 1, 2, 3])
        term.sum.backward()
        assert (term.sum.item(), term.count.item()) == (0, 0)
        assert student.grad is not None
        assert not student.grad.any()


def test_at_the_papers_temperature_unlike_texts_are_all_alike():
    """Each row is compared with itself, at cosine 1: of a text at cosine 0.5 e^-25 is seen, so little is taught."""
    far = torch.tensor([[1.0, 0, 0], [0.5, 0.75**0.5, 0], [0, 0, 1]], dtype=torch.float64)
    apart = torch.eye(3, dtype=torch.float64)
    assert divergence(apart, far) < 1e-8
    assert divergence(apart, far, temperature=0.5) > 1e-2


def test_a_temperature_is_above_zero():
    with pytest.raises(ConfigError, match=r"x\.temperature is 0\.0: input should be greater than 0"):
        build("objectives", {"name": "unime_distill", "teacher": "t:text/embedding", "temperature": 0.0}, where="x")
