"""TinyCLIP's affinity mimicking, and with it MobileCLIP's distillation toward an ensemble."""

from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context
from medvlp.core.registry import build
from medvlp.objectives.affinity_mimicking import AffinityMimicking
from tests.objectives.taught import clip_loss, context
from tests.objectives.world import rows

VIEWS = ("image", "text")
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def made(count=5, teachers=("t",)):
    found = {f"{view}/embedding": rows(count, seed) for seed, view in enumerate(VIEWS)}
    for place, name in enumerate(teachers):
        found |= {f"{name}:{view}/embedding": rows(count, 10 + 2 * place + i) for i, view in enumerate(VIEWS)}
    return found


def value(objective, ctx):
    return sum(term.value() for term in objective(ctx).values())


def by_hand(own, taught, scale, scales):
    """The loss of the papers, pair by pair: (student rows, [teacher rows], s, [s_k]), both directions."""
    total = 0.0
    for a, b in (VIEWS, VIEWS[::-1]):
        count = len(own[a])
        for i in range(count):
            z = [scale * float(own[a][i] @ own[b][j]) for j in range(count)]
            q = [0.0] * count
            for name, s in scales.items():
                y = [s * float(taught[name][a][i] @ taught[name][b][j]) for j in range(count)]
                below = sum(math.exp(each) for each in y)
                q = [each + math.exp(other) / below / len(scales) for each, other in zip(q, y, strict=True)]
            log = math.log(sum(math.exp(each) for each in z))
            total -= sum(p * (each - log) for p, each in zip(q, z, strict=True)) / count / 2
    return total


def split(given, who=""):
    return {view: given[f"{who}{view}/embedding"] for view in VIEWS}


def test_it_is_the_cross_entropy_against_one_teachers_softmax_both_ways():
    """What open_clip calls its distillation loss, at student scale 10 and teacher scale 14."""
    given = made()
    found = value(AffinityMimicking(teachers=["t"]), context(given, scale=10.0, teachers={"t": 14.0}))
    expected = by_hand(split(given), {"t": split(given, "t:")}, 10.0, {"t": 14.0})
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_it_is_open_clips_distillation_loss_beside_its_contrastive_one():
    """With a share of 1 it is the latter, with none the former, as TinyCLIP and MobileCLIP train by it."""
    loss = pytest.importorskip("open_clip.loss", reason="open_clip_torch is not installed (extra bench)")
    given = made()
    own, taught = ([rows for key, rows in given.items() if key.startswith("t:") is of] for of in (False, True))
    plain, distilled = loss.DistillClipLoss()(*own, 10.0, *taught, 14.0)
    for share, expected in ((1.0, plain), (0.0, distilled)):
        found = value(AffinityMimicking(teachers=["t"], own=share), context(given, scale=10.0, teachers={"t": 14.0}))
        torch.testing.assert_close(found, expected, **EXACT)


def test_an_ensemble_is_the_mean_of_distributions_and_not_of_scores():
    given = made(teachers=("a", "b"))
    given |= {f"b:{view}/embedding": torch.cat([given[f"b:{view}/embedding"]] * 2, 1) / 2**0.5 for view in VIEWS}
    objective = AffinityMimicking(teachers=["a", "b"], teacher_scale=100.0)
    found = value(objective, context(given, scale=10.0))
    taught = {name: split(given, f"{name}:") for name in ("a", "b")}  # of widths 6 and 12
    assert found.item() == pytest.approx(by_hand(split(given), taught, 10.0, {"a": 100.0, "b": 100.0}), rel=1e-10)
    twice = AffinityMimicking(teachers=["a", "a"], teacher_scale=100.0)
    single = AffinityMimicking(teachers=["a"], teacher_scale=100.0)
    torch.testing.assert_close(value(twice, context(given)), value(single, context(given)), **EXACT)


def test_all_own_is_clip_and_a_share_mixes_the_two_losses():
    given = made()
    values = [
        value(AffinityMimicking(teachers=["t"], own=own), context(given, teachers={"t": 14.0})) for own in (0, 1, 0.25)
    ]
    torch.testing.assert_close(values[1], clip_loss(*split(given).values(), 10.0), **EXACT)
    torch.testing.assert_close(values[2], 0.75 * values[0] + 0.25 * values[1], **EXACT)


def test_equal_reports_share_the_own_part():
    """A hard target of the diagonal would call the same words wrong."""
    given = made(2)
    ctx = context(given, teachers={"t": 14.0}, fields={"text": ["clear lungs", "Clear  lungs"]})
    z = 10 * given["image/embedding"] @ given["text/embedding"].T
    expected = -(z.log_softmax(1).mean() + z.T.log_softmax(1).mean()) / 2
    torch.testing.assert_close(value(AffinityMimicking(teachers=["t"], own=1.0), ctx), expected, **EXACT)


def test_its_least_value_is_the_teachers_entropy():
    given = made()
    student = {name: given[f"t:{name}"].clone().requires_grad_() for name in ("image/embedding", "text/embedding")}
    objective = AffinityMimicking(teachers=["t"])
    least = value(objective, context({**given, **student}, scale=14.0, teachers={"t": 14.0}))
    entropy = 0.0
    for a, b in (VIEWS, VIEWS[::-1]):
        q = (14.0 * given[f"t:{a}/embedding"] @ given[f"t:{b}/embedding"].T).softmax(1)
        entropy -= float((q * q.log()).sum()) / 5 / 2
    assert least.item() == pytest.approx(entropy, rel=1e-10)
    least.backward()
    assert max(float(each.grad.abs().max()) for each in student.values()) < 1e-14
    assert value(objective, context(given, scale=14.0, teachers={"t": 14.0})) > least


def test_fixed_scales_stand_for_the_models():
    given = made()
    fixed = AffinityMimicking(teachers=["t"], scale=50.0, teacher_scale=50.0)
    learnt = AffinityMimicking(teachers=["t"])
    expected = value(learnt, context(given, scale=50.0, teachers={"t": 50.0}))
    torch.testing.assert_close(value(fixed, context(given, scale=3.0, teachers={"t": 7.0})), expected, **EXACT)


def test_nothing_flows_into_a_teacher():
    given = {key: values.requires_grad_() for key, values in made().items()}
    value(AffinityMimicking(teachers=["t"]), context(given, teachers={"t": 14.0})).backward()
    assert [values.grad is None for values in given.values()] == [False, False, True, True]


def test_what_it_needs_and_refuses():
    objective = AffinityMimicking(teachers=["a", "b"], text="text.impression", positives="own")
    taught = [f"{who}:{view}/embedding" for who in "ab" for view in ("image", "text.impression")]
    assert sorted(map(str, objective.needs())) == sorted([*taught, "image/embedding", "text.impression/embedding"])
    assert [answer.name for answer in AffinityMimicking(teachers=["a"]).answers()] == ["zero_shot", "retrieval"]
    with pytest.raises(ConfigError, match="teachers of objective 'affinity_mimicking' is empty"):
        AffinityMimicking(teachers=[])
    with pytest.raises(ConfigError, match=r"x\.own is 1\.5: input should be less than or equal to 1"):
        build("objectives", {"name": "affinity_mimicking", "teachers": ["t"], "own": 1.5}, where="x")
    given = context(made())
    states = Context(parts=given.parts, batch=Batch.of({"text": list("abcde")}), states={"t": object()})
    with pytest.raises(ConfigError, match="The teacher 't' has no logit scale of its own: set teacher_scale"):
        AffinityMimicking(teachers=["t"])(states)
