from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core import Batch, Column, Context
from medvlp.objectives.cacr import Cacr
from tests.objectives.test_clip import context, value
from tests.objectives.world import rows

OWNER = torch.tensor([0, 0, 0, 1, 2, 2])  # sentences of three studies


def sentences(image: Tensor, text: Tensor) -> Context:
    batch = Batch(tuple("abc"), torch.arange(3), {"text": Column(tuple("stuvwx"), OWNER)})
    return context(image, text, batch, owner=OWNER)


def by_hand(own: Tensor, others: Tensor, same: Tensor, *, near: float, far: float) -> tuple[float, float]:
    """Attraction and repulsion with loops."""
    attraction = repulsion = 0.0
    for x, belongs in zip(own, same, strict=True):
        cost = [sum((a - b) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True)) for y in others]
        positive = [c for c, mine in zip(cost, belongs.tolist(), strict=True) if mine]
        negative = [c for c, mine in zip(cost, belongs.tolist(), strict=True) if not mine]
        weights = [math.exp(near * c) for c in positive]
        attraction += sum(w * c for w, c in zip(weights, positive, strict=True)) / sum(weights)
        weights = [math.exp(-far * c) for c in negative]
        repulsion -= sum(w * c for w, c in zip(weights, negative, strict=True)) / sum(weights)
    return attraction / len(own), repulsion / len(own)


@pytest.mark.parametrize(("near", "far"), [(1.0, 0.9), (1.0, 2.0), (0.0, 0.0)])
def test_it_is_the_papers_loss(near: float, far: float) -> None:
    image, text = rows(3, 0), rows(6, 1)
    terms = Cacr(positives="own", attraction=near, repulsion=far)(sentences(image, text))
    same = torch.arange(3)[:, None] == OWNER
    for name, own, others, belongs in (("image", image, text, same), ("text", text, image, same.T)):
        attraction, repulsion = by_hand(own, others, belongs, near=near, far=far)
        assert 2 * terms[f"{name}_attraction"].value().item() == pytest.approx(attraction, rel=1e-12)
        assert 2 * terms[f"{name}_repulsion"].value().item() == pytest.approx(repulsion, rel=1e-12)


def test_what_is_excluded_neither_attracts_nor_repels() -> None:
    """Studies 0 and 1 are of one patient: they are no negatives of each other, and 2 is one of both."""
    image, text = rows(3, 0), rows(6, 1)
    ctx = sentences(image, text)
    ctx.batch = ctx.batch.with_columns({"id.patient": Column(("p", "p", "q"), torch.arange(3))})
    terms = Cacr(positives="own", exclude="same_patient")(ctx)
    same, patient = torch.arange(3)[:, None] == OWNER, torch.tensor([0, 0, 1])
    compared = same | (patient[:, None] != patient[OWNER])
    images, texts = ("image", image, text, same, compared), ("text", text, image, same.T, compared.T)
    for name, own, others, belongs, there in (images, texts):
        each = [
            by_hand(x[None], others[some], mine[some][None], near=1.0, far=2.0)
            for x, mine, some in zip(own, belongs, there, strict=True)
        ]
        for kind, values in zip(("attraction", "repulsion"), zip(*each, strict=True), strict=True):
            assert 2 * terms[f"{name}_{kind}"].value().item() == pytest.approx(sum(values) / len(values), rel=1e-12)


def test_one_positive_attracts_by_two_minus_two_cosines() -> None:
    image, text = rows(4, 0), rows(4, 1)
    terms = Cacr(attraction=3.0)(context(image, text, Batch.of({"text": list("abcd")})))
    expected = (2 - 2 * (image * text).sum(1)).mean()
    for name in ("image_attraction", "text_attraction"):
        torch.testing.assert_close(2 * terms[name].value(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_weights_only_raise_both_terms_above_the_plain_means(seed: int) -> None:
    ctx = sentences(rows(3, seed), rows(6, 100 + seed))
    weighted, plain = (Cacr(positives="own", attraction=t, repulsion=t)(ctx) for t in (1.0, 0.0))
    assert all(weighted[name].value() >= plain[name].value() - 1e-15 for name in plain)
    assert weighted["image_attraction"].value() > plain["image_attraction"].value()
    assert weighted["text_repulsion"].value() > plain["text_repulsion"].value()


def test_the_form_rbf_with_one_positive_is_2_t_infonce() -> None:
    image, text = rows(5, 0), rows(5, 1)
    terms = Cacr(form="rbf", temperature=0.3)(context(image, text, Batch.of({"text": list("abcde")})))
    z = image @ text.T / 0.3
    for name, matrix in (("image", z), ("text", z.T)):
        expected = 2 * 0.3 * F.cross_entropy(matrix, torch.arange(5)) / 2
        torch.testing.assert_close(terms[name].value(), expected, rtol=1e-12, atol=1e-12)


def test_the_form_rbf_weighs_far_positives_with_constants() -> None:
    image, text = rows(3, 0), rows(6, 1).requires_grad_()
    got = Cacr(positives="own", form="rbf", temperature=0.5)(sentences(image, text))["image"].value()
    z, same = image @ text.T, torch.arange(3)[:, None] == OWNER
    weight = (2 - 2 * z).masked_fill(~same, -math.inf).softmax(1).detach()
    expected = 2 * 0.5 * -(weight * (z / 0.5).log_softmax(1)).sum(1).mean() / 2
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(loss, text, retain_graph=True) for loss in (got, expected)))


def test_a_prior_takes_off_what_unknown_positives_add() -> None:
    """Two of ten columns are copies of the positive: with the prior 0.2 the plain repulsion is that of the true eight.

    The published code has the other sign, which the second line would show.
    """
    image, text = rows(9, 0), rows(9, 1)
    text = torch.cat([text, text[:1], text[:1]])  # the copies of 0's text belong to samples that nobody relates to it
    owner = torch.cat([torch.arange(9), torch.tensor([9, 10])])
    batch = Batch(tuple("abcdefghijk"), torch.arange(11), {"text": Column(tuple("abcdefghijk"), torch.arange(11))})
    image = torch.cat([image, rows(2, 2)])
    ctx = context(image, text, batch, owner=owner)
    cost = 2 - 2 * image[0] @ text.T
    got = -(cost[1:].mean() - 0.2 * cost[0]) / 0.8
    torch.testing.assert_close(got, -cost[1:9].mean(), rtol=1e-12, atol=1e-12)
    term = Cacr(positives="own", repulsion=0.0, prior=0.2)(ctx)["image_repulsion"]
    every = 2 - 2 * image @ text.T
    others = (every.sum(1) - every.diagonal()) / 10
    expected = (-others + 0.2 * every.diagonal()) / 0.8
    torch.testing.assert_close(2 * term.value(), expected.mean(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(expected[0], got, rtol=1e-12, atol=1e-12)


def test_a_row_without_negative_attracts_alone() -> None:
    terms = Cacr()(context(rows(3, 0), rows(3, 1).requires_grad_(), Batch.of({"text": ["a"] * 3})))
    assert (terms["image_attraction"].count.item(), terms["image_repulsion"].count.item()) == (3, 0)
    sum(term.value() for term in terms.values()).backward()


def test_gradients_flow_through_the_weights() -> None:
    image, text = rows(3, 0), rows(6, 1)

    def loss(image: Tensor, text: Tensor) -> Tensor:
        return value(Cacr(positives="own"), sentences(F.normalize(image), F.normalize(text)))

    assert torch.autograd.gradcheck(loss, (image.requires_grad_(), text.requires_grad_()))
