from __future__ import annotations

import pytest
import torch

from medvlp.core import Batch, ConfigError
from medvlp.core.registry import build
from medvlp.core.schedules import Ramp
from medvlp.objectives.clip import Clip
from medvlp.objectives.lightclip import LightClip, softened
from tests.objectives.test_clip import context, value
from tests.objectives.world import rows

TEXTS = Batch.of({"text": list("aabcd"), "id.patient": list("pqqrs")})


def test_without_softening_it_is_clip() -> None:
    ctx = context(rows(5, 0), rows(5, 1), TEXTS)
    for exclude in ("none", "same_patient"):
        soft, plain = LightClip(alpha=0.0, exclude=exclude), Clip(exclude=exclude)
        torch.testing.assert_close(value(soft, ctx), value(plain, ctx), rtol=1e-12, atol=1e-12)


def test_targets_sum_to_1_and_follow_likeness_among_negatives() -> None:
    scores = 10 * rows(5, 0) @ rows(5, 1).T
    own = torch.eye(5, dtype=torch.bool)
    target = softened(scores, own, ~own, 0.3)
    torch.testing.assert_close(target.sum(1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(target.diagonal(), torch.full((5,), 0.7, dtype=torch.float64))
    for i in range(5):
        others = [j for j in range(5) if j != i]
        assert target[i, others].argsort().tolist() == scores[i, others].argsort().tolist()
    # A row with no negative keeps its positive whole, one with no positive has no target.
    none = torch.zeros_like(own)
    assert softened(scores, own, none, 0.3).equal(own.double())
    assert softened(scores, none, ~none, 0.3).abs().max() == 0


@pytest.mark.parametrize("exclude", ["none", "same_patient"])
def test_it_is_the_cross_entropy_with_those_targets_which_carry_no_gradient(exclude: str) -> None:
    image, text = rows(5, 0).requires_grad_(), rows(5, 1)
    options = {"name": "lightclip", "alpha": 0.2, "exclude": exclude}
    got = build("objectives", options, where="x")(context(image, text, TEXTS))["image_to_text"].value()
    z, patients = 10 * image @ text.T, "pqqrs"
    expected = torch.zeros((), dtype=torch.float64)
    for i, report in enumerate("aabcd"):
        same = [j for j, other in enumerate("aabcd") if other == report]
        others = [j for j in range(5) if j not in same and (exclude == "none" or patients[j] != patients[i])]
        below = z[i, others].exp().sum().detach()
        for j in (*same, *others):
            share = 0.8 / len(same) if j in same else 0.2 * z[i, j].exp().detach() / below
            expected = expected - share * (z[i, j] - z[i, [*same, *others]].logsumexp(0)) / 5 / 2
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(loss, image, retain_graph=True)[0] for loss in (got, expected)))


def test_alpha_grows_with_the_run() -> None:
    ramp = LightClip(alpha=Ramp(start=0.0, end=0.2, until=100))
    for seen, alpha in ((0, 0.0), (50, 0.1), (1000, 0.2)):
        ctx = context(rows(5, 0), rows(5, 1), TEXTS)
        ctx.samples_seen = seen
        torch.testing.assert_close(value(ramp, ctx), value(LightClip(alpha=alpha), ctx), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.0, -0.1, Ramp(start=0.0, end=1.0, until=9)])
def test_an_alpha_that_leaves_nothing_to_the_positives_is_refused(alpha: float | Ramp) -> None:
    with pytest.raises(ConfigError, match=r"alpha of objective 'lightclip' is .*: use a number in \[0, 1\)"):
        LightClip(alpha=alpha)
