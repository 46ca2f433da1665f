"""The map of a pair is a decomposition of its score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.map import Map
from medvlp.features.embed import embed
from medvlp.features.heat_map import heat_map
from tests.models.words import DUAL, VISION, VIT, dual, images

SIDE = 96


def model_of(vision: dict[str, Any], **changes: Any) -> Any:
    return dual({**DUAL, "vision": {**vision, "image_size": SIDE}}, **changes).eval()


@pytest.mark.parametrize("pool", [{}, {"pool": "max"}, {"pool": "catavgmax"}, {"columns": 3}])
def test_of_a_pooled_and_linearly_projected_tower_it_sums_to_the_score(pool: dict[str, Any]) -> None:
    """Gradient times activation of a map that is homogeneous of degree 1 is the map itself (Euler)."""
    model = model_of({**VISION, **pool})
    image, vector = images(1, SIDE)[0], unit(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)))[0]
    found = heat_map(model, image, vector)
    score = float(embed(model, "image", [image])[0] @ vector.numpy())
    assert found.values.shape == (3, 3)
    assert found.score == pytest.approx(score, abs=1e-6)
    assert float(found.values.sum()) == pytest.approx(score, abs=1e-5)
    assert np.abs(found.values).max() > 1e-3


def test_of_a_mean_pooled_linear_tower_each_value_is_the_tokens_own_score() -> None:
    """Class activation mapping (Zhou et al. 2016), written out."""
    model = model_of(VISION)
    image, vector = images(1, SIDE)[0], unit(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)))[0]
    tower = model.towers["image"]
    with torch.no_grad():
        tokens = tower(image[None], parts=frozenset({"tokens"})).tokens[0]
        weight = model.heads["image/raw"].output.weight
        raw = weight @ tokens.mean(dim=0)
        by_hand = (tokens @ weight.T @ vector) / len(tokens) / raw.norm()
    np.testing.assert_allclose(heat_map(model, image, vector).values.flatten(), by_hand.numpy(), atol=1e-6)


def test_of_a_transformer_that_pools_its_tokens_it_is_the_gradient_times_the_tokens() -> None:
    model = model_of({**VIT, "pool": "avg"})
    found = heat_map(model, images(1, SIDE)[0], torch.eye(8)[0])
    assert found.values.shape == (6, 6)
    assert np.abs(found.values).max() > 0


def test_a_model_in_training_is_explained_as_in_evaluation_and_left_as_it_was() -> None:
    """A tower with BatchNorm would be normalised by the one picture, and would keep its mean."""
    model = model_of({**VISION, "norm": "keep"})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = heat_map(model, images(1, SIDE)[0], torch.eye(8)[0])
    found = heat_map(model.train(), images(1, SIDE)[0], torch.eye(8)[0])
    np.testing.assert_array_equal(found.values, expected.values)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_a_frozen_model_explains_itself_and_is_left_without_gradients() -> None:
    model = model_of(VISION)
    expected = heat_map(model, images(1, SIDE)[0], torch.eye(8)[0]).values
    assert all(parameter.grad is None for parameter in model.parameters())
    frozen = model.requires_grad_(False)
    np.testing.assert_array_equal(heat_map(frozen, images(1, SIDE)[0], torch.eye(8)[0]).values, expected)


def test_a_head_behind_the_tower_is_explained_too() -> None:
    head = {"hidden": 12, "norm": "layer", "stage": "batch"}
    model = model_of(VISION, projection=head)
    assert heat_map(model, images(1, SIDE)[0], torch.eye(8)[0]).values.any()


def test_a_class_token_is_pooled_from_no_token_and_refused() -> None:
    with pytest.raises(ConfigError, match=r"pools its embedding from no grid of tokens .* use `pool: avg`"):
        heat_map(model_of(VIT), images(1, SIDE)[0], torch.eye(8)[0])


def test_what_is_shown_is_the_positive_evidence_with_its_largest_value_one() -> None:
    found = Map(np.array([[-1.0, 0.5], [0.0, 2.0]], dtype=np.float32))
    shown = found.resized(4)
    assert shown.shape == (4, 4)
    assert (float(shown.min()), float(shown.max())) == (0.0, 1.0)
    assert shown[-1, -1] == 1.0
    assert not Map(-np.ones((2, 2), dtype=np.float32)).resized(4).any()
