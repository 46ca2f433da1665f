"""Tip-Adapter is the sum of the paper over a cache; a residual network starts where its words or probe do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp.adaptation._adapter import applied
from medvlp.adaptation._training import weights_of
from medvlp.adaptation.linear import Linear
from medvlp.adaptation.residual import Residual
from medvlp.adaptation.tip import Tip
from medvlp.adaptation.tip_tuned import TipTuned
from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.models.heads.cache import CacheHead
from tests.adaptation.worlds import gaussians

TRAIN, VALIDATION = gaussians(0), gaussians(1)
WORDS = {name: np.eye(12)[k] for k, name in enumerate(TRAIN.labels)}


def test_scores_are_the_papers_sum_by_hand() -> None:
    sharp, weight = 5.5, 2.0
    probe = Tip(sharpness=(sharp,), weights=(weight,), refit=False).fit(TRAIN, VALIDATION, WORDS)
    keys = TRAIN.features / np.linalg.norm(TRAIN.features, axis=1, keepdims=True)
    found = probe.log_odds(VALIDATION.features)
    for k, name in enumerate(TRAIN.labels):
        truth = TRAIN.labels[name]
        counts = {value: int((truth == value).sum()) for value in (0.0, 1.0)}
        for row, said in zip(VALIDATION.features, found[:, k], strict=True):
            total = 100 * row @ WORDS[name]
            for key, value in zip(keys, truth, strict=True):
                if value in counts:
                    near = np.exp(-sharp * (1 - row @ key / np.linalg.norm(row)))
                    total += weight * near * (2 * value - 1) * sum(counts.values()) / counts[value] / 2
            assert said == pytest.approx(total, abs=1e-8)


def test_without_words_rows_are_standardised_and_the_linear_probe_takes_their_place() -> None:
    rows, mean, scale = VALIDATION.features, TRAIN.features.mean(axis=0), TRAIN.features.std(axis=0)
    keys, seen = ((each - mean) / scale for each in (TRAIN.features, rows))
    near = unit(torch.from_numpy(seen)).numpy() @ unit(torch.from_numpy(keys)).numpy().T
    labels = np.stack([np.where(np.isin(v, (0, 1)), v, np.nan) for v in TRAIN.labels.values()], axis=1)
    values = np.where(np.isfinite(labels), (2 * np.nan_to_num(labels) - 1) * weights_of(labels), 0.0)
    linear = Linear(strengths=(1e-2,), refit=False, balanced=True).fit(TRAIN, VALIDATION, {})
    probe = Tip(sharpness=(5.5,), weights=(2.0,), refit=False).fit(TRAIN, VALIDATION, {})
    expected = linear.log_odds(rows) + 2 * np.exp(-5.5 * (1 - near)) @ values
    assert probe.log_odds(rows) == pytest.approx(expected, abs=1e-8)


def test_scores_in_half_precision_are_those_of_float32_to_its_precision() -> None:
    head = CacheHead(in_width=4, classes=2, rows=3)
    draw = torch.Generator().manual_seed(0)
    own = {name: torch.rand(each.shape, generator=draw) for name, each in head.state_dict().items()}
    head.load_state_dict({**own, "keys": unit(own["keys"]), "sharpness": torch.tensor([1.0, 3.0])})
    rows = Encoded(owner=torch.arange(5), pooled=torch.rand(5, 4, generator=draw))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(rows, "findings")["findings"]
    torch.testing.assert_close(found.float(), head(rows, "findings")["findings"], rtol=0.03, atol=0.03)


def test_a_large_cache_is_held_once_and_meets_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Tip(sharpness=(1.0, 5.5), weights=(0.5, 2.0), refit=False)
    labels = np.stack(list(TRAIN.labels.values()), axis=1)
    made = probe.candidates(TRAIN.features, labels, None, probe.grid(None))
    assert len({id(each["keys"]) for each in made}) == 1
    fitted = probe.fit(TRAIN, VALIDATION, {})
    whole, most = fitted.log_odds(VALIDATION.features), []
    forward = CacheHead.forward

    def counted(head: CacheHead, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        most.append(len(encoded.owner))
        return forward(head, encoded, name)

    monkeypatch.setattr(CacheHead, "forward", counted)
    monkeypatch.setattr("medvlp.adaptation._adapter._ROWS", 7)
    assert fitted.log_odds(VALIDATION.features) == pytest.approx(whole, abs=1e-12)
    assert max(most) == 7
    assert sum(most) == len(whole)


def test_equal_classes_weigh_one_as_in_the_paper() -> None:
    assert np.abs(weights_of(np.array([[1.0], [0.0], [1.0], [0.0]]))).tolist() == [[1.0]] * 4


def test_an_untrained_cache_is_the_training_free_one_and_training_moves_the_keys_alone() -> None:
    options = {"sharpness": (3.0,), "weights": (1.0,), "refit": False}
    free = Tip(**options).fit(TRAIN, VALIDATION, WORDS)
    start = TipTuned(**options, epochs=(0,)).fit(TRAIN, VALIDATION, WORDS)
    assert np.array_equal(start.log_odds(VALIDATION.features), free.log_odds(VALIDATION.features))
    with torch.no_grad():  # a mode of the caller's, as a notebook's
        tuned = TipTuned(**options, epochs=(15,), rate=1e-2).fit(TRAIN, VALIDATION, WORDS)
    moved = {name for name, value in tuned.tensors.items() if not np.array_equal(value, start.tensors[name])}
    assert moved == {"keys"}
    assert loss(tuned.log_odds(TRAIN.features)) < loss(start.log_odds(TRAIN.features))


def loss(logits: np.ndarray) -> float:
    labels = np.stack([np.where(np.isin(v, (0, 1)), v, np.nan) for v in TRAIN.labels.values()], axis=1)
    each = np.logaddexp(0, logits) - np.nan_to_num(labels) * logits
    return float((each * weights_of(labels)).sum())


@pytest.mark.parametrize("bank", [{}, WORDS], ids=["probe", "words"])
def test_an_untrained_residual_ranks_as_what_it_starts_from(bank: dict[str, np.ndarray]) -> None:
    probe = Residual(ratios=(0.3,), epochs=(0,), refit=False).fit(TRAIN, VALIDATION, bank)
    rows, found = VALIDATION.features, probe.log_odds(VALIDATION.features)
    if bank:
        expected = 100 * rows[:, :2] / np.linalg.norm(rows, axis=1, keepdims=True)
        assert found == pytest.approx(expected, abs=1e-8)
    else:
        linear = Linear(strengths=(1e-2,), refit=False, balanced=True).fit(TRAIN, VALIDATION, {})
        mean, scale = TRAIN.features.mean(0), TRAIN.features.std(0)
        length = np.linalg.norm((rows - mean) / scale, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
        bias = linear.log_odds(mean[None])
        assert found == pytest.approx((linear.log_odds(rows) - bias) / length + bias, abs=1e-8)


def test_a_residual_is_its_equation() -> None:
    draw, (width, hidden, ratio) = np.random.default_rng(0), (4, 3, 0.3)
    sizes = {"output.weight": (2, width), "output.bias": (2,), "down.weight": (hidden, width), "mean": (width,)}
    own = {name: draw.normal(size=size) for name, size in {**sizes, "up.weight": (width, hidden)}.items()}
    own |= {"scale": draw.uniform(0.5, 2, size=width), "ratio": np.asarray(ratio)}
    rows = draw.normal(size=(5, width))
    z = (rows - own["mean"]) / own["scale"]
    mixed = (1 - ratio) * z + ratio * np.maximum(z @ own["down.weight"].T, 0) @ own["up.weight"].T
    expected = mixed / np.linalg.norm(mixed, axis=1, keepdims=True) @ own["output.weight"].T + own["output.bias"]
    assert applied("residual", own, rows) == pytest.approx(expected, abs=1e-12)


def test_training_a_residual_fits_better_and_keeps_the_words() -> None:
    start, after = (
        Residual(ratios=(0.5,), epochs=(e,), rate=1e-2, refit=False).fit(TRAIN, VALIDATION, WORDS) for e in (0, 30)
    )
    assert loss(after.log_odds(TRAIN.features)) < loss(start.log_odds(TRAIN.features))
    assert np.array_equal(after.tensors["output.weight"], start.tensors["output.weight"])
    again = Residual(ratios=(0.5,), epochs=(30,), rate=1e-2, refit=False).fit(TRAIN, VALIDATION, WORDS)
    assert np.array_equal(again.tensors["up.weight"], after.tensors["up.weight"])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"name": "tip", "sharpness": [0.0]}, r"probe.sharpness\[0\] is 0.0: input should be greater than 0"),
        ({"name": "tip_tuned", "epochs": [-1]}, r"probe.epochs\[0\] is -1: input should be greater than or equal to 0"),
        ({"name": "residual", "ratios": []}, r"probe.ratios is \[\]: tuple should have at least 1 item"),
    ],
)
def test_faulty_grids_are_refused(spec: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build("adaptation", spec, where="probe")
