from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.core.resources import resource_folder
from medvlp.models.bank import read_bank
from medvlp.objectives.distill import Distill
from tests.objectives.world import rows


def context(student, taught, bank, taught_bank) -> Context:
    images, texts = torch.arange(len(student)), torch.full((len(bank),), -1)
    parts = {
        "image/embedding": Part(student, images),
        "frozen:image/embedding": Part(taught, images),
        "bank.words/embedding": Part(bank, texts),
        "frozen:bank.words/embedding": Part(taught_bank, texts),
    }
    batch = Batch.of({"id.patient": ["p"] * len(student)})
    return Context(parts={parse_key(key): part for key, part in parts.items()}, batch=batch)


@pytest.mark.parametrize("texts", ["teacher", "student"])
def test_it_is_the_cross_entropy_of_two_softmaxes(texts):
    student, taught, bank, taught_bank = (rows(n, seed) for seed, n in enumerate((3, 3, 5, 5)))
    term = Distill(teacher="frozen", bank="words", temperature=0.2, texts=texts)(
        context(student, taught, bank, taught_bank)
    )["distribution"]
    columns = taught_bank if texts == "teacher" else bank
    total = 0.0
    for i in range(3):
        z0 = [sum(a * b for a, b in zip(taught[i].tolist(), e.tolist(), strict=True)) / 0.2 for e in taught_bank]
        z = [sum(a * b for a, b in zip(student[i].tolist(), e.tolist(), strict=True)) / 0.2 for e in columns]
        below0, below = sum(map(math.exp, z0)), sum(map(math.exp, z))
        total -= sum(math.exp(a) / below0 * math.log(math.exp(b) / below) for a, b in zip(z0, z, strict=True))
    assert term.sum.item() == pytest.approx(total, rel=1e-12)
    assert term.count.item() == 3


def test_a_student_that_is_its_teacher_has_the_teachers_entropy_and_no_gradient():
    """VR-LwF at the start: nothing pulls, whatever the words."""
    student = rows(4, 0).requires_grad_()
    bank = rows(50, 1)
    term = Distill(teacher="frozen", bank="words")(context(student, student.detach(), bank, bank))["distribution"]
    p = (student.detach() @ bank.T / 0.02).softmax(1)
    torch.testing.assert_close(term.sum, -(p * p.clamp(min=1e-300).log()).sum(), rtol=1e-10, atol=1e-10)
    term.sum.backward()
    assert student.grad.abs().max() < 1e-12
    other = rows(4, 2)
    moved = Distill(teacher="frozen", bank="words")(context(other, student.detach(), bank, bank))["distribution"]
    assert moved.sum > term.sum  # Gibbs


def test_it_is_the_papers_loss_at_a_temperature_of_logits():
    """lambda T^2 CE(softmax(z0 / T), softmax(z / T)) of logits z = s v e^T: s = 100, T = 2, lambda = 1."""
    student, taught, words = rows(4, 0), rows(4, 1), rows(30, 2)
    term = Distill(teacher="frozen", bank="words", temperature=2 / 100)(context(student, taught, words, words))
    z, z0 = (100 * each @ words.T / 2 for each in (student, taught))
    paper = -(2**2) * (z0.softmax(1) * z.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(4.0 * term["distribution"].value(), paper, rtol=1e-10, atol=1e-12)


def test_the_shipped_words_are_pseudo_sentences_that_state_nothing():
    bank = read_bank(resource_folder("configs") / "banks" / "random_words.txt", name="words")
    assert len(set(bank.texts)) == 256
    assert {len(text.split()) for text in bank.texts} == {10}


def test_nothing_flows_into_the_teacher():
    student, taught, bank = (rows(3, seed).requires_grad_() for seed in range(3))
    Distill(teacher="frozen", bank="words")(context(student, taught, bank, rows(3, 4)))["distribution"].sum.backward()
    assert taught.grad is None
    assert bank.grad is None  # the paper's columns are the teacher's
    assert student.grad is not None


def test_needs_and_refusals():
    both = ["frozen:bank.words/embedding", "frozen:image.local/embedding", "image.local/embedding"]
    objective = Distill(teacher="frozen", bank="words", image="image.local")
    assert sorted(map(str, objective.needs())) == both
    objective = Distill(teacher="frozen", bank="words", image="image.local", texts="student")
    assert sorted(map(str, objective.needs())) == sorted([*both, "bank.words/embedding"])
    with pytest.raises(ConfigError, match=r"x\.temperature is 0\.0: input should be greater than 0"):
        build("objectives", {"name": "distill", "teacher": "frozen", "bank": "words", "temperature": 0.0}, where="x")
