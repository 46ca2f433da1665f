from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import ConfigError
from medvlp.core.encoded import unit
from medvlp.objectives.capro import Capro
from medvlp.state.queue import Queue
from tests.objectives.noisy_world import LABELS, NAMES, PAST, context, cross_entropy, prototypes


def capro(**options) -> Capro:
    return Capro(labels=NAMES, hidden=8, width=6, **options)


def by_hand(ctx, *, alpha: float) -> torch.Tensor:
    """What the neighbours in the queue believe, row by row and key by key."""
    z, past = unit(ctx["image/capro"]), ctx.state["queue"].rows("ema:image/capro")
    weight, mu = ctx.heads["capro_low"].weight.detach(), ctx.state["class_prototypes"].prototypes.double()
    out = torch.zeros(len(z), 2, dtype=torch.float64)
    for i, row in enumerate(z):
        near = [max(float(row @ key), 0.0) for key in past]
        for share, key in zip(near, past, strict=True):
            for j in range(2):
                low = [math.exp(float(key @ weight[2 * j + c]) / 0.1) for c in (0, 1)]
                proto = [math.exp(float(key @ mu[j, c]) / 0.1) for c in (0, 1)]
                believed = alpha * low[1] / sum(low) + (1 - alpha) * proto[1] / sum(proto)
                out[i, j] += share / sum(near) * believed
    return out


@pytest.mark.parametrize("alpha", [0.5, 1.0, 0.0])
def test_the_bootstrapped_target_is_what_neighbours_believe(alpha):
    ctx = context("capro")
    objective = capro(alpha=alpha)
    state, rows, _ = objective.believed(ctx)
    got = objective.bootstrapped(ctx, rows, state)
    torch.testing.assert_close(got, by_hand(ctx, alpha=alpha))
    assert ((got >= 0) & (got <= 1)).all()  # absent and present sum to 1
    assert not got.requires_grad


def test_every_term_is_its_formula():
    ctx = context("capro")
    terms = capro(beta=0.25)(ctx)
    z, k, past = (unit(ctx["image/capro"]), unit(ctx["ema:image/capro"]), ctx.state["queue"].rows("ema:image/capro"))
    weight, target = ctx.heads["capro_low"].weight.detach(), by_hand(ctx, alpha=0.5)
    high, low, boot, instance = [], [], [], []
    for i in range(5):
        own, others = float(z[i] @ k[i]) / 0.1, [float(z[i] @ key) / 0.1 for key in past]
        instance.append(math.log(sum(map(math.exp, [own, *others]))) - own)
        for j, values in enumerate(LABELS.values()):
            gap = float(z[i] @ (weight[2 * j + 1] - weight[2 * j])) / 0.1
            boot.append(cross_entropy(gap, float(target[i, j])))
            if values[i] in (0.0, 1.0):
                high.append(cross_entropy(float(ctx["image/findings"][i, j]), values[i]))
                low.append(cross_entropy(gap, values[i]))
    mean = {name: term.value().item() for name, term in terms.items()}
    assert mean["classify"] == pytest.approx(sum(high) / len(high), rel=1e-9)
    assert mean["low"] == pytest.approx(0.75 * sum(low) / len(low), rel=1e-9)
    assert mean["bootstrap"] == pytest.approx(0.25 * sum(boot) / len(boot), rel=1e-6)
    assert mean["instance"] == pytest.approx(sum(instance) / 5, rel=1e-9)
    assert mean["rebuilt"] == pytest.approx(float((ctx["image/capro_back"] - ctx["image/raw"]).square().mean()))


def test_a_row_is_drawn_again_as_it_is_and_does_not_come_to_meet_it():
    ctx = context("capro")
    raw, back = (ctx[f"image/{part}"].requires_grad_() for part in ("raw", "capro_back"))
    capro()(ctx)["rebuilt"].value().backward()
    assert raw.grad is None
    torch.testing.assert_close(back.grad, 2 * (back - raw).detach() / raw.numel())


def test_without_beta_the_term_is_gone_and_the_rest_is_whole():
    terms, plain = capro(beta=0.0)(context("capro")), capro(beta=0.5)(context("capro"))
    assert set(terms) == {"classify", "low", "instance", "rebuilt"}
    assert terms["low"].sum.item() == pytest.approx(2 * plain["low"].sum.item())


def test_without_neighbours_nothing_is_bootstrapped():
    """The queue is empty, or no key is near at all."""
    empty = capro()(context("capro", past=0))
    assert empty["bootstrap"].count.item() == 0
    assert empty["instance"].value().item() == 0  # the own key is alone
    ctx = context("capro")
    ctx.state["queue"].load_state_dict({"rows|ema:image/capro": -unit(ctx["image/capro"])[:1].repeat(PAST, 1)})
    term = capro()(ctx)["bootstrap"]
    assert term.count.item() < 10
    assert term.sum.isfinite()


def test_neighbours_say_nothing_of_a_finding_that_lacks_a_prototype():
    """A cosine of 0 with what is not there yet would be a belief of its own."""
    state = prototypes("capro")
    state.prototypes[1, 0] = 0
    ctx = context("capro", state=state)
    objective = capro()
    found = objective.bootstrapped(ctx, unit(ctx["image/capro"]), state)
    assert found.isnan().tolist() == [[False, True]] * 5
    assert objective(ctx)["bootstrap"].count.item() == 5


def test_a_label_that_is_dropped_teaches_no_classifier():
    kept, dropped = (
        capro()(context("capro", state=prototypes("capro", clean_from=0, keep=keep, relabel=1.0)))
        for keep in (0.0, 0.9)
    )
    assert kept["classify"].count.item() == 8
    assert dropped["classify"].count.item() == dropped["low"].count.item() < 8
    assert dropped["instance"].count == kept["instance"].count


def test_other_states_are_refused():
    with pytest.raises(
        ConfigError, match=r"needs a state 'class_prototypes' with reads image/capro and labels effusion"
    ):
        capro()(context("capro", state=prototypes("other")))
    ctx = context("capro")
    ctx.state["queue"] = ctx.state["class_prototypes"]
    with pytest.raises(ConfigError, match=r"states.queue is no queue, which objective 'capro' needs"):
        capro()(ctx)
    assert isinstance(context("capro").state["queue"], Queue)
