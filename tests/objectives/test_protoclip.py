from __future__ import annotations

import math

import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.features.external import External
from medvlp.models.architectures._towers import TowerModel
from medvlp.objectives.protoclip import ProtoClip
from medvlp.state.clusters import Clusters
from medvlp.state.queue import Queue
from medvlp.training.task import make_plan
from tests.models.words import dual

N, K, WIDTH = 40, 4, 6
NAN = float("nan")


def spaces(turn: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Projected rows of forty samples; `turn` is an orthogonal map of the text's space."""
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(N, WIDTH, generator=generator) for _ in range(2))
    return {"image": image, "text": text if turn is None else text @ turn}


def clusters_of(rows: dict[str, torch.Tensor], **options) -> Clusters:
    state = Clusters(**{"clusters": K, **options})
    columns = {f"{view}/proto": values.numpy() for view, values in rows.items()}
    columns["label.effusion"] = (torch.arange(N) % 2).float().numpy()
    state.refresh(FeatureTable([f"s{i}" for i in range(N)], columns))
    return state


def context(rows: dict[str, torch.Tensor], state: Clusters, chosen: range = range(10)) -> Context:
    batch = Batch(tuple(f"s{i}" for i in chosen), torch.arange(len(chosen)), {})
    owner = torch.arange(len(chosen))
    parts = {parse_key(f"{view}/proto"): Part(values[list(chosen)], owner) for view, values in rows.items()}
    return Context(parts=parts, batch=state.extend(batch), states={"clusters": state})


def plain(objective: ProtoClip, ctx: Context) -> dict[str, float]:
    return {name: term.value().item() for name, term in objective(ctx).items()}


def by_hand(rows, state, student, teacher, *, temperature, translated=True, scale=14.28, chosen=range(10)) -> float:
    """Half of the cross entropy of one direction, with loops and numbers only."""
    labels = state.extend(Batch(tuple(f"s{i}" for i in range(N)), torch.arange(N), {}))
    of = labels[f"number.cluster_{teacher}"].values.tolist()
    own = {view: unit(values).double().tolist() for view, values in rows.items()}

    def mean(view, k):
        members = [own[view][i] for i in range(N) if of[i] == k]
        return [sum(values) / len(members) for values in zip(*members, strict=True)]

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    classes = [mean(student if translated else teacher, k) for k in range(K)]
    taught = [mean(teacher, k) for k in range(K)]
    total = 0.0
    for i in chosen:
        y = int(of[i])
        if temperature > 0:
            mass = [math.exp(dot(taught[y], c) / temperature) for c in taught]
            target = [m / sum(mass) for m in mass]
        else:
            target = [float(k == y) for k in range(K)]
        z = [scale * dot(own[student][i], c) for c in classes]
        below = math.log(sum(math.exp(v) for v in z))
        total -= sum(q * (v - below) for q, v in zip(target, z, strict=True))
    return total / len(chosen) / 2


@pytest.mark.parametrize("translated", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 0.01, 0.3])
def test_it_is_the_papers_cross_entropy(temperature, translated):
    rows = spaces()
    state = clusters_of(rows)
    got = plain(ProtoClip(target_temperature=temperature, back_translation=translated), context(rows, state))
    for student, teacher in (("image", "text"), ("text", "image")):
        expected = by_hand(rows, state, student, teacher, temperature=temperature, translated=translated)
        assert got[student] == pytest.approx(expected, rel=1e-5)


def test_soft_targets_of_unit_centroids_become_hard_ones():
    """Check (ii): a temperature towards 0 is the hard label, where no other centroid is as near as the own one."""
    rows = spaces()
    state = clusters_of(rows, unit_centroids=True)
    soft, hard = (plain(ProtoClip(target_temperature=t), context(rows, state)) for t in (1e-4, 0.0))
    assert soft == pytest.approx(hard, rel=1e-6)


