from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, DataError, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.gpc import Gpc
from medvlp.state.gpc import Gpc as GpcState
from medvlp.state.queue import Queue

NAN, NAMES = float("nan"), ["effusion", "nodule"]
LABELS = {"effusion": [1.0, 0.0, 1.0, NAN, 1.0], "nodule": [0.0, 1.0, NAN, NAN, 1.0]}
CLASS = [0, 1, 0, -1, -1]  # the last has both, and is of neither


def made(*, clusters=(0.0, 1.0, 0.0, 2.0, NAN)) -> Context:
    torch.manual_seed(0)
    state = GpcState(labels=NAMES)
    state.prototypes = unit(torch.randn(3, 4))
    state.temperatures = torch.tensor([0.2, 0.5, 0.3])
    fields = {f"label.{name}": torch.tensor(values).double() for name, values in LABELS.items()}
    fields["number.gpc"] = torch.tensor(clusters)
    views = {f"image.{each}/gpc": torch.randn(5, 4, dtype=torch.float64) for each in ("first", "second")}
    parts = {parse_key(key): Part(rows, torch.arange(5)) for key, rows in views.items()}
    return Context(parts=parts, batch=Batch.of(fields), states={"gpc": state})


def test_every_term_is_its_formula_by_loops():
    ctx = made()
    terms = Gpc(temperature=0.5, balance=0.35)(ctx)
    z = torch.cat([unit(ctx["image.first/gpc"]), unit(ctx["image.second/gpc"])])
    state, clusters = ctx.state["gpc"], [0, 1, 0, 2, None]
    views, classes, prototypes = [], [], []
    for i in range(10):
        score = {j: float(z[i] @ z[j]) / 0.5 for j in range(10) if j != i}
        views.append(math.log(sum(map(math.exp, score.values()))) - score[(i + 5) % 10])
        if CLASS[i % 5] >= 0:
            named = {j: value for j, value in score.items() if CLASS[j % 5] >= 0}
            below = math.log(sum(map(math.exp, named.values())))
            alike = [value for j, value in named.items() if CLASS[j % 5] == CLASS[i % 5]]
            classes.append(below - sum(alike) / len(alike))
        if clusters[i % 5] is not None:
            to = [
                float(z[i] @ c.double()) / float(t) for c, t in zip(state.prototypes, state.temperatures, strict=True)
            ]
            prototypes.append(math.log(sum(map(math.exp, to))) - to[clusters[i % 5]])
    assert terms["views"].value().item() == pytest.approx(0.65 * np.mean(views), rel=1e-9)
    assert terms["classes"].value().item() == pytest.approx(0.35 * np.mean(classes), rel=1e-9)
    assert terms["classes"].count.item() == 6
    assert terms["prototypes"].value().item() == pytest.approx(np.mean(prototypes), rel=1e-6)
    assert terms["prototypes"].count.item() == 8


def test_before_the_first_pass_there_are_no_prototypes():
    ctx = made(clusters=(NAN,) * 5)
    ctx.state = {"gpc": GpcState(labels=NAMES)}
    terms = Gpc()(ctx)
    assert terms["prototypes"].count.item() == 0
    assert terms["views"].count.item() == 10


def table(count: int = 60) -> FeatureTable:
    """Two known classes and a third group that nobody named."""
    draws, truth = np.random.default_rng(0), np.arange(count) % 3
    rows = (np.eye(6)[truth] + 0.05 * draws.normal(size=(count, 6))).astype(np.float32)
    labels = {f"label.{name}": np.where(truth == k, 1.0, 0.0).astype(np.float32) for k, name in enumerate(NAMES)}
    return FeatureTable([str(i) for i in range(count)], {"image/gpc": rows, **labels})


def test_the_group_that_nobody_named_is_found_and_each_sample_learns_its_cluster():
    state = GpcState(labels=NAMES, clusters=6)
    state.refresh(table())
    assert len(state.prototypes) == 3
    torch.testing.assert_close(state.prototypes, torch.eye(6)[:3], atol=0.1, rtol=0)
    batch = Batch(("0", "1", "2", "x"), torch.arange(4), {})
    assert state.extend(batch)["number.gpc"].values[:3].tolist() == [0, 1, 2]
    assert state.extend(batch)["number.gpc"].values[3].isnan()
    again = GpcState(labels=NAMES, clusters=6)
    again.load_state_dict(state.state_dict())
    assert torch.equal(again.extend(batch)["number.gpc"].values[:3], torch.arange(3.0))


