"""One pass over batches is every sample by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medvlp.core import Batch, Column, ConfigError, UserError
from medvlp.core.keys import keys
from medvlp.features.embed import embed, logit_scale
from medvlp.features.feature_pass import feature_pass
from medvlp.state.ema import Ema
from medvlp.state.frozen import Frozen
from tests.models.words import DUAL, TEXT, dual, images

TEXTS = ("no effusion", "large left effusion with a long tail of words", "normal", "rib fracture", "nodule")
EMBEDDINGS = keys("image/embedding", "text/embedding")
# Dropout and BatchNorm: what evaluation mode must take out.
MODEL: dict[str, Any] = {
    **DUAL,
    "text": {**TEXT, "dropout": 0.5},
    "projection": {"hidden": 12, "norm": "batch", "stage": "batch"},
}


def batches(size: int) -> list[Batch]:
    whole = Batch.of({"image": images(5), "text": list(TEXTS), "label.f": torch.arange(5.0), "id.study": list("abcde")})
    return [whole.take(start, min(start + size, 5)) for start in range(0, 5, size)]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_any_batching_gives_each_sample_what_it_gets_alone(size: int) -> None:
    model = dual(MODEL).train()
    alone, together = (feature_pass(model, batches(n), EMBEDDINGS) for n in (1, size))
    assert list(alone.ids) == list(together.ids) == list("01234")
    for key in map(str, EMBEDDINGS):
        np.testing.assert_allclose(together[key], alone[key], atol=1e-6, rtol=0)
        np.testing.assert_allclose(np.linalg.norm(alone[key], axis=1), 1, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model = dual(MODEL).train()
    model.towers["image"].eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    feature_pass(model, batches(2), EMBEDDINGS)
    with pytest.raises(ConfigError):
        feature_pass(model, [Batch.of({"image": torch.zeros(1, 3, 32, 32)})], EMBEDDINGS)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_sample_without_a_view_has_a_row_of_nan_and_words_stay_words() -> None:
    batch = Batch(
        ("a", "b", "c"),
        torch.arange(3),
        {"image": Column(images(2), torch.tensor([0, 2])), "text": Column(("x", "y"), torch.tensor([1, 2]))},
    )
    table = feature_pass(dual(), [batch], keys("image/embedding", "text"))
    assert np.isnan(table["image/embedding"]).all(axis=1).tolist() == [False, True, False]
    assert table.columns["text"] == ["", "x", "y"]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_sample_without_a_vector_has_a_row_of_nan_however_batches_are_cut(size: int) -> None:
    vectors = Column(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 2]))
    whole = Batch(tuple("abcd"), torch.arange(4), {"image": Column(images(4), torch.arange(4)), "vector.x": vectors})
    cut = [whole.take(start, start + size) for start in range(0, 4, size)]
    table = feature_pass(dual(), cut, keys("image/pooled", "vector.x"))
    np.testing.assert_array_equal(table["vector.x"], [[1, 2], [np.nan] * 2, [3, 4], [np.nan] * 2])


def test_fields_and_tokens_are_columns_too() -> None:
    table = feature_pass(dual(), batches(2), keys("image/pooled", "label.f", "id.study"))
    assert table["label.f"].tolist() == [0, 1, 2, 3, 4]
    assert table.columns["id.study"] == list("abcde")
    assert table["image/pooled"].shape == (5, 16)


def test_a_teachers_rows_are_those_that_it_gives_alone() -> None:
    model, frozen = dual(MODEL).train(), Frozen()
    frozen.bind(dual(MODEL, seed=1))
    table = feature_pass(
        model, batches(2), keys("frozen:image/embedding", "image/embedding", "label.f"), teachers={"frozen": frozen}
    )
    alone = feature_pass(frozen.model, batches(5), keys("image/embedding"))
    np.testing.assert_allclose(table["frozen:image/embedding"], alone["image/embedding"], atol=1e-6, rtol=0)
    assert np.abs(table["frozen:image/embedding"] - table["image/embedding"]).max() > 0.01
    only = feature_pass(model, batches(2), keys("frozen:image/embedding"), teachers={"frozen": frozen})
    assert list(only.columns) == ["frozen:image/embedding"]
    np.testing.assert_array_equal(only["frozen:image/embedding"], table["frozen:image/embedding"])


def test_what_has_no_single_row_or_asks_a_teacher_that_is_not_there_is_refused() -> None:
    several = Batch(("a",), torch.arange(1), {"text": Column(("x", "y"), torch.tensor([0, 0]))})
    with pytest.raises(ConfigError, match=r"'text/embedding' has several rows for one sample: pool them"):
        feature_pass(dual(), [several], keys("text/embedding"))
    with pytest.raises(ConfigError, match=r"feature pass asks a teacher 'emma': did you mean 'ema'\? \(allowed: ema\)"):
        feature_pass(dual(), batches(5), keys("emma:image/embedding"), teachers={"ema": Ema(horizon=1.0)})
    frozen = Frozen()
    frozen.bind(dual())
    with pytest.raises(ConfigError, match=r"Need 'image/proto' cannot be computed"):
        feature_pass(dual(), batches(5), keys("frozen:image/proto"), teachers={"frozen": frozen})


def test_loose_values_are_embedded_as_in_a_pass() -> None:
    model = dual(MODEL).train()
    table = feature_pass(model, batches(5), EMBEDDINGS)
    np.testing.assert_allclose(embed(model, "text", TEXTS, batch=2), table["text/embedding"], atol=1e-6)
    np.testing.assert_allclose(embed(model, "image", list(images(5)), batch=3), table["image/embedding"], atol=1e-6)
    assert model.training
    with pytest.raises(UserError, match=r"There is no text to embed: give at least one"):
        embed(model, "text", [])
    assert logit_scale(model) == pytest.approx(float(model.logit_scale.value.detach()))
