"""Where a view's pixels lie in their source: told by the pixels themselves, ramps of the source's coordinates.

A linear ramp comes through every resampling unchanged (away from edges), so a view of a ramp names the source point of
each of its pixels: an oracle that knows nothing of records and matrices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medvlp.core.errors import DataError
from medvlp.core.places import record_tensor, to_source, to_view
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.core.views import View
from medvlp.data.marks import Drawn, moved, seen
from medvlp.data.mask_files import runs_of
from medvlp.data.pipeline import apply_views
from medvlp.data.stacks import LazyStack, stack_of
from medvlp.data.views.affine import Affine
from medvlp.data.views.augment3d import Augment3d
from medvlp.data.views.crops import Crops
from medvlp.data.views.read import Read
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.resample import Resample
from medvlp.data.views.sample_slices import SampleSlices
from medvlp.data.views.take_slice import TakeSlice
from medvlp.io.affine import Affine as WorldAffine
from medvlp.io.volume import Volume

HALF = 0.5 + 1e-3
EIGHTH = 0.13  # source pixels: means of areas that end within a pixel are off a ramp by as much


class Flip:
    """Exchange left and right of the picture: no view of the library does, one of another package may."""

    random = True

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        image = sample.fields["image"]
        assert isinstance(image, torch.Tensor)
        return moved(sample, "image", image.flip(-1), np.array([[-1.0, 0, image.shape[-1]], [0, 1, 0], [0, 0, 1]]))


MOVES: tuple[View, ...] = (
    Affine(degrees=30, scale=0.3, translate=0.15),
    Affine(degrees=0, scale=0.2, translate=0.2),
    Flip(),
)


def pictures(views: Sequence[View], source: tuple[int, int], draw: int, marks: dict[str, object]) -> list[Sample]:
    """The same chain over ramps of x and y, and over white: what is black there was cut or padded."""
    height, width = source
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    ramps = (x / width, y / height, np.ones_like(x))
    return [apply_views(Sample("a", {"image": ramp, **marks}), views, draw=draw) for ramp in ramps]


def told_by_pixels(made: Sequence[torch.Tensor], source: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source x and y of each pixel (H, W), and where they can be believed: nothing near an edge had a part in them."""
    x, y = (value.double().numpy() * side for value, side in zip(made[:2], source[::-1], strict=True))
    white = made[2].numpy() > 1 - 1e-5
    inner = np.zeros_like(white)
    inner[3:-3, 3:-3] = white[3:-3, 3:-3]  # a crop's own edge is repeated by whoever enlarges it
    inner[1:] &= white[:-1]
    inner[:-1] &= white[1:]
    inner[:, 1:] &= white[:, :-1]
    inner[:, :-1] &= white[:, 1:]
    return x, y, inner & (x > 2) & (y > 2) & (x < source[1] - 2) & (y < source[0] - 2)


