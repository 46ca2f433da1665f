"""Maps against their formulas, on models small enough to write the answer out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.map import Map
from medvlp.core.registry import available, build
from medvlp.features.embed import embed
from medvlp.features.heat_map import heat_map, token_gradients
from medvlp.features.maps.attention import Attention
from medvlp.features.maps.grad_cam import GradCam
from medvlp.features.maps.hires_cam import HiResCam
from medvlp.features.maps.layer_cam import LayerCam
from medvlp.features.maps.occlusion import Occlusion
from medvlp.features.maps.rollout import Rollout
from medvlp.features.maps.similarity import Similarity
from medvlp.features.randomised import randomised
from tests.models.words import DUAL, VISION, VIT, dual, images

SIDE = 96


def model_of(vision: dict[str, Any], **changes: Any) -> Any:
    return dual({**DUAL, "vision": {**vision, "image_size": SIDE}}, **changes).eval()


def one(method: Any, model: Any, image: Tensor, vector: Tensor) -> Map:
    """Map of one vector, the same beside another."""
    alone, (beside, _) = method(model, image, vector[None]), method(model, image, torch.stack([vector, -vector]))
    np.testing.assert_allclose(alone[0].values, beside.values, atol=1e-6)
    assert (alone[0].method, alone[0].scale) == (type(method).__module__.rpartition(".")[2], method.scale)
    return alone[0]


def vector_of(seed: int = 0) -> Tensor:
    return unit(torch.randn(1, 8, generator=torch.Generator().manual_seed(seed)))[0]


def by_hand(model: Any, image: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Tokens (N, W), projection weight (D, W) and length of the embedding of a mean-pooled linear tower."""
    with torch.no_grad():
        tokens = model.towers["image"](image[None], parts=frozenset({"tokens"})).tokens[0]
        weight = model.heads["image/raw"].output.weight
        return tokens.numpy(), weight.numpy(), float((weight @ tokens.mean(0)).norm())


def test_every_file_of_the_folder_is_a_map() -> None:
    names = available("features/maps")
    assert {"attention", "grad_cam", "hires_cam", "layer_cam", "occlusion", "rollout", "similarity"} <= set(names)
    for name in names:
        assert build("features/maps", {"name": name}, where="maps").scale in ("own", "peak")


def test_of_a_linear_model_the_gradient_is_the_same_at_every_token_and_the_cams_are_their_formulas() -> None:
    """d score / d T_ik = (W' v)_k / (N |raw|): Grad-CAM and HiResCAM differ by the rectifier only, LayerCAM by more."""
    model, image, vector = model_of(VISION), images(1, SIDE)[0], vector_of()
    tokens, weight, length = by_hand(model, image)
    gradient = weight.T @ vector.numpy() / len(tokens) / length
    np.testing.assert_allclose(
        token_gradients(model, image, vector[None])[0].gradient, np.tile(gradient, (9, 1)), atol=1e-6
    )
    own = (tokens @ gradient).reshape(3, 3)
    np.testing.assert_allclose(one(HiResCam(), model, image, vector).values, own, atol=1e-6)
    np.testing.assert_allclose(one(GradCam(), model, image, vector).values, np.maximum(own, 0), atol=1e-6)
    layer = np.maximum((tokens * np.maximum(gradient, 0)).sum(1), 0).reshape(3, 3)
    np.testing.assert_allclose(one(LayerCam(), model, image, vector).values, layer, atol=1e-6)


def test_grad_cam_of_another_pooling_averages_the_gradient_first() -> None:
    model, image, vector = model_of({**VISION, "pool": "max"}), images(1, SIDE)[0], vector_of()
    found = token_gradients(model, image, vector[None])[0]
    weights = np.zeros(found.tokens.shape[1])
    for row in found.gradient:
        weights += row / len(found.gradient)
    expected = [max(0.0, sum(w * t for w, t in zip(weights, token, strict=True))) for token in found.tokens]
    np.testing.assert_allclose(one(GradCam(), model, image, vector).values.flatten(), expected, atol=1e-6)
    assert (
        np.abs(one(GradCam(), model, image, vector).values - np.maximum(heat_map(model, image, vector).values, 0)).max()
        > 0
    )


def test_similarity_is_the_cosine_of_each_projected_token() -> None:
    model, image, vector = model_of(VISION), images(1, SIDE)[0], vector_of()
    tokens, weight, _ = by_hand(model, image)
    projected = tokens @ weight.T
    expected = projected @ vector.numpy() / np.linalg.norm(projected, axis=1)
    found = one(Similarity(), model, image, vector)
    np.testing.assert_allclose(found.values.flatten(), expected, atol=1e-6)
    assert found.score == pytest.approx(float(embed(model, "image", [image])[0] @ vector.numpy()), abs=1e-6)


def test_similarity_takes_the_models_own_projection_of_tokens_where_there_is_one() -> None:
    model = model_of(VISION, heads={"image/local": {"name": "projection", "reads": "tokens"}})
    image, vector = images(1, SIDE)[0], vector_of()
    tokens, _, _ = by_hand(model, image)
    projected = tokens @ model.heads["image/local"].output.weight.detach().numpy().T
    expected = projected @ vector.numpy() / np.linalg.norm(projected, axis=1)
    np.testing.assert_allclose(one(Similarity(), model, image, vector).values.flatten(), expected, atol=1e-6)


def test_similarity_leaves_out_a_projection_into_the_space_of_single_words() -> None:
    """Beside `text/local` the tokens' projection was compared with words, never with a whole text."""
    image, vector = images(1, SIDE)[0], vector_of()
    local = {"name": "projection", "reads": "tokens"}
    both = model_of(VISION, heads={"image/local": local, "text/local": local})
    found, plain = (one(Similarity(), model, image, vector).values for model in (both, model_of(VISION)))
    np.testing.assert_array_equal(found, plain)


