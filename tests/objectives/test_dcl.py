from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Context
from medvlp.core.registry import build
from medvlp.objectives.clip import Clip
from medvlp.objectives.dcl import Dcl
from tests.objectives.test_clip import context, value
from tests.objectives.world import rows

REPORTS = list("abcdef")


def by_hand(
    own: Tensor, others: Tensor, *, scale: float, sigma: float | None, within: bool, patients: str = "abcdef"
) -> float:
    """One direction with loops: row i's positive is column i; negatives are the other patients' columns, and the rows
    of those of its own view.
    """

    def dot(a: Tensor, b: Tensor) -> float:
        return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))

    count = len(own)
    pairs = [dot(own[i], others[i]) for i in range(count)]
    weights = [1.0] * count
    if sigma is not None:
        mean = sum(math.exp(p / sigma) for p in pairs) / count
        weights = [2 - math.exp(p / sigma) / mean for p in pairs]
    assert sum(weights) / count == pytest.approx(1, rel=1e-12)
    total = 0.0
    for i in range(count):
        far = [j for j in range(count) if patients[j] != patients[i]]
        below = sum(math.exp(scale * dot(own[i], others[j])) for j in far)
        below += sum(math.exp(scale * dot(own[i], own[j])) for j in far if within)
        total += math.log(below) - weights[i] * scale * pairs[i]
    return total / count


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("sigma", [None, 0.5, 0.1])
def test_it_is_the_papers_loss(sigma: float | None, within: bool) -> None:
    """With a row's own view too that is SimCLR's form: 2 B - 2 negatives at temperature 0.1."""
    image, text = rows(6, 0), rows(6, 1)
    terms = Dcl(sigma=sigma, within=within)(context(image, text, Batch.of({"text": REPORTS})))
    for name, own, others in (("image_to_text", image, text), ("text_to_image", text, image)):
        expected = by_hand(own, others, scale=10, sigma=sigma, within=within)
        assert 2 * terms[name].value().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("within", [False, True])
def test_what_is_excluded_is_a_negative_in_neither_view(within: bool) -> None:
    image, text, patients = rows(6, 0), rows(6, 1), "ppqqrr"
    batch = Batch.of({"text": REPORTS, "id.patient": list(patients)})
    terms = Dcl(exclude="same_patient", within=within)(context(image, text, batch))
    for name, own, others in (("image_to_text", image, text), ("text_to_image", text, image)):
        expected = by_hand(own, others, scale=10, sigma=0.5, within=within, patients=patients)
        assert 2 * terms[name].value().item() == pytest.approx(expected, rel=1e-12)


def test_a_row_whose_negatives_are_all_excluded_has_no_part_in_the_mean_of_weights() -> None:
    """The first shares a finding with both others, which share none."""
    image, text = rows(3, 0), rows(3, 1)
    labels = {"label.edema": torch.tensor([1.0, 1, 0]), "label.nodule": torch.tensor([1.0, 0, 1])}
    terms = Dcl(exclude="shared_labels")(context(image, text, Batch.of({"text": list("abc"), **labels})))
    for name, own, others in (("image_to_text", image, text), ("text_to_image", text, image)):
        expected = by_hand(own[1:], others[1:], scale=10, sigma=0.5, within=False)
        assert 2 * terms[name].value().item() == pytest.approx(expected, rel=1e-12)
        assert terms[name].count.item() == 2


def test_without_weights_it_is_decoupled_clip() -> None:
    ctx = context(rows(6, 0), rows(6, 1), Batch.of({"text": list("aabbcd")}))
    options = {"positives": "same_report", "exclude": "none"}
    plain, decoupled = Dcl(sigma=None, **options), Clip(positive_in_denominator=False, **options)
    torch.testing.assert_close(value(plain, ctx), value(decoupled, ctx), rtol=1e-12, atol=1e-12)


def test_infonces_gradient_is_the_decoupled_one_times_what_negatives_hold() -> None:
    """Check of the card: the factor 1 - q of each anchor, q its positive's probability."""
    from medvlp.objectives import contrast

    scores, target = (5 * rows(6, 0) @ rows(6, 1).T), torch.arange(6)
    gradients = []
    for positive_in_denominator in (True, False):
        z = scores.clone().requires_grad_()
        contrast(z, target, positive_in_denominator=positive_in_denominator).sum.backward()
        gradients.append(z.grad)
    factor = 1 - scores.softmax(1).diagonal()
    torch.testing.assert_close(gradients[0], factor[:, None] * gradients[1], rtol=1e-10, atol=1e-14)


def test_a_batch_of_one_or_of_one_report_is_no_loss() -> None:
    for count in (1, 3):
        image, text = rows(count, 0).requires_grad_(), rows(count, 1)
        terms = Dcl()(context(image, text, Batch.of({"text": ["same"] * count})))
        assert [(term.sum.item(), term.count.item()) for term in terms.values()] == [(0.0, 0.0)] * 2
        sum(term.value() for term in terms.values()).backward()
        assert image.grad.abs().max() == 0


def test_a_pair_is_drawn_together_however_near_it_is() -> None:
    """Were the weights no constants, the nearest pair would be pushed apart."""
    angle = torch.tensor([0.05, 1.0, 1.2], dtype=torch.float64, requires_grad=True)
    image = torch.eye(6, dtype=torch.float64)[:3]
    text = angle.cos()[:, None] * image + angle.sin()[:, None] * torch.eye(6, dtype=torch.float64)[3:]
    value(Dcl(sigma=0.5), context(image, text, Batch.of({"text": list("abc")}))).backward()
    assert (angle.grad > 0).all()
    cosine = angle.detach().cos().requires_grad_()
    weight = 2 - 3 * (cosine / 0.5).softmax(0)
    (-weight * cosine).sum().backward()
    assert cosine.grad[0] > 0  # a larger cosine would raise the loss


def test_several_texts_of_a_sample_share_its_weight() -> None:
    """Equal reports: p is the mean cosine with all of them."""
    image, text = rows(3, 0), rows(3, 1)
    ctx = context(image, text, Batch.of({"text": ["a", "a", "b"]}))
    z = image @ text.T
    p = torch.stack([z[0, :2].mean(), z[1, :2].mean(), z[2, 2]])
    w = 2 - 3 * (p / 0.5).softmax(0)
    below = torch.stack([10 * z[0, 2], 10 * z[1, 2], (10 * z[2, :2]).logsumexp(0)])
    expected = (below - w * 10 * p).mean() / 2
    torch.testing.assert_close(Dcl()(ctx)["image_to_text"].value(), expected, rtol=1e-12, atol=1e-12)


def test_two_of_a_step_compare_pictures_each_by_its_own_text() -> None:
    """Pictures of equal short texts are no negatives of the one, and are those of the other."""
    vectors = {f"{view}/embedding": rows(4, seed) for seed, view in enumerate(("image", "text", "text.short"))}
    fields = {"text": list("abcd"), "text.short": ["normal", "normal", "normal", "effusion"]}
    pair = [Dcl(text=text, within=True) for text in fields]
    one = Context.of(vectors, fields)
    assert [value(each, one) for each in pair] == [value(each, Context.of(vectors, fields)) for each in pair]


def test_needs_follow_the_options() -> None:
    made = build("objectives", {"name": "dcl", "exclude": "same_patient"}, where="x")
    assert sorted(map(str, made.needs())) == ["id.patient", "image/embedding", "text", "text/embedding"]