def fitted(x: np.ndarray, y: np.ndarray, believed: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) from points of the view to the source that the pixels tell."""
    rows, columns = np.nonzero(believed)
    points = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1)
    return np.linalg.lstsq(points, np.stack([x[believed], y[believed]], axis=1), rcond=None)[0].T


CHAINS = st.lists(st.sampled_from(MOVES), min_size=0, max_size=3)


@pytest.mark.slow
@given(
    source=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    size=st.integers(24, 48),
    chain=CHAINS,
    crop=st.booleans(),
    draw=st.integers(0, 2**31),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
@settings(max_examples=1000, deadline=None)
def test_boxes_and_masks_of_a_thousand_chains_are_where_the_pixels_are(
    source: tuple[int, int], size: int, chain: list[View], crop: bool, draw: int, corners: list[float]
) -> None:
    height, width = source
    (x0, x1), (y0, y1) = sorted(np.array(corners[:2]) * width), sorted(np.array(corners[2:]) * height)
    assume(x1 - x0 > 3)
    assume(y1 - y0 > 3)
    mask = np.zeros(source, bool)
    mask[round(y0) : round(y1), round(x0) : round(x1)] = True
    edges = (round(x0), round(y0), round(x1), round(y1))
    marks: dict[str, object] = {"boxes.f": Drawn("boxes", [edges]), "mask.f": Drawn("mask", runs_of(mask))}
    crops = Crops(number=1, size=size, scale=(0.3, 1.0), to="image.local")
    views = [Read(size=size, bits=32), *chain, *([crops] if crop else [])]
    field, role = ("image.local", ".local") if crop else ("image", "")
    samples = pictures(views, source, draw, marks)
    made = [_first(sample.fields[field])[0] for sample in samples]
    record = samples[0].records[field]
    record = record[0] if isinstance(record, tuple) else record
    x, y, believed = told_by_pixels(made, source)
    assume(believed.sum() > 30)
    assume(believed.any(0).sum() > 1 and believed.any(1).sum() > 1)  # points on a line tell no affine map
    matrix = fitted(x, y, believed)
    per_pixel = np.linalg.norm(matrix[:, :2], axis=0).max()

    # Every pixel: the record says of its middle what the ramps say.
    own = record_tensor([record], (size, size))[0].double().numpy()
    rows, columns = np.nonzero(believed)
    middles = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    assert np.abs(own @ middles - np.stack([x[believed], y[believed]])).max() < EIGHTH + 0.02 * per_pixel

    # The mask: it is the truth at each of those points, but for half a pixel about its edge.
    found = _first(seen(samples[0], f"mask{role}.f")).numpy()
    truth = (x >= edges[0]) & (x < edges[2]) & (y >= edges[1]) & (y < edges[3])
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    clear = believed & ~_near_edge(x, y, edges, half=HALF * per_pixel)
    assert np.array_equal(found[clear], truth[clear])

    # The box: around the moved corners and cut at the view, and no wider where an earlier view had cut.
    around = inverse[:2] @ np.array([[a, b, 1] for a in edges[::2] for b in edges[1::2]]).T
    low, high = around.min(1).clip(0, size), around.max(1).clip(0, size)
    boxes = _first(seen(samples[0], f"boxes{role}.f")).numpy()
    if not len(boxes):
        assert not (found & (made[2].numpy() > 0.999)).any(), "what is seen has a box"
    else:
        assert (boxes[0, :2] >= low - HALF).all()
        assert (boxes[0, 2:] <= high + HALF).all()
        shown = np.argwhere(found)[:, ::-1]
        if len(shown):
            assert (boxes[0, :2] <= shown.min(0) + HALF).all()
            assert (boxes[0, 2:] >= shown.max(0) + 1 - HALF).all()
        if not record.cuts:
            assert np.abs(boxes[0] - np.concatenate([low, high])).max() < HALF

    # What is black because an earlier view cut it off has no mask.
    assert not (found & (made[2].numpy() < 1e-6)).any()


@pytest.mark.parametrize("size", [13, 60])
@pytest.mark.parametrize("align_corners", [False, True])
def test_a_scaled_picture_lies_where_its_pixels_are(size: int, align_corners: bool) -> None:
    views = [Read(size=24, bits=32), Resample(size=size, align_corners=align_corners)]
    samples = pictures(views, (24, 24), 0, {})
    x, y, believed = told_by_pixels([_first(sample.fields["image"])[0] for sample in samples], (24, 24))
    rows, columns = np.nonzero(believed)
    middles = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    own = record_tensor([samples[0].records["image"]], (size, size))[0].double().numpy()
    np.testing.assert_allclose(own @ middles, np.stack([x[believed], y[believed]]), atol=1e-4)


def _near_edge(x: np.ndarray, y: np.ndarray, edges: Sequence[float], *, half: float) -> np.ndarray:
    inside = (x > edges[0] - half) & (x < edges[2] + half) & (y > edges[1] - half) & (y < edges[3] + half)
    inner = (x > edges[0] + half) & (x < edges[2] - half) & (y > edges[1] + half) & (y < edges[3] - half)
    return inside & ~inner


def _first(value: object) -> torch.Tensor:
    value = value[0] if isinstance(value, tuple) else value
    assert isinstance(value, torch.Tensor)
    return value


# volumes ------------------------------------------------------------------------------------------------------------


def volumes(views: Sequence[View], shape: tuple[int, int, int], affine: np.ndarray, draw: int) -> list[Sample]:
    """The same chain over volumes of ramps of the voxel's i, j and k, and over white; the window is a straight line."""
    grid = np.mgrid[: shape[0], : shape[1], : shape[2]].astype(np.float32) + 0.5
    ramps = [grid[2] / shape[2], grid[1] / shape[1], grid[0] / shape[0], np.ones(shape, np.float32)]
    made = []
    for ramp in ramps:
        volume = Volume((-1350 + 1500 * ramp).astype(np.float32), WorldAffine(affine), meta={"Modality": "CT"})
        fields = {"volume": volume, "number.slice": 1.0, "boxes.f": Drawn("boxes", [BOX])}
        made.append(apply_views(Sample("a", fields), views, draw=draw))
    return made


BOX = (2.0, 3.0, 2.0, 9.0, 8.0, 6.0)


