from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, Column, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.alip import Alip
from tests.objectives.taught import clip_loss, context
from tests.objectives.world import rows

EXACT = {"rtol": 1e-10, "atol": 1e-12}
KEYS = ("image/embedding", "text/embedding", "text.caption/embedding")


def alip(expected, **options):
    objective = Alip(**options).double()
    objective.expected.copy_(torch.tensor(expected, dtype=torch.float64))
    return objective


def step(count=5, **fields):
    given = {key: rows(count, seed) for seed, key in enumerate(KEYS)}
    return given, context(given, fields={"text.caption": [f"caption {i}" for i in range(count)], **fields})


def losses(a, b):
    """The loss of each sample alone, both directions' mean."""
    z = 10 * a @ b.T
    return -(z.log_softmax(1).diagonal() + z.T.log_softmax(1).diagonal()) / 2


def test_it_is_the_papers_weighted_mean():
    given, ctx = step()
    v, x, c = given.values()
    h = (0.1, -0.2, 0.3)
    total = 0.0
    of_report, of_caption = losses(v, x), losses(v, c)
    for i in range(5):
        gate = math.exp(float(x[i] @ c[i]) - h[0]) ** 2
        sample = min(gate, 1.0)
        pair_x = math.exp(float(x[i] @ v[i]) - h[1]) ** 2 if gate < 1 else 1.0
        pair_c = math.exp(float(c[i] @ v[i]) - h[2]) ** 2 if gate < 1 else 1.0
        total += sample * (pair_x * float(of_report[i]) + pair_c * float(of_caption[i])) / 5
    found = sum(term.value() for term in alip(h)(ctx).values())
    assert found.item() == pytest.approx(total, rel=1e-10)


def test_where_every_view_agrees_as_expected_it_is_twice_clip():
    given, ctx = step()
    v, x, c = given.values()
    objective = alip((0.0, 0.0, 0.0))
    of_text, of_caption = objective.weights(torch.zeros(3, 5, dtype=torch.float64))
    assert torch.equal(of_text, torch.ones(5).double())
    assert torch.equal(of_caption, of_text)
    objective.weights = lambda _: (of_text, of_caption)
    found = sum(term.value() for term in objective(ctx).values())
    torch.testing.assert_close(found, clip_loss(v, x, 10.0) + clip_loss(v, c, 10.0), **EXACT)


def test_gates_are_capped_for_samples_and_open_for_pairs():
    """Pair weights count only where report and caption disagree, and there they may exceed 1."""
    objective = alip((0.5, 0.0, 0.0))
    agreement = torch.tensor([[0.9, 0.2], [0.6, 0.6], [-0.4, -0.4]]).double()
    of_text, of_caption = objective.weights(agreement)
    assert (of_text[0], of_caption[0]) == (1, 1)
    gate = math.exp(2 * (0.2 - 0.5))
    assert of_text[1].item() == pytest.approx(gate * math.exp(1.2))
    assert of_caption[1].item() == pytest.approx(gate * math.exp(-0.8))
    assert of_text[1] > 1


def test_nothing_flows_through_the_weights():
    """The gradient is that of the same weights as constants."""
    given, _ = step()
    own = {key: values.clone().requires_grad_() for key, values in given.items()}
    objective = alip((0.1, 0.1, 0.1))
    caption = {"text.caption": [f"caption {i}" for i in range(5)]}
    sum(term.value() for term in objective(context(own, fields=caption)).values()).backward()
    v, x, c = (values.clone().requires_grad_() for values in given.values())
    of_text, of_caption = objective.weights(torch.stack([(x * c).sum(1), (x * v).sum(1), (c * v).sum(1)]).detach())
    (of_text * losses(v, x) + of_caption * losses(v, c)).mean().backward()
    for key, values in zip(KEYS, (v, x, c), strict=True):
        torch.testing.assert_close(own[key].grad, values.grad, **EXACT)


def test_a_report_of_another_study_weighs_less():
    """The card's ordering: reports shuffled among 40 % of the samples, with aligned embeddings and noise."""
    draw = torch.Generator().manual_seed(0)
    concept = torch.randn(200, 16, generator=draw, dtype=torch.float64)
    v, x, c = (unit(concept + 0.7 * torch.randn(200, 16, generator=draw).double()) for _ in range(3))
    wrong = torch.arange(200) < 80
    x[:80] = x[:80].roll(1, 0)
    agreement = torch.stack([(x * c).sum(1), (x * v).sum(1), (c * v).sum(1)])
    of_text, of_caption = alip(agreement.mean(1).tolist()).weights(agreement)
    assert of_text[wrong].mean() < 0.6 * of_text[~wrong].mean()
    assert of_caption[wrong].mean() > of_text[wrong].mean()  # the caption that fits is what such an image learns by


