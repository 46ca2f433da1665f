"""Trident: the values of the last attention over another tower's affinities, against loops, MaskCLIP and itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.features.embed import embed
from medvlp.features.maps._affinity import affinity, global_affinity, last_attention
from medvlp.features.maps.similarity import Similarity
from medvlp.features.maps.trident import Trident, spliced
from medvlp.measures.grounding import Grounding
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, save_bundle
from medvlp.runs.evaluate import load_evaluation, open_evaluation
from tests.models.words import DUAL, VISION, VIT, dual, images
from tests.tiny import write_tree

SIDE = 96
IDENTITY = 1e6  # a gamma that leaves each cell to itself


def model_of(vision: dict[str, Any]) -> Any:
    return dual({**DUAL, "vision": {**vision, "image_size": SIDE}}, seed=1).eval()


def vector_of(seed: int = 0) -> Tensor:
    return unit(torch.randn(1, 8, generator=torch.Generator().manual_seed(seed)))[0]


def bundle_of(folder: Path, vision: dict[str, Any]) -> str:
    model = build_model({"name": "vision", "vision": vision}, tokenizer=None, seed=4)
    save_bundle(folder, Bundle(model=model.eval(), tokenizer=None, preprocessing=[], provenance={}, card="none"))
    return str(folder)


def values_by_hand(model: Any, image: Tensor) -> Tensor:
    """The values (N, W) of a ViT's last attention, from the block itself."""
    found: list[Tensor] = []
    block = model.towers["image"].backbone.blocks[-1]
    hook = block.norm1.register_forward_hook(lambda _m, _i, out: found.append(out))
    with torch.no_grad():
        model.towers["image"](image[None], parts=frozenset({"tokens"}))
        hook.remove()
        width = found[0].shape[2]
        return F.linear(found[0][0, 1:], block.attn.qkv.weight[2 * width :], block.attn.qkv.bias[2 * width :])


def cosines_by_hand(model: Any, gathered: Tensor, vector: Tensor) -> np.ndarray:
    backbone, weight = model.towers["image"].backbone, model.heads["image/raw"].output.weight
    with torch.no_grad():
        rows = backbone.norm(backbone.blocks[-1].attn.proj(gathered)) @ weight.T
        return F.cosine_similarity(rows, vector[None]).numpy()


def affinity_by_hand(tokens: Tensor, beta: float, gamma: float) -> Tensor:
    rows = [token / token.norm() for token in tokens]
    near = torch.tensor([[float(a @ b) for b in rows] for a in rows])
    weights = torch.zeros_like(near)
    for i in range(len(rows)):
        for j in range(len(rows)):
            logit = gamma * (near[i, j] - beta * near.mean())
            weights[i, j] = logit.exp() if logit >= 0 or i == j else 0.0
        weights[i] /= weights[i].sum()
    return weights


def one(method: Trident, model: Any, image: Tensor, vector: Tensor) -> np.ndarray:
    return method(model, image, vector[None])[0].values


def test_an_identity_affinity_is_maskclip() -> None:
    model, image, vector = model_of(VIT), images(1, SIDE)[0], vector_of()
    expected = cosines_by_hand(model, values_by_hand(model, image), vector)
    found = Trident(gamma=IDENTITY)(model, image, torch.stack([vector, -vector]))
    np.testing.assert_allclose(found[0].values.flatten(), expected, atol=1e-5)
    np.testing.assert_allclose(found[1].values, -found[0].values, atol=1e-6)
    assert found[0].score == pytest.approx(float(embed(model, "image", [image])[0] @ vector.numpy()), abs=1e-5)


def test_the_second_towers_tokens_weigh_the_values_on_its_own_grid(tmp_path: Path) -> None:
    """A colour tower of 64 pixels with 4 x 4 cells beside a gray one of 96 with 6 x 6."""
    finer = {**VISION, "channels": 3, "image_size": 64, "options": {**VISION["options"], "output_stride": 16}}
    folder = bundle_of(tmp_path / "second", finer)
    model, image, vector = model_of(VIT), images(1, SIDE)[0], vector_of()
    other = build_model({"name": "vision", "vision": finer}, tokenizer=None, seed=4).eval()
    small = F.interpolate(image[None], (64, 64), mode="bilinear", antialias=True, align_corners=False)
    with torch.no_grad():
        tokens = other.get_submodule("towers").get_submodule("image")(small, parts=frozenset({"tokens"})).tokens[0]
    values = F.interpolate(values_by_hand(model, image).T.reshape(1, 16, 6, 6), (4, 4), mode="bilinear")
    gathered = affinity_by_hand(tokens, 1.2, 3.0) @ values.flatten(2)[0].T
    found = one(Trident(affinity=folder), model, image, vector)
    np.testing.assert_allclose(found, cosines_by_hand(model, gathered, vector).reshape(4, 4), atol=1e-5)


def test_cells_that_are_all_alike_keep_themselves_and_give_numbers() -> None:
    """Without the diagonal every entry is below beta times the mean, and the softmax over nothing is no number."""
    torch.testing.assert_close(affinity(torch.ones(5, 3), beta=1.2, gamma=3.0), torch.eye(5))
    tokens = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(affinity(tokens, beta=1.2, gamma=3.0), affinity_by_hand(tokens, 1.2, 3.0))
    model = model_of(VIT)
    assert np.isfinite(one(Trident(), model, torch.full((1, SIDE, SIDE), 0.5), vector_of())).all()


