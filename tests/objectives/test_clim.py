"""CLIM: mosaics there and back, and that tiles of a tower that sees only its own pixels are the pictures themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Context, Part
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import parse_key
from medvlp.core.sample import Batch, Column
from medvlp.data.batch_views.mosaic import Mosaic
from medvlp.objectives.clim import Clim
from medvlp.objectives.clip import Clip

PIXELS = torch.rand(8, 1, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
REPORTS = [f"Report {i % 5}." for i in range(8)]


def batch_of(pixels: Tensor = PIXELS) -> Batch:
    return Batch.of({"image": pixels, "text": [f"Report {i % 5}." for i in range(len(pixels))]})


@pytest.mark.parametrize("side", [1, 2])
def test_a_mosaic_is_cut_back_into_its_pictures_by_its_boxes(side: int) -> None:
    made = Mosaic(side=side, resize=False)(batch_of(), seed=0)
    mosaics, tiles = made["image.mosaic"], made["boxes.mosaic"]
    assert mosaics.owner.tolist() == list(range(0, 8, side**2))
    assert tiles.owner.tolist() == list(range(8))
    for i, box in enumerate(tiles.values.int().tolist()):
        x0, y0, x1, y1 = box
        torch.testing.assert_close(mosaics.values[i // side**2][:, y0:y1, x0:x1], PIXELS[i], rtol=0, atol=0)
    assert made["image"].values is PIXELS


def test_a_resized_mosaic_has_the_size_of_a_picture_and_its_tiles_in_their_quarters() -> None:
    plain = torch.linspace(0, 1, 8).view(8, 1, 1, 1).expand(8, 1, 12, 16)
    made = Mosaic()(batch_of(plain), seed=0)
    mosaic = made["image.mosaic"].values[1, 0]
    assert mosaic.shape == (12, 16)
    assert [round(float(mosaic[y, x]), 3) for y, x in ((2, 3), (2, 12), (9, 3), (9, 12))] == [
        round(v / 7, 3) for v in (4, 5, 6, 7)
    ]
    assert made["boxes.mosaic"].values[7].tolist() == [8, 6, 16, 12]


def test_groups_do_not_change_with_the_part_that_a_process_has() -> None:
    whole = Mosaic()(batch_of(), seed=0)
    half = Mosaic()(batch_of(PIXELS[4:]), seed=0)
    torch.testing.assert_close(half["image.mosaic"].values[0], whole["image.mosaic"].values[1], rtol=0, atol=0)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mosaic tiles 4 samples and a process has 6: make training.batch a multip"):
        Mosaic()(batch_of(PIXELS[:6]), seed=0)
    with pytest.raises(ConfigError, match="name an image field, and another one with a role"):
        Mosaic(to="image")
    lacking = Batch(tuple("abcd"), torch.arange(4), {"image": Column(PIXELS[:3], torch.tensor([0, 1, 3]))})
    with pytest.raises(ConfigError, match="mosaic needs one 'image' of each sample"):
        Mosaic()(lacking, seed=0)


class Local(nn.Module):
    """Each 4 x 4 patch alone -> a token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 4, 4), nn.Tanh(), nn.Conv2d(8, 5, 1)).double()

    def forward(self, pixels: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        maps = self.layers(pixels)
        return maps.flatten(2).transpose(1, 2), tuple(maps.shape[2:])


def context(batch: Batch, encoder: Local) -> Context:
    texts = unit(torch.randn(8, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).requires_grad_()
    tokens, grid = encoder(batch["image.mosaic"].values)
    single = unit(encoder(batch["image"].values)[0]).mean(1)
    owner = torch.arange(8)
    parts = {
        parse_key("image.mosaic/local"): Part(tokens, batch["image.mosaic"].owner, grid),
        parse_key("image/embedding"): Part(unit(single), owner),
        parse_key("text/embedding"): Part(texts, owner),
    }
    return Context(parts=parts, batch=batch)


def value(terms: Any) -> float:
    return sum(term.value().item() for term in terms.values())


@pytest.mark.parametrize("options", [{"positives": "own"}, {}, {"positives": "own", "exclude": "same_report"}])
def test_of_a_purely_local_tower_it_is_clip_of_averaged_tokens(options: dict[str, Any]) -> None:
    ctx = context(Mosaic(resize=False)(batch_of(), seed=0), Local())
    assert value(Clim(**options)(ctx)) == pytest.approx(value(Clip(**options)(ctx)), rel=1e-12)


def test_the_texts_are_held_unless_asked_otherwise() -> None:
    for teach in (False, True):
        encoder = Local()
        ctx = context(Mosaic()(batch_of(), seed=0), encoder)
        sum(term.sum for term in Clim(teach_text=teach)(ctx).values()).backward()
        assert (ctx["text/embedding"].grad is not None) == teach
        assert encoder.layers[0].weight.grad.abs().max() > 0
