from __future__ import annotations

import numpy as np
import pytest
import torch

from medvlp.core import Batch, ConfigError, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.features.reranking import reranked, smoothed
from medvlp.models.bank import Bank
from medvlp.state._anchors import Anchors
from medvlp.state.class_prototypes import ClassPrototypes
from tests.models.words import dual

KEY, NAMES = "image/embedding", ["effusion", "nodule"]


def cohort(count: int = 80, *, noise: float = 0.3) -> tuple[FeatureTable, np.ndarray]:
    """Images and reports of two findings, labels of which a part is wrong, reports of which some are missing."""
    draws = np.random.default_rng(0)
    truth = draws.random((count, 2)) < 0.5
    image = truth @ (4 * np.eye(2, 8)) + draws.normal(size=(count, 8))
    text = truth @ (4 * np.eye(2, 8)) + 0.5 * draws.normal(size=(count, 8)) + np.eye(8)[7]
    text[::9] = np.nan
    told = np.where(draws.random((count, 2)) < noise, ~truth, truth)
    labels = {f"label.{name}": told[:, k].astype(np.float32) for k, name in enumerate(NAMES)}
    columns = {KEY: image.astype(np.float32), "text/embedding": text.astype(np.float32), **labels}
    return FeatureTable([f"s{i}" for i in range(count)], columns), truth


def test_anchors_are_right_more_often_than_their_labels():
    table, truth = cohort()
    state = ClassPrototypes(labels=NAMES, anchors=Anchors(each=10, neighbours=8, inner=3))
    state.refresh(table)
    chosen = state.anchored.of(table.ids).numpy()
    told = np.stack([table[f"label.{name}"] for name in NAMES], axis=1) == 1
    assert (chosen.sum(axis=0) == 20).all()  # ten of each label
    for k in range(2):
        assert (told[:, k] == truth[:, k]).mean() < 0.8
        assert (told[:, k] == truth[:, k])[chosen[:, k]].mean() > 0.9


def test_of_few_samples_with_a_finding_all_are_anchors_and_of_those_without_it_the_farthest():
    draws = np.random.default_rng(1)
    told = np.array([0.0, 1.0, -1.0, np.nan, *[0.0] * 25, 1.0, 1.0, 1.0], dtype=np.float32)  # four have it
    rows = draws.normal(size=(2, len(told), 8)).astype(np.float32)
    columns = {KEY: rows[0], "text/embedding": rows[1], "label.effusion": told}
    table = FeatureTable([f"s{i}" for i in range(len(told))], columns)
    state = ClassPrototypes(labels=["effusion"], anchors=Anchors(each=10, neighbours=8, inner=3))
    state.refresh(table)
    chosen = state.anchored.of(table.ids)[:, 0].numpy()
    images, texts = (unit(torch.from_numpy(each)) for each in rows)
    smooth = unit(smoothed(texts, reranked(images, neighbours=8, inner=3)[:, :3]))
    score = (smooth @ unit(smooth[told == 1].sum(0))).numpy()
    without = np.flatnonzero(told == 0)
    farthest = without[np.argsort(score[without])[:10]]
    assert set(np.flatnonzero(chosen)) == {*np.flatnonzero(told == 1), *farthest}
    assert chosen.sum() == 4 + 10


def test_prototypes_begin_as_their_means_and_their_labels_are_never_changed():
    table, _ = cohort()
    options = {"each": 10, "neighbours": 8, "inner": 3}
    state = ClassPrototypes(labels=NAMES, clean_from=0, keep=1.0, relabel=0.0, anchors=Anchors(**options))
    state.refresh(table)
    rows, chosen = unit(torch.from_numpy(table[KEY])), state.anchored.of(table.ids)
    told = torch.stack([torch.from_numpy(table[f"label.{name}"]) for name in NAMES], dim=1)
    for k in range(2):
        for c in (0, 1):
            mean = rows[chosen[:, k] & (told[:, k] == c)].mean(dim=0)
            torch.testing.assert_close(state.prototypes[k, c], unit(mean))
    fields = {f"label.{name}": told[:, k] for k, name in enumerate(NAMES)}
    columns = Batch.of(fields).columns
    batch = Batch(tuple(table.ids), torch.arange(len(rows)), columns)
    ctx = Context(parts={parse_key(KEY): Part(rows, torch.arange(len(rows)))}, batch=batch)
    got = state.targets(ctx, rows, KEY)
    assert torch.equal(got[chosen], told[chosen])
    assert (got[~chosen] == 1 - told[~chosen]).all()
    again = ClassPrototypes(labels=NAMES, anchors=Anchors(**options))
    again.load_state_dict(state.state_dict())
    assert torch.equal(again.anchored.of(["s3", "none", "s1"]), state.anchored.of(["s3", "none", "s1"]))


def test_a_definition_is_what_the_bank_says_in_the_models_own_words():
    table, _ = cohort()
    model = dual()
    texts = {"nodule": "a nodule", "effusion": "an effusion", "other": "something"}
    model.add_bank(Bank("findings", tuple(texts.values()), names=tuple(texts)))
    state = ClassPrototypes(labels=NAMES, anchors=Anchors(each=5, bank="findings"), model=model)
    found = state.anchored._definitions(torch.zeros(1, 8), torch.zeros(1, 2), model)
    with torch.no_grad():
        own = model.texts_of("findings", _nobody())
    torch.testing.assert_close(found, own[[1, 0]], check_dtype=False)
    state.refresh(table)
    assert (state.anchored.of(table.ids).sum(0) == 10).all()
    missing = ClassPrototypes(labels=["edema"], anchors=Anchors(bank="findings"), model=model)
    with pytest.raises(
        ConfigError, match="bank 'findings' of the anchors defines no edema: describe a bank of that name"
    ):
        missing.anchored._definitions(torch.zeros(1, 8), torch.zeros(1, 1), model)


def _nobody():
    from medvlp.core.encoded import Encoded

    return Encoded(owner=torch.zeros(0, dtype=torch.int64))