def test_of_uniform_scores_it_is_log_k():
    """Check (iii): rows at right angles to every prototype."""
    rows = {view: torch.cat([values, torch.zeros(N, 1)], dim=1) for view, values in spaces().items()}
    state = clusters_of(rows)
    aside = {view: torch.eye(WIDTH + 1)[-1].repeat(N, 1) for view in rows}
    for temperature in (0.0, 0.01):
        got = plain(ProtoClip(target_temperature=temperature), context(aside, state))
        assert sum(got.values()) == pytest.approx(math.log(K), rel=1e-6)


def test_turning_the_others_space_changes_the_direct_loss_only():
    """Check (v): back translation reads a partition and the dot products of its centroids, nothing else."""
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(5)))[0]
    straight, turned = spaces(), spaces(turn)
    states = [clusters_of(rows) for rows in (straight, turned)]
    for translated in (True, False):
        objective = ProtoClip(back_translation=translated)
        a, b = (
            plain(objective, context(rows, state))["image"]
            for rows, state in zip((straight, turned), states, strict=True)
        )
        assert (abs(a - b) < 1e-5) == translated


def test_gradients_are_those_of_the_formula_and_stop_at_the_prototypes():
    rows = {view: values.double().requires_grad_() for view, values in spaces().items()}
    state = clusters_of({view: values.detach().float() for view, values in rows.items()})
    objective = ProtoClip(target_temperature=0.3).double()

    def loss(image, text, log_scale):
        with torch.no_grad():
            objective.scale.log_scale.copy_(log_scale)
        terms = objective(context({"image": image, "text": text}, state))
        return sum(term.sum for term in terms.values())

    value = objective.scale.log_scale.detach().clone()
    assert torch.autograd.gradcheck(lambda i, t: loss(i, t, value), (rows["image"], rows["text"]))
    total = loss(rows["image"], rows["text"], value)
    total.backward()
    assert not rows["image"].grad[10:].any()  # other samples move the prototypes only, which are constants
    step = 1e-6
    above, below = (loss(rows["image"], rows["text"], value + d).item() for d in (step, -step))
    objective.zero_grad()
    loss(rows["image"], rows["text"], value).backward()
    assert objective.scale.log_scale.grad.item() == pytest.approx((above - below) / (2 * step), rel=1e-6)


def test_several_rows_of_a_sample_share_its_label_and_one_without_a_label_adds_nothing():
    rows = spaces()
    whole = {view: values.clone() for view, values in rows.items()}
    whole["text"][7] = NAN
    state = clusters_of(whole)
    owner = torch.tensor([0, 1, 1, 7])
    batch = Batch(tuple(f"s{i}" for i in range(10)), torch.arange(10), {})
    parts = {parse_key(f"{view}/proto"): Part(values[owner], owner) for view, values in rows.items()}
    ctx = Context(parts=parts, batch=state.extend(batch), states={"clusters": state})
    terms = ProtoClip()(ctx)
    assert terms["image"].count.item() == 3  # sample 7 has no text cluster
    assert terms["text"].count.item() == 4
    singles = [ProtoClip()(context(rows, state, range(i, i + 1)))["image"].sum.item() for i in (0, 1, 1)]
    assert terms["image"].sum.item() == pytest.approx(sum(singles), rel=1e-5)


def test_an_empty_prototype_is_a_zero_row_of_the_softmax_or_no_row():
    rows = spaces()
    alone = {view: values.clone() for view, values in rows.items()}
    state = clusters_of(alone)
    text_labels = state.extend(Batch(tuple(f"s{i}" for i in range(N)), torch.arange(N), {}))
    members = text_labels["number.cluster_text"].values == 2
    alone["image"][members] = NAN  # the third text cluster has no image
    state = clusters_of(alone)
    labels = state.extend(Batch(tuple(f"s{i}" for i in range(N)), torch.arange(N), {}))
    of = labels["number.cluster_text"].values
    empty = int(of[members][0])
    prototypes = state.centroids(labels_of="text", features_of="image")
    assert not prototypes[empty].any()
    chosen = [i for i in range(N) if int(of[i]) != empty][:4]
    owner = torch.arange(4)
    batch = Batch(tuple(f"s{i}" for i in chosen), torch.arange(4), {})
    parts = {parse_key(f"{view}/proto"): Part(values[chosen], owner) for view, values in rows.items()}
    ctx = Context(parts=parts, batch=state.extend(batch), states={"clusters": state})
    z = 14.28 * unit(rows["image"][chosen]) @ prototypes.T
    target = of[chosen].long()
    got = plain(ProtoClip(target_temperature=0.0), ctx)["image"]
    assert got == pytest.approx(torch.nn.functional.cross_entropy(z, target).item() / 2, rel=1e-5)
    z[:, empty] = -torch.inf
    got = plain(ProtoClip(target_temperature=0.0, skip_empty=True), ctx)["image"]
    assert got == pytest.approx(torch.nn.functional.cross_entropy(z, target).item() / 2, rel=1e-5)