def test_running_means_follow_once_a_step_taken():
    given, ctx = step()
    v, x, c = given.values()
    objective = alip((1.0, 1.0, 1.0), horizon=-4096 / math.log(0.99))
    objective(ctx)
    assert objective.expected.tolist() == [1, 1, 1]  # a step that is skipped moves nothing
    objective(ctx)
    objective.after_step(4096)
    means = torch.stack([(x * c).sum(1).mean(), (x * v).sum(1).mean(), (c * v).sum(1).mean()])
    torch.testing.assert_close(objective.expected, 0.99 + 0.01 * means, **EXACT)
    objective.after_step(8192)  # a step of a phase without it
    torch.testing.assert_close(objective.expected, 0.99 + 0.01 * means, **EXACT)
    assert Alip().horizon == pytest.approx(-4096 / math.log(0.99), rel=1e-5)


def test_a_sample_without_caption_is_plain_clip_and_moves_no_mean_of_captions():
    given = {key: rows(2, seed) for seed, key in enumerate(KEYS)}
    parts = {parse_key(key): Part(values, torch.arange(2)) for key, values in given.items()}
    parts[parse_key(KEYS[2])] = Part(given[KEYS[2]][:1], torch.tensor([0]))
    columns = {"text": Column(("a", "b"), torch.arange(2)), "text.caption": Column(("c",), torch.tensor([0]))}
    objective = alip((1.0, 1.0, 1.0), horizon=1.0)
    agreement = objective._agreement(Context(parts=parts, batch=Batch(("a", "b"), torch.arange(2), columns)))
    assert agreement.isnan().tolist() == [[False, True], [False, False], [False, True]]
    of_text, of_caption = objective.weights(agreement)
    assert of_text[1] == of_caption[1] == 1
    terms = objective(Context(parts=parts, batch=Batch(("a", "b"), torch.arange(2), columns)))
    assert [term.count.item() for term in terms.values()] == [2, 2, 1, 1]


def test_a_step_whose_samples_all_lack_captions_moves_the_mean_of_reports_alone():
    given = {key: rows(2, seed) for seed, key in enumerate(KEYS)}
    parts = {parse_key(key): Part(values, torch.arange(2)) for key, values in given.items()}
    parts[parse_key(KEYS[2])] = Part(given[KEYS[2]][:0], torch.zeros(0, dtype=torch.int64))
    columns = {"text": Column(("a", "b"), torch.arange(2)), "text.caption": Column((), torch.zeros(0).long())}
    objective = alip((0.4, 0.5, 0.6), horizon=1.0)
    objective(Context(parts=parts, batch=Batch(("a", "b"), torch.arange(2), columns)))
    objective.after_step(2)
    mean = (given[KEYS[0]] * given[KEYS[1]]).sum(dim=1).mean().item()
    expected = [0.4, mean + (0.5 - mean) * math.exp(-2), 0.6]
    assert objective.expected.tolist() == pytest.approx(expected, rel=1e-12)


def test_equal_captions_of_two_patients_are_no_negatives():
    given, ctx = step(2, **{"text.caption": ["effusion", "effusion"]})
    terms = alip((-9.0, -9.0, -9.0))(ctx)  # every weight is 1
    logs = (10 * given[KEYS[0]] @ given[KEYS[2]].T).log_softmax(1)
    torch.testing.assert_close(terms["image_to_caption"].value(), -logs.mean() / 2, **EXACT)
    logs = (10 * given[KEYS[0]] @ given[KEYS[1]].T).log_softmax(1)
    torch.testing.assert_close(terms["image_to_text"].value(), -logs.diagonal().mean() / 2, **EXACT)


def test_what_it_needs():
    needs = set(map(str, Alip(caption="text.made", exclude="true_of").needs()))
    assert {"image/embedding", "text/embedding", "text.made/embedding", "text", "text.made"} <= needs
    fields = [spec["field"] for spec in Alip(caption="text.made", exclude="true_of").data_views()]
    assert fields == ["text", "text.made"]
