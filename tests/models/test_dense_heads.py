"""Heads that draw maps: sizes, padding that nothing sees, rows that do not see each other, ViTs, and resizing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec, Level
from medvlp.core.registry import build
from medvlp.core.sample import Batch, Column
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.heads._dense import Norm, level_sizes, resize
from medvlp.models.heads.dense_clip import DenseClip
from medvlp.models.heads.segmenter import Segmenter
from tests.models.words import VISION, VIT, images

HEADS: dict[str, dict[str, Any]] = {
    "unet": {"name": "unet", "width": 8},
    "unet_instance": {"name": "unet", "width": 8, "norm": "instance"},
    "fpn": {"name": "fpn", "width": 8},
    "segmenter": {"name": "segmenter", "width": 8, "bank": "organs"},
    "dense_clip": {"name": "dense_clip", "width": 8, "bank": "organs", "decoder_width": 16, "decoder_layers": 1},
}
HEADS["dense_clip"] |= {"dropout": 0.0}
BANKS = {
    "organs": Bank("organs", ("lung", "heart", "spine"), torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
}
PLAN = Plan.of(keys("image/drawn"))
STACK = Plan.of(keys("stack/drawn"))


def model(head: str, vision: dict[str, Any], plan: Plan = PLAN, classes: int = 3) -> Any:
    made = build_model({"name": "vision", "vision": vision}, tokenizer=None, banks=BANKS, seed=2)
    options = {key: value for key, value in HEADS[head].items() if key != "name"}
    made.mount({"drawn": HeadSpec(HEADS[head]["name"], {**options, "classes": classes})}, plan)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("vision", [VISION, VIT, {"name": "timm", "architecture": "convnext_atto", "image_size": 64}])
def test_logits_have_the_views_own_size_and_rows_do_not_see_each_other(head: str, vision: dict[str, Any]) -> None:
    size = (64, 64) if vision is VIT else (52, 75)
    pixels = F.interpolate(images(3, 64), size).double()
    made = model(head, vision).double()
    logits = made(Batch.of({"image": pixels}), PLAN)["image"].part("drawn")
    assert logits.shape == (3, 3, *size)
    alone = made(Batch.of({"image": pixels[1:2]}), PLAN)["image"].part("drawn")
    torch.testing.assert_close(logits[1:2], alone, rtol=1e-4, atol=1e-5)


def test_a_norm_of_single_channels_is_instance_norm() -> None:
    norm, values = Norm(8, single=True), torch.rand(2, 8, 3, 4, 5)
    torch.testing.assert_close(norm(values, None), F.instance_norm(values, eps=norm.inner.eps))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ["slices", "inflated"])
def test_padded_slices_are_seen_by_nothing(head: str, name: str) -> None:
    made = model(head, {"name": name, "slice": VISION}, STACK)
    pixels, real = images(10, 32).view(2, 5, 1, 32, 32), torch.ones(2, 5, dtype=torch.bool)
    real[1, 3:] = False
    batch = Batch(("a", "b"), torch.arange(2), {"stack": Column(pixels, torch.arange(2), real)})
    logits = made(batch, STACK)["stack"].part("drawn")
    assert logits.shape == (2, 3, 5, 32, 32)
    short = Batch(("b",), torch.arange(1), {"stack": Column(pixels[1:, :3], torch.arange(1), real[1:, :3])})
    alone = made(short, STACK)["stack"].part("drawn")
    torch.testing.assert_close(logits[1:, :, :3], alone, rtol=1e-4, atol=1e-5)
    moved = pixels.clone()
    moved[0, 4] = 0
    batch = Batch(("a", "b"), torch.arange(2), {"stack": Column(moved, torch.arange(2), real)})
    beside = made(batch, STACK)["stack"].part("drawn")
    assert not torch.allclose(beside[0, :, 3], logits[0, :, 3])  # a real slice is seen by its neighbour


@pytest.mark.parametrize("head", HEADS)
def test_an_encoder_without_levels_is_refused(head: str) -> None:
    with pytest.raises(
        ConfigError, match=f"Head '{HEADS[head]['name']}' draws maps from the levels of an encoder, and this encoder of"
    ):
        build("models/heads", {**HEADS[head], "classes": 2}, where="here", given={"levels": (), "banks": {}})


def test_rows_that_do_not_tell_the_views_size_are_refused() -> None:
    head = build("models/heads", {"name": "unet", "classes": 2}, where="here", given={"levels": (Level(4, (2, 2)),)})
    with pytest.raises(ConfigError, match="these rows do not tell their size"):
        head(Encoded(owner=torch.arange(1), extra={"level[0]": torch.rand(1, 4, 8, 8)}), "drawn")


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_resizing_a_volume_in_two_passes_is_torchs_trilinear(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    values = torch.rand(2, 3, *old, generator=torch.Generator().manual_seed(sum(old)), dtype=torch.float64)
    expected = F.interpolate(values, new, mode="trilinear", align_corners=False)
    torch.testing.assert_close(resize(values, new), expected)


def test_levels_join_at_sizes_that_halve() -> None:
    maps = [torch.zeros(1, 1, n, n + 1) for n in (32, 16, 8)]
    assert level_sizes(maps, [(2, 2), (4, 4), (8, 8)]) == [(32, 33), (16, 17), (8, 9)]
    solid = [torch.zeros(1, 1, 5, 4, 4)] * 3
    assert level_sizes(solid, [(1, 16, 16)] * 3) == [(5, 16, 16), (5, 8, 8), (5, 4, 4)]


def test_group_norm_over_what_is_real_has_torchs_gradient() -> None:
    norm, values = Norm(8).double(), torch.rand(2, 8, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    real = torch.ones(2, 1, 4, 1, 1, dtype=torch.bool)
    real[1, :, 2:] = False
    weight = torch.rand(2, 8, 4, 3, 3, dtype=torch.float64)
    whole = torch.autograd.grad((norm(values, real) * weight).sum(), values)[0]
    for row, count in ((0, 4), (1, 2)):
        part = values[row : row + 1, :, :count].detach().requires_grad_()
        expected = torch.autograd.grad((norm.inner(part) * weight[row : row + 1, :, :count]).sum(), part)[0]
        torch.testing.assert_close(whole[row : row + 1, :, :count], expected)
    assert not whole[1, :, 2:].any()


def test_a_pyramid_without_norms_reaches_no_farther_than_its_convolutions() -> None:
    """Semantic FPN over a single level: one cell moved, all logits beyond two cells stay as they were."""
    head = build(
        "models/heads", {"name": "fpn", "classes": 2, "width": 8}, where="here", given={"levels": (Level(4, (1, 1)),)}
    )
    one = torch.rand(1, 4, 16, 16)
    two = one.clone()
    two[0, :, 8, 8] += 1
    first, second = (
        head(Encoded(owner=torch.arange(1), size=(16, 16), extra={"level[0]": each}), "x")["x"] for each in (one, two)
    )
    changed = (first != second).any(1)[0].nonzero()
    assert changed.min() >= 7
    assert changed.max() <= 9


def test_a_pyramid_is_the_sum_that_the_papers_write() -> None:
    levels = (Level(3, (2, 2)), Level(5, (4, 4)))
    head = build("models/heads", {"name": "fpn", "classes": 2, "width": 4}, where="here", given={"levels": levels})
    fine, coarse = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)
    inputs, outputs = head.pyramid.inputs, head.pyramid.outputs

    def up(values: torch.Tensor, scale: int) -> torch.Tensor:
        return F.interpolate(values, scale_factor=scale, mode="bilinear", align_corners=False)

    below = inputs[1](coarse)
    here = inputs[0](fine) + up(below, 2)
    expected = up(head.output((outputs[0](here) + up(outputs[1](below), 2)).relu()), 2)
    rows = Encoded(owner=torch.arange(2), size=(16, 16), extra={"level[0]": fine, "level[1]": coarse})
    torch.testing.assert_close(head(rows, "x")["x"], expected)


def segmenter(vectors: torch.Tensor | None, **options: Any) -> Segmenter:
    banks = {"organs": Bank("organs", ("lung", "heart", "spine"), vectors)}
    spec = {"name": "segmenter", "bank": "organs", "classes": 3, "width": 8, **options}
    return build("models/heads", spec, where="here", given={"levels": (Level(4, (1, 1)),), "banks": banks})


def test_a_segmenters_logit_is_the_scaled_cosine_of_a_pixel_and_a_text() -> None:
    vectors = torch.randn(3, 6)
    head = segmenter(vectors)
    rows = Encoded(owner=torch.arange(1), size=(5, 5), extra={"level[0]": torch.rand(1, 4, 5, 5)})
    logits = head(rows, "x")["x"]
    pixels = head.output(head.pyramid([rows.extra["level[0]"]], None).relu())
    for k in range(3):
        cosine = F.cosine_similarity(pixels[0, :, 2, 3], vectors[k], dim=0)
        torch.testing.assert_close(logits[0, k, 2, 3], cosine / 0.07)
    assert "texts" in head.state_dict()
    assert not any(parameter is head.texts for parameter in head.parameters())


@pytest.mark.parametrize("head", ["segmenter", "attr_seg"])
def test_pixels_of_zeros_turn_no_weight(head: str) -> None:
    """They have no direction: beside a picture of zeros the gradient is that of the other picture alone."""
    torch.manual_seed(0)
    given = {"levels": (Level(4, (2, 2)),), "banks": BANKS, "books": BANKS}
    options = {"heads": 2} if head == "attr_seg" else {}
    spec = {"name": head, "width": 8, "bank": "organs", "classes": 3, **options}
    made = build("models/heads", spec, where="here", given=given).double()
    output = made.pixels if head == "attr_seg" else made.output
    for layer in (*made.pyramid.inputs, *made.pyramid.outputs, output):
        torch.nn.init.zeros_(layer.bias)
    maps, weights = torch.rand(2, 4, 5, 6).double(), torch.randn(2, 3, 10, 12).double()
    maps[0] = 0

    def turned(rows: slice) -> list[torch.Tensor]:
        pictures = Encoded(owner=torch.arange(2)[rows], size=(10, 12), extra={"level[0]": maps[rows]})
        loss = (made(pictures, "drawn")["drawn"] * weights[rows]).sum()
        return list(torch.autograd.grad(loss, [output.bias, *made.pyramid.parameters()]))

    torch.testing.assert_close(turned(slice(2)), turned(slice(1, 2)))


def test_after_a_step_a_segmenters_scale_is_at_most_100() -> None:
    head = segmenter(torch.randn(3, 6))
    torch.nn.init.constant_(head.log_scale, 7.0)
    head.after_step(0)
    assert float(head.log_scale.detach().exp()) == pytest.approx(100, rel=1e-5)


def test_a_segmenter_takes_other_words_of_the_same_encoder() -> None:
    """The words are swapped, and so are the logits: what LSeg calls zero-shot."""
    vectors = torch.randn(3, 6)
    one, two = segmenter(vectors), segmenter(vectors[[2, 0, 1]])
    state = {name: value for name, value in one.state_dict().items() if name != "texts"}
    two.load_state_dict(state, strict=False)
    rows = Encoded(owner=torch.arange(1), size=(5, 5), extra={"level[0]": torch.rand(1, 4, 5, 5)})
    torch.testing.assert_close(two(rows, "x")["x"], one(rows, "x")["x"][:, [2, 0, 1]])


def test_a_segmenter_without_fitting_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs constant vectors of the bank 'organs', as its text encoder is frozen"):
        segmenter(None)
    with pytest.raises(
        ConfigError, match="is to tell 4 classes apart and the bank 'organs' has 3 texts: give it a text"
    ):
        segmenter(torch.randn(3, 6), classes=4)
    with pytest.raises(ConfigError, match="compares pixels with the bank 'organ': did you mean 'organs'"):
        segmenter(torch.randn(3, 6), bank="organ")


def rows_of(values: torch.Tensor) -> Encoded:
    return Encoded(owner=torch.arange(len(values)))


def dense_clip(vectors: torch.Tensor, **options: Any) -> DenseClip:
    banks = {"organs": Bank("organs", ("lung", "heart", "spine"), vectors)}
    spec = {"name": "dense_clip", "bank": "organs", "classes": 3, "width": 8, "decoder_width": 16, **options}
    levels = (Level(4, (1, 1)), Level(5, (2, 2)))
    return build("models/heads", spec, where="here", given={"levels": levels, "banks": banks}).eval()


def test_without_gamma_the_words_are_the_banks_and_scores_are_cosines() -> None:
    vectors = torch.randn(3, 6)
    head = dense_clip(vectors)
    with torch.no_grad():
        head.gamma.zero_()
    level = torch.rand(2, 5, 3, 4)
    scores, pixels = head.scores(level, None, rows_of(level)), head.pixels(level)
    for k in range(3):
        torch.testing.assert_close(scores[:, k], F.cosine_similarity(pixels, vectors[k].view(1, 6, 1, 1), dim=1))
    fine = {"level[0]": torch.rand(2, 4, 6, 8), "level[1]": level}
    given = head(Encoded(owner=torch.arange(2), size=(6, 8), extra=fine), "x")
    torch.testing.assert_close(given["x_scores"], resize(scores, (6, 8)) / 0.07)


def test_score_maps_are_cosines_that_follow_their_words_and_are_even_over_an_even_picture() -> None:
    vectors, turned = torch.randn(3, 6), [2, 0, 1]
    head = dense_clip(vectors)
    with torch.no_grad():
        head.gamma.fill_(1.0)
    even = head.scores(torch.ones(1, 5, 3, 4), None, rows_of(torch.ones(1)))
    assert float(even.detach().flatten(2).std(2).max()) < 1e-6
    level = torch.randn(2, 5, 3, 4)
    scores = head.scores(level, None, rows_of(level))
    assert float(scores.detach().abs().max()) <= 1 + 1e-6
    other = dense_clip(vectors[turned])
    other.load_state_dict({name: value for name, value in head.state_dict().items() if name != "texts"}, strict=False)
    torch.testing.assert_close(other.scores(level, None, rows_of(level)), scores[:, turned])


@pytest.mark.parametrize("rows", [3, 2], ids=["all", "the first two rows are real"])
def test_words_look_at_the_real_cells_and_at_their_mean(rows: int) -> None:
    head, level = dense_clip(torch.randn(3, 6)), torch.randn(1, 5, 3, 4)
    real = None if rows == 3 else (torch.arange(3) < rows).view(1, 1, 3, 1)
    with torch.no_grad():
        head.gamma.copy_(torch.rand(6) + 0.5)
        cells = head.pixels(level[:, :, :rows]).flatten(2).transpose(1, 2)
        words = head.enter(head.texts)[None]
        for block in head.blocks:
            words = block(words, torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1), None)
        moved = head.texts + head.gamma * head.leave(words)
        expected = F.cosine_similarity(moved[0, :, None], cells, dim=2).view(1, 3, rows, 4)
        torch.testing.assert_close(head.scores(level, real, rows_of(level))[:, :, :rows], expected)


def test_words_that_look_at_the_picture_differ_from_picture_to_picture() -> None:
    head = dense_clip(torch.randn(3, 6))
    one, two = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    two[0, :, 0, 0] = one[0, :, 0, 0]
    with torch.no_grad():
        assert torch.allclose(*(head.scores(each, None, rows_of(each))[0, :, 0, 0] for each in (one, two)), atol=1e-2)
        head.gamma.fill_(1.0)
        assert not torch.allclose(
            *(head.scores(each, None, rows_of(each))[0, :, 0, 0] for each in (one, two)), atol=1e-2
        )