def test_similarity_of_tokens_that_do_not_fit_the_projection_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Tokens of width 16 do not fit the image projection.*take the map hires"):
        one(Similarity(), model_of({**VISION, "columns": 3}), images(1, SIDE)[0], vector_of())


@pytest.mark.parametrize(("cells", "window"), [(4, 1), (6, 2), (5, 5)])
def test_occlusion_is_brute_force(cells: int, window: int) -> None:
    model, image, vector = model_of(VISION), images(1, SIDE)[0], vector_of()
    edges = [round(i * SIDE / cells) for i in range(cells + 1)]

    def score(picture: Tensor) -> float:
        return float(embed(model, "image", [picture])[0] @ vector.numpy())

    total, count = np.zeros((cells, cells)), np.zeros((cells, cells))
    for i in range(cells - window + 1):
        for j in range(cells - window + 1):
            covered = image.clone()
            covered[:, edges[i] : edges[i + window], edges[j] : edges[j + window]] = image.mean()
            total[i : i + window, j : j + window] += score(image) - score(covered)
            count[i : i + window, j : j + window] += 1
    found = one(Occlusion(cells=cells, window=window, batch=7), model, image, vector)
    np.testing.assert_allclose(found.values, total / count, atol=1e-6)


def test_occlusion_refuses_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="A window of 9 cells does not fit 4"):
        Occlusion(cells=4, window=9)
    with pytest.raises(ConfigError, match="has no 14 cells a side: set cells lower"):
        one(Occlusion(), model_of(VISION), torch.zeros(1, 8, 8), vector_of())


def test_attention_is_the_class_tokens_row_of_the_layer_or_the_mean_of_the_patches() -> None:
    model, image, vector = model_of(VIT), images(1, SIDE)[0], vector_of()
    with torch.no_grad():
        layers = model.towers["image"](image[None], parts=frozenset({"attention"})).attention[0].numpy()
    np.testing.assert_allclose(one(Attention(), model, image, vector).values.flatten(), layers[-1][0], rtol=1e-5)
    first = one(Attention(layer=0, query="mean"), model, image, vector).values
    np.testing.assert_allclose(first.flatten(), layers[0][1:].mean(0), rtol=1e-5)
    averaged = model_of({**VIT, "pool": "avg"})
    auto = one(Attention(), averaged, image, vector).values
    np.testing.assert_array_equal(auto, one(Attention(query="mean"), averaged, image, vector).values)


def test_rollout_multiplies_the_whole_attention_through() -> None:
    """The oracle takes the class token's column from the blocks themselves, not from what the rows lack to 1."""
    model, image, vector = model_of(VIT), images(1, SIDE)[0], vector_of()
    kept: list[Tensor] = []
    for block in model.towers["image"].backbone.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _m, inputs: kept.append(inputs[0]))
    with torch.no_grad():
        model.towers["image"](image[None], parts=frozenset({"pooled"}))
    rolled = np.eye(37)
    for weights in kept:
        rolled = (weights[0].mean(0).double().numpy() + np.eye(37)) / 2 @ rolled
    np.testing.assert_allclose(
        one(Rollout(), model, image, vector).values.flatten(), rolled[0, 1:], rtol=1e-4, atol=1e-7
    )


def test_rollout_of_a_tower_without_class_token_needs_no_completion() -> None:
    model = dual({"name": "single", "width": 16, "layers": 2, "image_size": 32, "patch_size": 8}).eval()
    image, vector = images(1, 32)[0], torch.eye(model.embed_dim)[0]
    values = one(Rollout(), model, image, vector).values
    assert values.shape == (4, 4)
    assert float(values.sum()) == pytest.approx(1, abs=1e-5)  # rows of a product of such matrices sum to 1


def test_attention_of_a_tower_without_any_or_of_a_missing_layer_is_refused() -> None:
    image, vector = images(1, SIDE)[0], vector_of()
    with pytest.raises(ConfigError, match="attention"):
        one(Attention(), model_of(VISION), image, vector)
    with pytest.raises(ConfigError, match="has 2 layers of attention, no layer 5"):
        one(Attention(layer=5), model_of(VIT), image, vector)
    single = dual({"name": "single", "width": 16, "layers": 1, "image_size": 32, "patch_size": 8}).eval()
    with pytest.raises(ConfigError, match="has no class token: set query to mean or auto"):
        one(Attention(query="class"), single, images(1, 32)[0], torch.eye(single.embed_dim)[0])


def test_randomised_weights_go_from_the_top_and_leave_the_model_as_it_is() -> None:
    model = model_of(VISION)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    some, whole = randomised(model, share=0.3), randomised(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    changed = {
        share: [n for n, p in made.named_parameters() if not torch.equal(p, before[n])]
        for share, made in (("some", some), ("whole", whole))
    }
    image = [n for n, p in model.named_parameters() if n.startswith(("towers.image", "heads.image")) and p.dim() > 1]
    assert set(image) <= set(changed["whole"])
    assert not [n for n in changed["whole"] if "text" in n or "scale" in n]
    assert "heads.image/raw.output.weight" in changed["some"]
    assert set(changed["some"]) < set(changed["whole"])
    assert not [n for n in changed["some"] if "conv1" in n and "layer" not in n]
    for name in changed["some"]:  # a layer's draws are the same however far the others go
        assert torch.equal(dict(some.named_parameters())[name], dict(whole.named_parameters())[name])
