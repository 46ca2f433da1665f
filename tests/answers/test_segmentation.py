"""Masks in the file's pixels, windows that equal one pass, and the way from training to an answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medvlp.answers.segmentation import Segmentation, window_that_fits
from medvlp.core.answers import Ask, Rows
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import Encoder, HeadSpec, Level, Site
from medvlp.core.registry import build
from medvlp.core.sample import Batch, Column, ImageRecord, Sample, Stack
from medvlp.core.table import FeatureTable
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders.monai import MonaiEncoder
from medvlp.models.scale import ScaleOptions


class Plain(Encoder):
    """One or two convolutions of three cells without norm: a pixel sees no farther than they reach."""

    width = token_width = 4

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kinds = (kind,)
        axes = 2 if kind == "image" else 3
        self.levels = (Level(4, (1,) * axes),)
        self.offers = frozenset({"pooled", "tokens", "mask", "level[0]"})
        layer: Any = nn.Conv2d if axes == 2 else nn.Conv3d
        self.layers = nn.Sequential(layer(1, 4, 3, padding=1), nn.ReLU(), layer(4, 4, 3, padding=1))

    def forward(
        self,
        values: Tensor | Sequence[str],
        *,
        parts: frozenset[str],
        mask: Tensor | None = None,
        position: Tensor | None = None,
    ) -> Encoded:
        assert isinstance(values, Tensor)
        solid = values.transpose(1, 2) if self.kinds == ("stack",) else values
        return Encoded(owner=torch.arange(len(values)), mask=mask, extra={"level[0]": self.layers(solid)})

    def sites(self) -> Mapping[str, Site]:
        return {}

    def blank(self, device: torch.device) -> Tensor:
        return torch.zeros(1, 1, 8, 8, device=device)


def plain_model(kind: str, *, classes: int = 2, tower: Encoder | None = None) -> TowerModel:
    torch.manual_seed(0)
    model = TowerModel(
        towers={kind: Plain(kind) if tower is None else tower},
        embed_dim=4,
        vocab_size=None,
        options={
            "projection": {"name": "identity"},
            "heads": {},
            "scale": ScaleOptions(),
            "banks": {},
            "seed": 1,
            "where": "model",
        },
    )
    plan = Plan.of(keys(f"{kind}/segmentation"))
    model.mount({"segmentation": HeadSpec("fpn", {"classes": classes, "width": 4}, keep=True)}, plan)
    return model


def logits_of(model: TowerModel, kind: str, value: Tensor) -> Tensor:
    real = torch.ones(value.shape[:2], dtype=torch.bool) if kind == "stack" else None
    batch = Batch(("a",), torch.arange(1), {kind: Column(value, torch.arange(1), real)})
    with torch.no_grad():
        return model(batch, Plan.of(keys(f"{kind}/segmentation")))[kind].part("segmentation")[0]


def ask(model: TowerModel, answer: Segmentation, *samples: Sample, findings: tuple[str, ...] = ()) -> Any:
    said = Ask(findings=findings)
    rows = Rows(FeatureTable([s.id for s in samples], {}), samples)
    return answer.answer(rows, said, answer.begin(model, said))


@pytest.mark.parametrize("kind", ["stack", "volume"])
def test_windows_equal_one_pass_inside_their_margins(kind: str) -> None:
    """Windows of 16 start at 0 and 12 of 28 voxels; the network sees 3 voxels far: all but 12 to 15 is one pass."""
    model = plain_model(kind)
    value = torch.rand(1, 1, 28, 28, 28, generator=torch.Generator().manual_seed(1))
    value = value.transpose(1, 2) if kind == "stack" else value
    real = torch.ones(1, 28, dtype=torch.bool) if kind == "stack" else None
    batch = Batch(("a",), torch.arange(1), {kind: Column(value, torch.arange(1), real)})
    answer = Segmentation(labels=["a", "b"], window=(16, 16, 16))
    with torch.no_grad():
        found = answer.logits(model, batch)
    whole = logits_of(model, kind, value)
    inside = [n for n in range(28) if not 12 <= n < 16]
    at = np.ix_(range(2), inside, inside, inside)
    torch.testing.assert_close(found[at], whole[at], rtol=0, atol=1e-5)
    assert float((found - whole).abs().max()) > 1e-3  # where windows meet they are blended
    one = Segmentation(labels=["a", "b"], window=(28, 40, 28))
    with torch.no_grad():
        assert torch.equal(one.logits(model, batch), whole)


@pytest.mark.parametrize("depth", [1, 11])
def test_a_volume_thinner_than_the_coarsest_cell_is_drawn_between_black_slices(depth: int) -> None:
    """MONAI's unet halves 16 slices to one and takes no fewer; its inferer puts half of what lacks before them."""
    model = plain_model("stack", tower=MonaiEncoder(architecture="unet", width=4)).eval()
    value = torch.rand(1, depth, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    lack = 16 - depth
    padded = torch.nn.functional.pad(value, (0, 0, 0, 0, 0, 0, lack // 2, lack - lack // 2))
    real = torch.ones(1, depth, dtype=torch.bool)
    batch = Batch(("a",), torch.arange(1), {"stack": Column(value, torch.arange(1), real)})
    for window in (None, (32, 32, 32)):
        with torch.no_grad():
            found = Segmentation(labels=["a", "b"], window=window).logits(model, batch)
        whole = logits_of(model, "stack", padded)
        torch.testing.assert_close(found, whole[:, lack // 2 :][:, :depth])


def test_where_the_system_does_not_tell_of_free_memory_a_volume_is_drawn_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """macOS has no SC_AVPHYS_PAGES."""
    names = {name: number for name, number in os.sysconf_names.items() if name != "SC_AVPHYS_PAGES"}
    ask_system = os.sysconf
    monkeypatch.setattr(os, "sysconf_names", names)
    monkeypatch.setattr(os, "sysconf", lambda name: ask_system(names[name]))
    model, value = plain_model("volume"), torch.rand(1, 1, 16, 16, 16)
    batch = Batch(("a",), torch.arange(1), {"volume": Column(value, torch.arange(1))})
    with torch.no_grad():
        found = Segmentation(labels=["a", "b"]).logits(model, batch)
    assert torch.equal(found, logits_of(model, "volume", value))


def test_a_mask_lies_in_the_pixels_of_the_file() -> None:
    """A view of 12 x 12 pixels in which a file of 20 wide and 10 high lies padded above and below."""
    model, pixels = plain_model("image"), torch.rand(1, 12, 12)
    record = ImageRecord(seed=0, box=(0.0, -5.0, 20.0, 15.0), source=(10, 20))
    said = ask(model, Segmentation(labels=["a", "b"]), Sample("s", {"image": pixels}, {"image": record}))
    fine = torch.nn.functional.interpolate(
        logits_of(model, "image", pixels[None])[None], scale_factor=2, mode="bilinear", align_corners=False
    )[0]
    assert said.ids == ("s",)
    for k, name in enumerate(["a", "b"]):
        mask = said.masks[0][name].array()
        assert mask.shape == (10, 20)
        for y, x in ((0, 0), (9, 19), (4, 7), (6, 13)):
            row, column = int((y + 0.5 + 5) * 24 / 20), int((x + 0.5) * 24 / 20)
            assert mask[y, x] == bool(fine[k, row, column] > 0)


def test_a_mirrored_view_is_mirrored_back() -> None:
    model, pixels = plain_model("image"), torch.rand(1, 12, 12)
    plain, flipped = (
        ImageRecord(seed=0, box=(0.0, 0.0, 12.0, 12.0), flip=flip, source=(12, 12)) for flip in (False, True)
    )
    one = ask(model, Segmentation(labels=["a", "b"]), Sample("s", {"image": pixels}, {"image": plain}))
    two = ask(model, Segmentation(labels=["a", "b"]), Sample("s", {"image": pixels}, {"image": flipped}))
    assert (one.masks[0]["a"].array() == two.masks[0]["a"].array()[:, ::-1]).all()


def test_exclusive_classes_are_the_likeliest_channel_and_the_first_is_background() -> None:
    model, pixels = plain_model("image", classes=3), torch.rand(1, 12, 12)
    record = ImageRecord(seed=0, box=(0.0, 0.0, 12.0, 12.0), source=(12, 12))
    said = ask(
        model, Segmentation(labels=["a", "b"], exclusive=True), Sample("s", {"image": pixels}, {"image": record})
    )
    best = logits_of(model, "image", pixels[None]).argmax(0).numpy()
    for k, name in enumerate(["a", "b"]):
        assert (said.masks[0][name].array() == (best == k + 1)).all()


def test_a_stack_gives_masks_of_its_slices_and_a_sample_without_picture_none() -> None:
    model, pixels = plain_model("stack"), torch.rand(5, 1, 8, 8)
    record = ImageRecord(seed=0, box=(0.0, 0.0, 8.0, 8.0), source=(5, 8, 8))
    stack = Sample("v", {"stack": Stack(pixels, torch.zeros(5, 3))}, {"stack": record})
    said = ask(model, Segmentation(labels=["a", "b"]), stack, Sample("w", {}), findings=("b",))
    assert [sorted(masks) for masks in said.masks] == [["b"], []]
    expected = logits_of(model, "stack", pixels[None])[1] > 0
    assert (said.masks[0]["b"].array() == expected.numpy()).all()


def test_what_cannot_be_answered_is_refused() -> None:
    model, sample = plain_model("image"), Sample("s", {"image": torch.rand(1, 8, 8)})
    with pytest.raises(DataError, match="It is not known how the field 'image' of 's' was made of its file"):
        ask(model, Segmentation(labels=["a", "b"]), sample)
    with pytest.raises(ConfigError, match="This model was not taught 'c'"):
        ask(model, Segmentation(labels=["a", "b"]), sample, findings=("c",))
    record = {"image": ImageRecord(seed=0, box=(0.0, 0.0, 8.0, 8.0), source=(8, 8))}
    with pytest.raises(ConfigError, match="The head 'segmentation' draws 2 channels and 1 are named: mend labels"):
        ask(model, Segmentation(labels=["a"]), Sample("s", sample.fields, record))
    crops = (torch.rand(1, 8, 8), torch.rand(1, 8, 8))
    with pytest.raises(DataError, match="'s' has 2 rows of 'image', and masks are drawn on one"):
        ask(model, Segmentation(labels=["a", "b"]), Sample("s", {"image": crops}, record))
    with pytest.raises(ConfigError, match="Need 'image/organs' cannot be computed"):
        Segmentation(labels=["a"], part="organs").check(model)


def test_a_window_takes_half_of_the_free_memory_and_keeps_to_the_coarsest_stride() -> None:
    levels = (Level(32, (1, 1, 1)), Level(64, (2, 2, 2)), Level(128, (16, 16, 16)))
    per_voxel = 4 * (8 * 32 + 3 * 2)
    for free in (2**28, 2**30, 2**33):
        window = window_that_fits((130, 500, 500), levels, channels=2, free=free)
        assert np.prod(window) * per_voxel <= free / 2
        assert all(side % 16 == 0 or side == whole for side, whole in zip(window, (130, 500, 500), strict=True))
    assert window_that_fits((20, 50, 50), levels, channels=2, free=2**33) == (20, 50, 50)
    slices = (Level(16, (1, 2, 2)), Level(64, (1, 32, 32)))
    depth, height, width = window_that_fits((300, 512, 512), slices, channels=2, free=2**31)
    assert (height, width) == (512, 512)
    assert depth < 300


def test_an_answer_is_built_again_from_what_it_releases() -> None:
    answer = Segmentation(labels=["a"], window=(8, 8, 8), threshold=0.3, exclusive=True)
    again = build("answers", {"name": "segmentation", **answer.released()}, where="bundle")
    assert again.released() == answer.released()