@given(
    shape=st.tuples(st.integers(6, 12), st.integers(12, 20), st.integers(12, 20)),
    order=st.permutations(range(3)),
    signs=st.lists(st.sampled_from((-1.0, 1.0)), min_size=3, max_size=3),
    axis=st.sampled_from(("axial", "coronal", "sagittal", "acquisition")),
    slice_mm=st.sampled_from((None, 0.7, 2.5)),
    sampled=st.sampled_from((None, "even", "jittered")),
    turned=st.booleans(),
    one=st.booleans(),
    draw=st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None)
def test_stacks_and_slices_of_volumes_hung_any_way_are_where_their_pixels_are(
    shape: tuple[int, int, int],
    order: list[int],
    signs: list[float],
    axis: str,
    slice_mm: float | None,
    sampled: str | None,
    turned: bool,
    one: bool,
    draw: int,
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, order] * np.array([1.0, 1.0, 1.5])
    affine[:3, 3] = (5, -20, 30)
    read = ReadVolume(size=24, windows=("ct_lung_v1",), axis=axis, slice_mm=slice_mm, bits=32)  # type: ignore[arg-type]
    moves = [SampleSlices(count=4, how=sampled)] if sampled else []  # type: ignore[arg-type]
    still = {"contrast": 0.0, "brightness": 0.0, "gamma": 0.0, "noise": 0.0}
    moves += [Augment3d(degrees=15, zoom=0.2, shift=0.1, **still)] if turned else []
    views = [read, *moves, *([TakeSlice()] if one else [])]
    samples = volumes(views, shape, affine, draw)
    field = "image" if one else "stack"
    made = np.stack([_slices(sample.fields[field]) for sample in samples])  # (4, S, H, W)
    record = samples[0].record(field)
    assert record is not None
    assert record.source == shape
    told = made[:3] * np.array(shape[::-1])[:, None, None, None]
    edge = np.array(shape[::-1])[:, None, None, None]
    believed = (made[3] > 1 - 1e-5) & (told > 2).all(0) & (told < edge - 2).all(0)
    size = made.shape[1:] if not one else made.shape[2:]
    own = record_tensor([record], size)[0].double().numpy().reshape(-1, 3, 4)
    place, rows, columns = np.nonzero(believed)
    points = np.stack([columns + 0.5, rows + 0.5, np.full(len(rows), 0.5), np.ones(len(rows))], axis=1)
    want = told[:, believed]
    assert np.abs(np.einsum("nij,nj->in", own[place], points) - want).max(initial=0) < EIGHTH

    mask = np.zeros(shape, bool)
    mask[int(BOX[2]) : int(BOX[5]), int(BOX[1]) : int(BOX[4]), int(BOX[0]) : int(BOX[3])] = True
    found = to_view(torch.from_numpy(mask), record, size).numpy().reshape(made.shape[1:])
    low, high = (np.array(BOX[part])[:, None, None, None] for part in (slice(0, 3), slice(3, 6)))
    truth = ((told >= low) & (told < high)).all(0)
    near = ((told > low - 0.6) & (told < high + 0.6)).all(0) & ~((told > low + 0.6) & (told < high - 0.6)).all(0)
    clear = believed & ~near
    assert np.array_equal(found[clear], truth[clear])

    # The box holds the mask, and is not wider than its pixels by more than one turned corner.
    boxes = _first(seen(samples[0], "boxes.f")).numpy()
    shown = np.argwhere(found)[:, ::-1]
    if len(shown):
        assert len(boxes) == 1
        lowest, highest = shown.min(0)[: boxes.shape[1] // 2], shown.max(0)[: boxes.shape[1] // 2] + 1
        half = boxes.shape[1] // 2
        assert (boxes[0, :half] <= lowest + HALF).all()
        assert (boxes[0, half:] >= highest - HALF).all()
        if not turned:
            per = np.linalg.norm(own[0, :, :2], axis=0)
            assert np.abs(boxes[0, :2] - lowest[:2]).max() < HALF + 1 / per.min()
            assert np.abs(boxes[0, half : half + 2] - highest[:2]).max() < HALF + 1 / per.min()


def _slices(value: object) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return value.double().numpy()
    assert isinstance(value, Stack | LazyStack)
    stack = stack_of(value)
    assert stack is not None
    return stack.pixels[:, 0].double().numpy()


# there and back -----------------------------------------------------------------------------------------------------


@given(
    source=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    size=st.integers(8, 64),
    flip=st.booleans(),
    corners=st.lists(st.floats(0.02, 0.98), min_size=4, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_boxes_come_back_as_they_went_and_masks_too_where_the_view_has_their_pixels(
    source: tuple[int, int], size: int, flip: bool, corners: list[float]
) -> None:
    views: list[View] = [Read(size=size, bits=32), *([Flip()] if flip else [])]
    record = apply_views(Sample("a", {"image": np.zeros(source, np.float32)}), views).record("image")
    assert record is not None
    assert record.flip == flip
    (x0, x1), (y0, y1) = sorted(np.array(corners[:2]) * source[1]), sorted(np.array(corners[2:]) * source[0])
    assume(x1 - x0 > 0.1)
    assume(y1 - y0 > 0.1)
    boxes = torch.tensor([[x0, y0, x1, y1]], dtype=torch.float32)
    back = to_source(to_view(boxes, record, (size, size)), record, (size, size))
    torch.testing.assert_close(back, boxes, atol=1e-3, rtol=1e-4)
    mask = torch.from_numpy(np.random.default_rng(size).random(source) > 0.5)
    there = to_view(mask, record, (size, size))
    if size >= max(source):  # each pixel of the source is the nearest one of at least one pixel of the view
        assert torch.equal(to_source(there, record, (size, size)), mask)
    again = to_view(to_source(there, record, (size, size)), record, (size, size))
    if size <= min(source):
        shown = to_view(torch.ones(source, dtype=torch.bool), record, (size, size))
        assert torch.equal(again & shown, there)


@given(
    order=st.permutations(range(3)),
    signs=st.lists(st.sampled_from((-1.0, 1.0)), min_size=3, max_size=3),
    axis=st.sampled_from(("axial", "coronal", "sagittal")),
)
@settings(max_examples=48, deadline=None)
def test_a_mask_of_a_stack_comes_back_to_the_voxels_of_the_file(
    order: list[int], signs: list[float], axis: str
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, order]
    volume = Volume(np.zeros((7, 9, 11), np.float32), WorldAffine(affine), meta={"Modality": "CT"})
    view = ReadVolume(size=22, axis=axis)  # type: ignore[arg-type]
    record = apply_views(Sample("a", {"volume": volume}), [view]).record("stack")
    assert record is not None
    depth = {"axial": 2, "coronal": 1, "sagittal": 0}[axis]
    size = ((11, 9, 7)[list(order).index(depth)], 22, 22)
    mask = torch.from_numpy(np.random.default_rng(3).random((7, 9, 11)) > 0.6)
    assert torch.equal(to_source(to_view(mask, record, size), record, size), mask)
    boxes = torch.tensor([[1.0, 2, 3, 5, 7, 6], [0, 0, 0, 11, 9, 7]])
    torch.testing.assert_close(to_source(to_view(boxes, record, size), record, size), boxes, atol=1e-3, rtol=1e-4)
    some = ImageRecord(**{name: getattr(record, name) for name in ImageRecord.__slots__} | {"slices": (1, 2, 4)})
    part = (3, 22, 22)
    back = to_source(to_view(mask, some, part), some, part)
    whole = torch.zeros(size, dtype=torch.bool)
    whole[[1, 2, 4]] = True
    assert torch.equal(back, mask & to_source(whole, record, size)), "only what the slices show comes back"


def test_a_box_between_slices_that_were_left_out_is_dropped_and_others_end_with_their_slices() -> None:
    record = ImageRecord(seed=0, box=(0, 0, 4, 4), source=(9, 4, 4), slices=(1, 2, 6))
    boxes = torch.tensor([[0.0, 0, 3, 4, 4, 5], [0, 0, 0, 4, 4, 9], [1, 1, 2, 2, 2, 4], [0, 0, 1.5, 4, 4, 6.5]])
    found = to_view(boxes, record, (3, 4, 4))
    assert found[:, [2, 5]].tolist() == [[0, 3], [1, 2], [0.5, 2.5]]
    assert to_source(found, record, (3, 4, 4))[:, [2, 5]].tolist() == [[1, 7], [2, 3], [1.5, 6.5]]


def test_a_source_of_unknown_size_and_marks_of_another_dimension_are_one_sentence() -> None:
    record = ImageRecord(seed=0, box=(0, 0, 4, 4))
    with pytest.raises(DataError, match="does not say how large its file is: let one of the views"):
        to_source(torch.zeros(4, 4, dtype=torch.bool), record, (4, 4))
    with pytest.raises(
        DataError, match=r"Boxes of shape \(1, 6\) were given for a source of 2 dimensions: write \(n, 4\)"
    ):
        to_view(torch.zeros(1, 6), record, (4, 4))
    with pytest.raises(DataError, match=r"A mask of shape \(2, 4, 4\) was given for a source of 2 dimensions"):
        to_view(torch.zeros(2, 4, 4, dtype=torch.bool), record, (4, 4))
