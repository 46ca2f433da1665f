"""Several crops of a picture: what they show of one place is found by their records, what is marked lies on each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.context import Context
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import parse_key
from medvlp.core.parts import Part, collect_parts
from medvlp.core.sample import Batch, Column, ImageRecord, Sample
from medvlp.data.collate import collate
from medvlp.data.marks import Drawn
from medvlp.data.mask_files import runs_of
from medvlp.data.pipeline import apply_views
from medvlp.data.views.affine import Affine
from medvlp.data.views.crops import Crops
from medvlp.data.views.read import Read

LARGE = Crops(number=2, size=24, scale=(0.4, 1.0), to="image.global")
SMALL = Crops(number=3, size=16, scale=(0.05, 0.3))


def picture(number: int, shape: tuple[int, int] = (40, 31)) -> Sample:
    pixels = np.random.default_rng(number).random(shape).astype(np.float32)
    return Sample(str(number), {"image": pixels})


def tokens(batch: Batch, view: str, grid: tuple[int, int]) -> dict[str, Encoded]:
    """What a tower with that grid would give."""
    owner = batch[view].owner
    return {view: Encoded(owner=owner, tokens=torch.zeros(len(owner), grid[0] * grid[1], 4), grid=grid)}


@given(draw=st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_crops_have_the_asked_share_and_aspect_lie_inside_and_never_mirror(draw: int) -> None:
    made = apply_views(Sample("a", {"image": torch.rand(1, 60, 90)}), [SMALL], draw=draw)
    boxes = made.fields["boxes.crop.local"]
    assert isinstance(boxes, torch.Tensor)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert bool((boxes >= 0).all())
    assert bool((boxes <= torch.tensor([90.0, 60, 90, 60])).all())
    assert bool((width * height <= 0.3 * 5400 + width + height).all())
    assert bool((width * height >= 0.05 * 5400 - width - height).all())
    assert bool(((width + 1) / (height - 1) >= 3 / 4).all())
    assert bool(((width - 1) / (height + 1) <= 4 / 3).all())
    ramp = torch.arange(90.0).expand(1, 60, 90)
    rows = apply_views(Sample("a", {"image": ramp}), [SMALL], draw=draw).fields["image.local"]
    assert isinstance(rows, tuple)
    for row, box in zip(rows, boxes.tolist(), strict=True):
        assert bool((row.diff(dim=-1) > 0).all())
        assert float(row.mean()) + 0.5 == pytest.approx((box[0] + box[2]) / 2, abs=0.05)


def test_a_picture_that_no_draw_fits_is_cut_in_its_middle() -> None:
    made = Crops(number=1, size=8, scale=(1.0, 1.0), ratio=(2.0, 2.0))(
        Sample("a", {"image": torch.rand(1, 20, 20)}), torch.Generator().manual_seed(0)
    )
    assert made.fields["boxes.crop.local"].tolist() == [[0.0, 5.0, 20.0, 15.0]]  # type: ignore[union-attr]


def test_cells_of_two_views_are_matched_as_a_loop_over_their_boxes_matches_them() -> None:
    """As DenseCL and PixPro pair them: each cell with the nearest cell of the other view of the same picture."""
    samples = [apply_views(picture(n), [Read(size=32, bits=32), LARGE, SMALL], draw=n) for n in range(4)]
    batch = collate(samples, torch.arange(4))
    keys = {"image.global": (6, 6), "image.local": (4, 4)}
    parts = {}
    for view, grid in keys.items():
        parts |= collect_parts(tokens(batch, view, grid), {view: frozenset({"tokens"})})
    ctx = Context(parts=parts, batch=batch)

    def centres(view: str) -> torch.Tensor:
        rows, columns = ctx.grid(f"{view}/tokens")
        height, width = batch[view].values.shape[-2:]  # type: ignore[union-attr]
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) * height / rows, (torch.arange(columns) + 0.5) * width / columns, indexing="ij"
        )
        points = torch.stack([x.flatten(), y.flatten(), torch.ones(rows * columns)])
        return (ctx.record(f"{view}/tokens") @ points).transpose(1, 2)  # (R, N, 2)

    first, second = centres("image.global"), centres("image.local")
    nearest = torch.cdist(first[:, None], second[None]).argmin(-1)  # (R, R', N)
    owners = batch["image.global"].owner, batch["image.local"].owner
    for a, one in enumerate(batch.records["image.global"]):
        for b, two in enumerate(batch.records["image.local"]):
            if owners[0][a] != owners[1][b]:
                continue
            for cell in range(36):
                x, y = _middle(one.box, cell, 6)
                far = [(x - u) ** 2 + (y - v) ** 2 for u, v in (_middle(two.box, other, 4) for other in range(16))]
                assert far[int(nearest[a, b, cell])] == pytest.approx(min(far), rel=1e-4, abs=1e-4)
    for start, chunk in batch.chunks(2):
        own = Context(
            parts={parse_key("image.local/x"): Part(torch.zeros(6, 1), chunk["image.local"].owner)}, batch=chunk
        )
        assert torch.equal(own.record("image.local/x"), ctx.record("image.local/tokens")[3 * start : 3 * start + 6])


def _middle(box: tuple[float, float, float, float], cell: int, side: int) -> tuple[float, float]:
    x0, y0, x1, y1 = box
    return x0 + (cell % side + 0.5) * (x1 - x0) / side, y0 + (cell // side + 0.5) * (y1 - y0) / side


def test_boxes_and_masks_lie_on_each_crop_with_the_row_they_lie_on() -> None:
    mask = np.zeros((40, 40), bool)
    mask[4:12, 6:20] = True
    marks = {"mask.f": Drawn("mask", runs_of(mask)), "boxes.f": Drawn("boxes", [[6, 4, 20, 12]])}
    names = ("mask.local.f", "boxes.local.f", "mask.f", "boxes.f")
    found = 0
    for draw in range(12):
        sample = Sample("a", {"image": mask.astype(np.float32), **marks})
        crops = Crops(number=3, size=20, scale=(0.2, 0.6))
        made = apply_views(sample, [Read(size=40, bits=32), Affine(degrees=0), crops], draw=draw)
        batch = collate([made, Sample("b", {})], torch.arange(2), marks=names)
        masks, boxes, pixels = batch["mask.local.f"], batch["boxes.local.f"], batch["image.local"].values
        assert isinstance(masks.values, torch.Tensor)
        assert isinstance(boxes.values, torch.Tensor)
        assert isinstance(pixels, torch.Tensor)
        assert masks.owner.tolist() == [0, 0, 0]
        assert boxes.known is not None
        assert boxes.known.tolist() == [True, False]
        assert boxes.place is not None
        surely = (pixels[:, 0] > 0.99) | (pixels[:, 0] < 0.01)
        assert torch.equal(masks.values[surely], pixels[:, 0][surely] > 0.5)
        for row in range(3):
            own = boxes.values[boxes.place == row]
            if masks.values[row].any():
                found += 1
                there = masks.values[row].nonzero().flip(1)
                tight = torch.cat([there.amin(0), there.amax(0) + 1]).float()
                assert float((own[0] - tight).abs().max()) <= 0.5 + 1e-3
        assert batch["boxes.crop.local"].owner.tolist() == [0, 0, 0]
    assert found > 5


def test_two_sizes_of_crops_do_not_carry_each_others_boxes() -> None:
    made = apply_views(picture(1), [Read(size=32), LARGE, SMALL], draw=1)
    assert sorted(made.fields) == ["boxes.crop.global", "boxes.crop.local", "image", "image.global", "image.local"]


def test_views_of_one_picture_are_not_silently_left_out_behind_crops() -> None:
    turned, cut = Affine(degrees=40, field="image.local"), Crops(field="image.local", to="image.inner")
    for what, view in (("affine changes", turned), ("crops cuts", cut)):
        with pytest.raises(DataError, match=f"{what} one picture, and 'image.local' has rows of crops"):
            apply_views(picture(1), [Read(size=32), SMALL, view], draw=1)


def test_what_crops_and_places_cannot_tell_is_one_sentence() -> None:
    for wrong in ({"to": "image"}, {"to": "text.local"}, {"field": "image.local"}):
        with pytest.raises(ConfigError, match="crops cuts one image field and writes another one with a role"):
            Crops(**wrong)  # type: ignore[arg-type]
    for bad in ({"number": 0}, {"scale": (0.5, 0.2)}, {"scale": (0.0, 0.2)}, {"ratio": (0.0, 1.0)}):
        with pytest.raises(ConfigError, match="crops takes a number and a size of at least 1, 0 < scale <= 1"):
            Crops(**bad)  # type: ignore[arg-type]
    batch = Batch.of({"image": torch.zeros(1, 1, 4, 4)})
    ctx = Context(parts={parse_key("image/pooled"): Part(torch.zeros(1, 2), torch.arange(1))}, batch=batch)
    with pytest.raises(ConfigError, match="The tokens of 'image/pooled' form no grid"):
        ctx.grid("image/pooled")
    with pytest.raises(ConfigError, match="It is not known where 'image' lies in its source: let the views"):
        ctx.record("image/pooled")


def test_records_of_stacks_tell_each_slice_and_nothing_where_padded() -> None:
    column = Column(
        torch.zeros(2, 3, 1, 4, 4), torch.arange(2), torch.tensor([[True, True, False], [True, True, True]])
    )
    records = tuple(ImageRecord(seed=0, box=(0, 0, 8, 8), slices=slices) for slices in ((4, 6), (0, 1, 5)))
    batch = Batch(("a", "b"), torch.arange(2), {"stack": column}, {"stack": records})
    ctx = Context(parts={parse_key("stack/pooled"): Part(torch.zeros(2, 2), torch.arange(2))}, batch=batch)
    middles = ctx.record("stack/pooled") @ torch.tensor([1.0, 2.0, 0.5, 1.0])
    assert middles[0].tolist() == [[2, 4, 4.5], [2, 4, 6.5], [0, 0, 0]]
    assert middles[1].tolist() == [[2, 4, 0.5], [2, 4, 1.5], [2, 4, 5.5]]
