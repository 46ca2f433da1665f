from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, Column, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.medclip import Medclip
from tests.objectives.taught import clip_loss, context
from tests.objectives.world import rows

NAN = float("nan")
EXACT = {"rtol": 1e-6, "atol": 1e-8}  # labels are float32


def step(labels, **options):
    """Terms of samples with these findings (a row a sample), and their embeddings."""
    names = [f"f{k}" for k in range(len(labels[0]))]
    given = {"image/embedding": rows(len(labels), 0), "text/embedding": rows(len(labels), 1)}
    fields = {f"label.{name}": torch.tensor([row[k] for row in labels]) for k, name in enumerate(names)}
    return Medclip(labels=names, **options)(context(given, fields=fields)), given


def by_hand(a, b, vectors, temperature=1.0):
    total = 0.0
    for i, own in enumerate(vectors):
        z = [10 * float(a[i] @ b[j]) for j in range(len(b))]
        log = math.log(sum(map(math.exp, z)))
        alike = [sum(x * y for x, y in zip(own, other, strict=True)) / temperature for other in vectors]
        below = sum(map(math.exp, alike))
        total -= sum(math.exp(s) / below * (each - log) for s, each in zip(alike, z, strict=True))
    return total / len(vectors)


def test_it_is_the_cross_entropy_against_the_softmax_of_shared_findings():
    labels = [[1.0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    vectors = [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]  # the last entry: normal
    terms, given = step(labels, temperature=0.5)
    image, text = given["image/embedding"], given["text/embedding"]
    assert terms["image_to_text"].value().item() == pytest.approx(by_hand(image, text, vectors, 0.5) / 2, rel=1e-6)
    assert terms["text_to_image"].value().item() == pytest.approx(by_hand(text, image, vectors, 0.5) / 2, rel=1e-6)


def test_cosine_does_not_count_how_many_findings_there_are():
    labels = [[1.0, 1, 0], [1, 0, 0], [0, 0, 1]]
    half = 2**-0.5
    terms, given = step(labels, similarity="cosine")
    expected = by_hand(given["image/embedding"], given["text/embedding"], [[half, half, 0], [1, 0, 0], [0, 0, 1]])
    assert terms["image_to_text"].value().item() == pytest.approx(expected / 2, rel=1e-6)


def test_sharp_targets_of_findings_that_nobody_shares_are_clip():
    terms, given = step([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], temperature=0.01)
    found = sum(term.value() for term in terms.values())
    torch.testing.assert_close(found, clip_loss(*given.values(), 10.0), **EXACT)


def test_normal_films_are_like_each_other():
    """Without an entry for it their dot product with everything is 0, with each other too."""
    terms, given = step([[0.0, 0], [0, 0], [1, 0]], temperature=0.01)
    logs = (10 * given["image/embedding"] @ given["text/embedding"].T).log_softmax(1)
    expected = -(logs[0, :2].mean() + logs[1, :2].mean() + logs[2, 2]) / 3 / 2
    torch.testing.assert_close(terms["image_to_text"].value(), expected, **EXACT)


def test_nothing_known_is_no_row_and_no_column():
    labels = [[1.0, 0], [NAN, NAN], [0, 1]]
    terms, given = step(labels)
    image, text = (values[[0, 2]] for values in given.values())
    assert terms["image_to_text"].count == 2
    expected = by_hand(image, text, [[1, 0, 0], [0, 1, 0]]) / 2
    assert terms["image_to_text"].value().item() == pytest.approx(expected, rel=1e-6)
    nothing, _ = step([[NAN], [NAN]])
    assert (nothing["image_to_text"].count, nothing["image_to_text"].sum.item()) == (0, 0)


def test_uncertain_is_half_a_finding_and_not_normal():
    terms, given = step([[1.0, 0], [-1, 0], [0, 0]])
    vectors = [[1, 0, 0], [0.5, 0, 0], [0, 0, 1]]
    expected = by_hand(given["image/embedding"], given["text/embedding"], vectors) / 2
    assert terms["image_to_text"].value().item() == pytest.approx(expected, rel=1e-6)


def test_films_without_reports_and_reports_without_films_teach_each_other():
    """Two films, three texts, no pair among them: what makes the method independent of pairing."""
    image, text = rows(2, 0).requires_grad_(), rows(3, 1).requires_grad_()
    parts = {
        parse_key("image/embedding"): Part(image, torch.tensor([0, 1])),
        parse_key("text/embedding"): Part(text, torch.tensor([2, 3, 4])),
    }
    label = Column(torch.tensor([1.0, 0, 1, 0, 0]), torch.arange(5))
    words = Column(("a", "b", "c"), torch.tensor([2, 3, 4]))
    batch = Batch(tuple("abcde"), torch.arange(5), {"label.f": label, "text": words})
    terms = Medclip(labels=["f"])(Context(parts=parts, batch=batch))
    assert [term.count.item() for term in terms.values()] == [2, 3]
    sum(term.sum for term in terms.values()).backward()
    assert image.grad.abs().min() > 0
    q = torch.tensor([[math.e, 1, 1], [1, math.e, math.e]]).double()
    logs = (image @ text.T).log_softmax(1)
    expected = -((q / q.sum(1, keepdim=True)) * logs).sum(1).mean() / 2
    torch.testing.assert_close(terms["image_to_text"].value(), expected, **EXACT)


def test_it_needs_its_labels():
    needs = set(map(str, Medclip(labels=["effusion"]).needs()))
    assert needs == {"image/embedding", "text/embedding", "label.effusion"}
    with pytest.raises(ConfigError, match="labels of objective 'medclip' is empty"):
        Medclip(labels=[])