def test_an_outside_teacher_adds_hard_terms_of_its_weight():
    rows = spaces()
    state = clusters_of(rows, clusters=2, external=External(fields=("label.effusion",)))
    ctx = context(rows, state)
    got = plain(ProtoClip(external=True, external_weight=0.5), ctx)
    assert set(got) == {"image", "text", "external_image", "external_text"}
    of = ctx.batch["number.cluster_external"].values.long()
    assert of[::2].unique().numel() == of[1::2].unique().numel() == 1
    for view in ("image", "text"):
        means = torch.stack([unit(rows[view])[k::2].mean(0) for k in (0, 1)])
        if of[0] == 1:
            means = means.flip(0)
        loss = torch.nn.functional.cross_entropy(14.28 * unit(rows[view][:10]) @ means.T, of)
        assert got[f"external_{view}"] == pytest.approx(loss.item() / 4, rel=1e-5)
    without = plain(ProtoClip(), ctx)
    assert {name: got[name] for name in without} == without


def test_projections_start_as_twins_and_normalise_over_rows():
    model = dual()
    assert isinstance(model, TowerModel)
    objective = ProtoClip(hidden=16, width=8)
    state = Clusters(clusters=2)
    model.mount(objective.heads(), make_plan({"protoclip": objective}, {"clusters": state}))
    own, other = (dict(model.heads[f"{kind}/proto"].named_parameters()) for kind in ("image", "text"))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert not torch.equal(model.heads["image/raw"].output.weight, model.heads["text/raw"].output.weight)
    assert model.heads["image/proto"].stage == "batch"
    assert type(model.heads["image/proto"].norms[0]).__name__ == "RowBatchNorm"


def test_its_scale_is_held_between_1_and_100():
    objective = ProtoClip()
    assert objective.scale.value.item() == pytest.approx(14.28)
    for value, held in ((-3.0, 0.0), (9.0, math.log(100))):
        with torch.no_grad():
            objective.scale.log_scale.fill_(value)
        objective.scale.after_step(1)
        assert objective.scale.log_scale.item() == pytest.approx(held)


def test_what_is_refused():
    rows = spaces()
    ctx = context(rows, clusters_of(rows))
    with pytest.raises(ConfigError, match="needs back_translation"):
        ProtoClip(external=True, back_translation=False)
    with pytest.raises(ConfigError, match="has a bias, which a softmax does not see"):
        ProtoClip(scale={"bias": 1.0} and type(ProtoClip.__init__.__kwdefaults__["scale"])(bias=1.0))
    with pytest.raises(ConfigError, match=r"needs a state 'clusters' that reads image/other, text/other: states.clus"):
        ProtoClip(head="other")(Context(parts=ctx.parts, batch=ctx.batch, states=ctx.state))
    with pytest.raises(ConfigError, match=r"needs a state 'clusters' that reads"):
        ProtoClip()(Context(parts=ctx.parts, batch=ctx.batch, states={"clusters": Queue(reads=["image/proto"])}))
    with pytest.raises(ConfigError, match="clusters are empty"):
        ProtoClip()(Context(parts=ctx.parts, batch=ctx.batch, states={"clusters": Clusters()}))
