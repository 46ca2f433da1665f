from __future__ import annotations

import pytest
import torch
from torch.nn.functional import kl_div

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.registry import build
from medvlp.objectives.clip_refine import ClipRefine
from tests.objectives.taught import clip_loss, context, teacher
from tests.objectives.world import rows

EXACT = {"rtol": 1e-10, "atol": 1e-12}
DIRECTIONS = ("image_to_text", "text_to_image")


def made(count=5, same=False):
    found = {f"{view}/embedding": rows(count, seed) for seed, view in enumerate(("image", "text"))}
    found |= {f"t:{key}": rows(count, 5 + i) if not same else values for i, (key, values) in enumerate(found.items())}
    return found | {f"{view}/raw": 3 * found[f"{view}/embedding"] for view in ("image", "text")}


def distilled(objective, ctx):
    terms = objective(ctx)
    return sum(terms[name].value() for name in DIRECTIONS)


@pytest.mark.parametrize(("alpha", "temperature"), [(0.5, 1.0), (0.3, 2.0), (0.0, 0.5)])
def test_the_hybrid_term_is_the_papers_divergence(alpha, temperature):
    given = made()
    objective = ClipRefine(teacher="t", alpha=alpha, temperature=temperature)
    found = distilled(objective, context(given, scale=10.0, teachers={"t": 14.0}))
    expected = 0.0
    for a, b in (("image", "text"), ("text", "image")):
        soft = (14 * given[f"t:{a}/embedding"] @ given[f"t:{b}/embedding"].T / temperature).softmax(1)
        q = alpha * torch.eye(5, dtype=torch.float64) + (1 - alpha) * soft
        p = (10 * given[f"{a}/embedding"] @ given[f"{b}/embedding"].T / temperature).log_softmax(1)
        expected += temperature**2 * kl_div(p, q, reduction="batchmean") / 2
    torch.testing.assert_close(found, expected, **EXACT)


def test_with_all_of_the_target_own_it_is_clip():
    given = made()
    found = distilled(ClipRefine(teacher="t", alpha=1.0), context(given, teachers={"t": 14.0}))
    torch.testing.assert_close(found, clip_loss(given["image/embedding"], given["text/embedding"], 10.0), **EXACT)


def test_where_it_begins_the_soft_part_is_zero_and_pulls_nowhere():
    given = {key: values.clone().requires_grad_(":" not in key) for key, values in made(same=True).items()}
    found = distilled(ClipRefine(teacher="t", alpha=0.0), context(given, scale=14.0, teachers={"t": 14.0}))
    assert abs(found.item()) < 1e-12
    found.backward()
    assert given["image/embedding"].grad.abs().max() < 1e-14


def test_the_scale_is_not_forgotten():
    """The public code's logits are of raw features without one: of unit rows all would be nearly alike."""
    given = made()
    small, large = (
        distilled(ClipRefine(teacher="t", alpha=1.0), context(given, scale=s, teachers={"t": s})) for s in (1.0, 50.0)
    )
    torch.testing.assert_close(small, clip_loss(given["image/embedding"], given["text/embedding"], 1.0), **EXACT)
    torch.testing.assert_close(large, clip_loss(given["image/embedding"], given["text/embedding"], 50.0), **EXACT)
    assert abs(small - large) > 0.1


def test_the_random_term_draws_a_pair_to_one_vector():
    """|i - z|^2 + |t - z|^2 = 2 |z - m|^2 + |i - t|^2 / 2, and z is the same for both."""
    given = made()
    objective = ClipRefine(teacher="t")
    ctx = context(given, teachers={"t": 14.0})
    i, t = given["image/raw"], given["text/raw"]
    z = objective._drawn(ctx, i)
    terms = objective(ctx)
    found = terms["image_random"].value() + terms["text_random"].value()
    torch.testing.assert_close(found, ((i - z) ** 2).mean() + ((t - z) ** 2).mean(), **EXACT)
    m = (i + t) / 2
    torch.testing.assert_close(found, 2 * ((z - m) ** 2).mean() + ((i - t) ** 2).mean() / 2, **EXACT)
    assert terms["image_random"].count == 5


def test_all_rows_of_a_sample_are_drawn_to_its_one_vector_and_a_sample_without_text_is_drawn_alone():
    """Two pictures of the second sample, and no text of the first."""
    image, text = Part(rows(3, 8), torch.tensor([0, 1, 1])), Part(rows(1, 9), torch.tensor([1]))
    views, read = {"image": image, "text": text}, ("{}/raw", "{}/embedding", "t:{}/embedding")
    parts = {key.format(view): given for view, given in views.items() for key in read}
    batch = Batch(("a", "b"), torch.arange(2), {"text": Column(("nodule",), torch.tensor([1]))})
    ctx = Context.of(parts, batch, states={"t": teacher(14.0)})
    objective = ClipRefine(teacher="t")
    z = objective._drawn(ctx, image.values)
    terms = objective(ctx)
    of_image = sum(((image.values[row] - z[sample]) ** 2).mean() for row, sample in enumerate((0, 1, 1))) / 3
    torch.testing.assert_close(terms["image_random"].value(), of_image, **EXACT)
    torch.testing.assert_close(terms["text_random"].value(), ((text.values[0] - z[1]) ** 2).mean(), **EXACT)


def test_the_random_term_reads_raw_features_of_the_student():
    given = {key: values.requires_grad_() for key, values in made().items()}
    terms = ClipRefine(teacher="t")(context(given, teachers={"t": 14.0}))
    (terms["image_random"].sum + terms["text_random"].sum).backward()
    assert {key for key, values in given.items() if values.grad is not None} == {"image/raw", "text/raw"}


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_draws_have_the_asked_mean_and_deviation_and_are_of_the_sample_alone(prior):
    objective = ClipRefine(teacher="t", prior=prior, mean=2.0, deviation=0.5)
    raw = torch.zeros(400, 50, dtype=torch.float64)
    z = objective._drawn(context({"image/raw": raw}), raw)
    assert z.isfinite().all()
    assert z.mean().item() == pytest.approx(2.0, abs=0.02)
    assert z.std().item() == pytest.approx(0.5, abs=0.02)
    fourth = (((z - z.mean()) / z.std()) ** 4).mean()  # 3 of a normal, 9/5 of a uniform distribution
    assert fourth.item() == pytest.approx(3.0 if prior == "normal" else 1.8, abs=0.12)
    few = objective._drawn(context({"image/raw": raw[:7]}), raw[:7])
    assert torch.equal(few, z[:7])
    assert not torch.equal(objective._drawn(context({"image/raw": raw[:7]}, seed=1), raw[:7]), few)


def test_the_random_weight_may_fall_along_the_run():
    ramp = {"start": 1.0, "end": 0.0, "until": 100}
    objective = build("objectives", {"name": "clip_refine", "teacher": "t", "random_weight": ramp}, where="x")
    values = [
        objective(context(made(), teachers={"t": 14.0}, samples_seen=seen))["image_random"].value().item()
        for seen in (0, 25, 100)
    ]
    assert values[1] == pytest.approx(0.75 * values[0])
    assert values[2] == 0