def test_a_sample_without_a_row_has_no_cluster_and_changes_nobodys():
    rows = table()
    whole, lacking = GpcState(labels=NAMES, clusters=6), GpcState(labels=NAMES, clusters=6)
    whole.refresh(rows)
    added = {name: np.concatenate([np.full_like(values[:1], NAN), values]) for name, values in rows.columns.items()}
    added["label.nodule"][0] = 1.0
    lacking.refresh(FeatureTable(["x", *rows.ids], added))
    assert lacking._found.tolist() == [-1, *whole._found.tolist()]
    torch.testing.assert_close(lacking.prototypes, whole.prototypes)
    torch.testing.assert_close(lacking.temperatures, whole.temperatures)


@pytest.mark.filterwarnings("error")
def test_a_finding_that_never_stands_alone_has_no_samples_and_no_prototype():
    rows, names = table(), ["effusion", "edema", "nodule"]
    expected, state = GpcState(labels=NAMES, clusters=6), GpcState(labels=names, clusters=7)
    expected.refresh(rows)
    state.refresh(FeatureTable(rows.ids, {**rows.columns, "label.edema": np.zeros(60, dtype=np.float32)}))
    assert state._found.tolist() == torch.tensor([0, 2, 3])[expected._found].tolist()
    assert not state.prototypes[1].any()
    torch.testing.assert_close(state.prototypes[[0, 2, 3]], expected.prototypes)
    assert state.temperatures[1].item() == pytest.approx(0.1)


def test_rows_that_lie_alone_leave_every_term_finite():
    """Two known groups and twelve samples that are like no other one."""
    state, truth = GpcState(labels=NAMES, clusters=14, psi=1e-4), [0] * 20 + [1] * 20 + list(range(2, 14))
    rows = np.eye(14)[truth]
    rows[:40] += 0.05 * np.random.default_rng(0).normal(size=(40, 14))
    labels = {f"label.{name}": (np.array(truth) == k).astype(np.float32) for k, name in enumerate(NAMES)}
    state.refresh(FeatureTable([str(i) for i in range(52)], {"image/gpc": rows.astype(np.float32), **labels}))
    assert state._found.bincount().tolist() == [20, 20] + [1] * 12
    assert (state.temperatures >= 0.02).all()
    fields = {name: torch.from_numpy(values[30:]).double() for name, values in labels.items()}
    fields["number.gpc"] = state._found[30:].double()
    parts = {parse_key(f"image.{view}/gpc"): torch.from_numpy(rows[30:]) for view in ("first", "second")}
    parts = {key: Part(values, torch.arange(22)) for key, values in parts.items()}
    terms = Gpc()(Context(parts=parts, batch=Batch.of(fields), states={"gpc": state}))
    assert all(term.value().isfinite() and term.count > 0 for term in terms.values())


def test_what_is_refused():
    for options in ({"labels": []}, {"labels": ["a", "a"]}, {"labels": NAMES, "clusters": 2}):
        with pytest.raises(ConfigError, match="name each finding once and begin with more clusters than findings"):
            GpcState(**options)
    with pytest.raises(ConfigError, match="views of objective 'gpc' are image, image: name two different ones"):
        Gpc(views=["image", "image"])
    with pytest.raises(DataError, match="state 'gpc' cannot make 6 clusters of 3 rows: lower clusters"):
        GpcState(labels=NAMES, clusters=6).refresh(table(3))
    rows = table()
    rows = FeatureTable(rows.ids, {**rows.columns, "label.nodule": 1 - rows["label.effusion"]})
    with pytest.raises(
        DataError, match=r"has no unlabelled row to find groups in: .* effusion, nodule; name fewer lab"
    ):
        GpcState(labels=NAMES, clusters=6).refresh(rows)
    ctx = made()
    ctx.state = {"gpc": Queue(reads=["image/gpc"])}
    with pytest.raises(ConfigError, match=r"states.gpc is no 'gpc', which the objective of that name needs"):
        Gpc()(ctx)