def test_of_a_convolutional_tower_the_cells_are_the_values() -> None:
    model, image, vector = model_of(VISION), images(1, SIDE)[0], vector_of()
    plain = Similarity()(model, image, vector[None])[0].values
    np.testing.assert_allclose(one(Trident(gamma=IDENTITY), model, image, vector), plain, atol=1e-6)


def test_one_window_is_the_whole_and_several_are_averaged_where_they_overlap() -> None:
    seen: list[Tensor] = []

    def make(window: Tensor) -> Tensor:
        seen.append(window)
        return F.avg_pool2d(window, 2) + len(seen)

    picture = images(1, 12)
    assert torch.equal(spliced(make, picture, zoom=1), F.avg_pool2d(picture, 2) + 1)
    assert torch.equal(seen[0], picture)
    seen.clear()
    found = spliced(make, picture, zoom=2)  # 6 cells a window, 12 in all: windows begin at 0, 4 and 6
    large = F.avg_pool2d(F.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False), 2)[0, 0]
    for y in range(12):
        for x in range(12):
            over = [3 * a + b + 1 for a, i in enumerate((0, 4, 6)) for b, j in enumerate((0, 4, 6))
                    if i <= y < i + 6 and j <= x < j + 6]  # fmt: skip
            torch.testing.assert_close(
                float(found[0, 0, y, x]), float(large[y, x]) + sum(over) / len(over), atol=1e-5, rtol=0
            )


def test_an_enlarged_picture_has_a_finer_map_in_the_same_place() -> None:
    """Corners that one window alone covers are what that window's own picture has there."""
    model, image, vector = model_of(VIT), images(1, SIDE)[0], vector_of()
    fine = one(Trident(zoom=2), model, image, vector)
    assert fine.shape == (12, 12)
    large = F.interpolate(image[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    corners = {(0, 0): np.s_[:4, :4], (0, SIDE): np.s_[:4, -2:], (SIDE, 0): np.s_[-2:, :4]}  # a window of 6 at 0, 4, 6
    for (y, x), inside in corners.items():
        alone = one(Trident(), model, large[:, y : y + SIDE, x : x + SIDE], vector)
        np.testing.assert_allclose(fine[inside], alone[inside], atol=1e-5)


def test_global_weights_are_the_attention_where_values_are_alike() -> None:
    draw = torch.Generator().manual_seed(3)
    query, key, value = torch.randn(3, 2, 5, 4, generator=draw)
    near = F.cosine_similarity(value[:, :, None], value[:, None], dim=3)  # (heads, cells, cells)
    expected = torch.zeros(5, 5)
    for h in range(2):
        for i in range(5):
            weights = (query[h, i] @ key[h].T / 2).softmax(0)
            least = min(0.9, 1.2 * float(near[:, i].mean()))
            expected[i] += torch.where((near[h, i] > least) | (torch.arange(5) == i), weights, 0.0) / 2
    torch.testing.assert_close(global_affinity(query, key, value), expected / expected.sum(1, keepdim=True))


def test_a_third_tower_spreads_the_features_over_the_picture(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "third", {**VIT, "image_size": SIDE})
    model, image, vector = model_of(VIT), images(1, SIDE)[0], vector_of()
    third = build_model({"name": "vision", "vision": {**VIT, "image_size": SIDE}}, tokenizer=None, seed=4).eval()
    last = last_attention(third)
    assert last is not None
    found: list[Tensor] = []
    with torch.no_grad(), last.watched(found):
        third.get_submodule("towers").get_submodule("image")(image[None], parts=frozenset({"tokens"}))
        weights = global_affinity(*last.parts(found[0])[:, 0])
    expected = cosines_by_hand(model, weights @ values_by_hand(model, image), vector)
    found_map = one(Trident(gamma=IDENTITY, aggregate=folder), model, image, vector)
    np.testing.assert_allclose(found_map.flatten(), expected, atol=1e-5)


def test_towers_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    model, image, vector = model_of(VIT), images(1, SIDE)[0], vector_of()
    folder = bundle_of(tmp_path / "plain", VISION)
    with pytest.raises(ConfigError, match="aggregate names a bundle whose image tower has no attention"):
        one(Trident(aggregate=folder), model, image, vector)
    with pytest.raises(ConfigError, match="zoom of the map trident is 0: set it to 1 or more"):
        Trident(zoom=0)


def test_an_evaluation_names_it_with_its_second_tower() -> None:
    made = Grounding(maps=[{"name": "trident", "affinity": "runs/starter", "zoom": 2}])
    assert made.methods is not None
    assert made.methods["trident"][0] == Trident(affinity="runs/starter", zoom=2)


@pytest.mark.slow
def test_a_bundle_is_judged_by_it_beside_its_controls(tiny_run: Any, tiny_cohort: Any, tmp_path: Path) -> None:
    spec = {"name": "trident", "affinity": str(tiny_run.bundle)}
    tree: dict[str, Any] = {"model": str(tiny_run.bundle), "out": str(tmp_path / "out")}
    tree["data"] = {"root": str(tiny_cohort.root), "layout": "phantom", "where": {"view_position": ["PA", "AP"]}}
    tree["data"]["allow_leaks"] = True
    grounding = {"cases": 2, "sanity": 0, "maps": [spec]}
    tree["evaluation"] = {"resamples": 100, "min_positives": 1, "split": "train", "measures": {"grounding": grounding}}
    evaluation = open_evaluation(load_evaluation(write_tree(tmp_path / "e.yaml", tree)))
    found = {result.name: result for result in Grounding(**grounding).run(evaluation)}
    assert found["grounding_trident"].role == "model"
    assert found["grounding_trident"].fitted["map"]["component"] == spec
    assert found["grounding_centre"].role == "control"
