from __future__ import annotations

import pytest
import torch

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.core.registry import build
from medvlp.models.scale import LogitScale
from medvlp.objectives.clip import Clip
from medvlp.objectives.convirt import Convirt
from tests.objectives.world import rows


def context(reports: list[str], scale: float = 10.0) -> Context:
    parts = {
        parse_key(f"{view}/embedding"): Part(rows(len(reports), seed), torch.arange(len(reports)))
        for seed, view in enumerate(("image", "text"))
    }
    return Context(parts=parts, batch=Batch.of({"text": reports}), scale=LogitScale(init=scale, min=scale, max=scale))


def test_it_is_the_papers_sum():
    ctx = context(list("abcde"))
    v, u = ctx["image/embedding"], ctx["text/embedding"]
    total = 0.0
    for i in range(5):
        to_text = torch.stack([v[i] @ u[k] / 0.1 for k in range(5)])
        to_image = torch.stack([u[i] @ v[k] / 0.1 for k in range(5)])
        total += (0.75 * (to_text.logsumexp(0) - to_text[i]) + 0.25 * (to_image.logsumexp(0) - to_image[i])).item()
    found = Convirt()(ctx)
    assert sum(term.value().item() for term in found.values()) == pytest.approx(total / 5, rel=1e-6)


@pytest.mark.parametrize("positives", ["own", "same_report"])
def test_with_equal_weights_it_is_clip(positives):
    ctx = context(["a", "b", "A", "c"])
    even = Convirt(image_weight=0.5, positives=positives)(ctx)
    for name, term in Clip(positives=positives)(ctx).items():
        assert term.value().item() == even[name].value().item()


def test_a_weight_of_one_leaves_one_direction():
    found = Convirt(image_weight=1.0)(context(list("abc")))
    assert found["text_to_image"].value().item() == 0
    assert found["image_to_text"].value().item() > 0


def test_a_scale_with_equal_bounds_stays_where_it_began():
    scale = LogitScale(init=10.0, min=10.0, max=10.0)
    before = scale.log_scale.detach().clone()
    with torch.no_grad():
        scale.log_scale += 0.3
    scale.after_step(0)
    assert torch.equal(scale.log_scale, before)


def test_a_released_model_is_asked_as_after_clip():
    objective = build("objectives", {"name": "convirt", "exclude": "same_patient"}, where="x")
    assert [answer.name for answer in objective.answers()] == ["zero_shot", "retrieval"]
    assert sorted(map(str, objective.needs())) == ["id.patient", "image/embedding", "text", "text/embedding"]
