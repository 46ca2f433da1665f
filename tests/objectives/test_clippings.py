from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.objectives.clippings import Clippings
from tests.objectives.world import rows

PATIENTS = ["p", "q", "p", "r", "q", "p"]


def context(image: Tensor, text: Tensor, patients: list[str], of_text: list[int] | None = None) -> Context:
    owners = {"image": torch.arange(len(image)), "text": torch.tensor(of_text or list(range(len(text))))}
    values = {"image": image, "text": text}
    parts = {parse_key(f"{view}/embedding"): Part(values[view], owners[view]) for view in values}
    return Context(parts=parts, batch=Batch.of({"id.patient": patients}))


def supervised(rows_: Tensor, classes: list[str], temperature: float) -> tuple[float, int]:
    """Sum and number of rows of the supervised contrastive loss (Khosla et al. 2020, eq. 2), by hand."""
    total, count = 0.0, 0
    for i in range(len(rows_)):
        others = [a for a in range(len(rows_)) if a != i]
        positives = [a for a in others if classes[a] == classes[i] and classes[i]]
        below = sum(math.exp(float(rows_[i] @ rows_[a]) / temperature) for a in others)
        if positives:
            total -= sum(float(rows_[i] @ rows_[p]) / temperature - math.log(below) for p in positives) / len(positives)
            count += 1
    return total, count


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_it_is_the_supervised_contrast_of_pooled_records(share):
    image, text = rows(6, 0), rows(6, 1)
    term = Clippings(image_share=share)(context(image, text, PATIENTS))["records"]
    total, count = supervised(unit(share * image + (1 - share) * text), PATIENTS, 0.1)
    assert (term.sum.item(), term.count.item()) == (pytest.approx(total, rel=1e-11), count)


def test_with_one_share_the_other_modality_is_not_seen():
    image, text = rows(6, 0).requires_grad_(), rows(6, 1).requires_grad_()
    Clippings(image_share=1.0)(context(image, text, PATIENTS))["records"].sum.backward()
    assert image.grad is not None
    assert text.grad is not None
    assert image.grad.abs().sum() > 0
    assert text.grad.abs().max() == 0


def test_a_missing_identity_is_nobodys_positive():
    image, text, patients = rows(4, 0), rows(4, 1), ["p", "", "p", ""]
    term = Clippings()(context(image, text, patients))["records"]
    total, count = supervised(unit(image / 2 + text / 2), patients, 0.1)
    assert count == 2
    assert (term.sum.item(), term.count.item()) == (pytest.approx(total, rel=1e-11), 2)


def test_two_uncertain_labels_are_no_class():
    image, text = rows(5, 0), rows(5, 1)
    ctx = context(image, text, ["p"] * 5)
    ctx.batch = Batch.of({"label.effusion": torch.tensor([-1.0, 1.0, 0.0, 1.0, -1.0], dtype=torch.float64)})
    term = Clippings(by="label.effusion")(ctx)["records"]
    total, count = supervised(unit(image / 2 + text / 2), ["", "1", "0", "1", ""], 0.1)
    assert count == 2
    assert (term.sum.item(), term.count.item()) == (pytest.approx(total, rel=1e-11), 2)


def test_records_without_a_text_take_no_part_and_the_first_text_counts():
    image, text = rows(4, 0), rows(4, 1)
    term = Clippings()(context(image, text, ["p", "p", "p", "p"], [0, 0, 2, 3]))["records"]
    pooled = unit(image[[0, 2, 3]] / 2 + text[[0, 2, 3]] / 2)
    assert term.sum.item() == pytest.approx(supervised(pooled, ["p"] * 3, 0.1)[0], rel=1e-11)
    assert term.count.item() == 3


def test_a_batch_of_single_records_has_nothing_to_compare():
    term = Clippings()(context(rows(3, 0), rows(3, 1), ["p", "q", "r"]))["records"]
    assert (term.sum.item(), term.count.item()) == (0, 0)


def test_any_field_may_tell_who_is_the_same():
    objective = build("objectives", {"name": "clippings", "by": "id.study"}, where="x")
    assert sorted(map(str, objective.needs())) == ["id.study", "image/embedding", "text/embedding"]
