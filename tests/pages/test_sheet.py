from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.pages.gallery_files import write_gallery
from medvlp.pages.inputs import Box, GalleryItem
from medvlp.pages.sheet import draw_sheet, write_sheet

SIDE, GAP = 32, 8
DRAWS = np.random.Generator(np.random.Philox(3))
PICTURE = DRAWS.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def item(**changes: object) -> GalleryItem:
    return GalleryItem(**{"image": PICTURE, "finding": "nodule", "score": 0.7, **changes})  # type: ignore[arg-type]


def cells(sheet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    left, right = GAP, GAP + SIDE + GAP // 2
    return tuple(sheet[GAP : GAP + SIDE, x : x + SIDE] for x in (left, right))  # type: ignore[return-value]


def test_the_picture_stands_unchanged_and_a_heat_map_only_beside_it() -> None:
    plain, beside = cells(draw_sheet([item()]))
    np.testing.assert_array_equal(plain, np.repeat(PICTURE[..., None], 3, axis=2))
    np.testing.assert_array_equal(beside, plain)
    heat = np.zeros((4, 4))
    heat[0, 0] = 1.0
    plain, beside = cells(draw_sheet([item(heat_map=heat)]))
    np.testing.assert_array_equal(plain, np.repeat(PICTURE[..., None], 3, axis=2))
    changed = (beside != plain).any(axis=2)
    assert changed[:4, :4].all()
    assert not changed[-8:, -8:].any()  # the cold end is wholly transparent
    flat = cells(draw_sheet([item(heat_map=np.full((4, 4), 0.3))]))[1]
    np.testing.assert_array_equal(flat, plain)


def test_boxes_are_outlines_on_both() -> None:
    for drawn in cells(draw_sheet([item(image=np.zeros((SIDE, SIDE), np.uint8), boxes=(Box(4, 6, 20, 24),))])):
        marked = drawn.any(axis=2)
        expected = np.zeros((SIDE, SIDE), bool)
        expected[6:25, 4:21] = True
        expected[7:24, 5:20] = False
        np.testing.assert_array_equal(marked, expected)


def test_a_row_ends_after_its_columns() -> None:
    one, three, five = (draw_sheet([item()] * n, columns=3).shape for n in (1, 3, 5))
    assert (three[0], three[1] - GAP) == (one[0], 3 * (one[1] - GAP))
    assert (five[0] - GAP, five[1]) == (2 * (one[0] - GAP), three[1])


def test_the_sheet_of_a_run_is_one_png(tmp_path: Path) -> None:
    write_gallery(tmp_path, [item(truth="left, 12 mm"), item()], [])
    write_sheet(tmp_path, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.mode == "P"
        assert image.size == draw_sheet([item(), item()]).shape[1::-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "sheet.png"]


def test_without_pictures_or_with_unequal_ones_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"keeps no pictures: evaluate it with evaluation\.gallery above 0"):
        write_sheet(tmp_path, tmp_path / "sheet.png")
    with pytest.raises(DataError, match="must have one size"):
        draw_sheet([item(), item(image=np.zeros((8, 8), np.uint8))])
    with pytest.raises(DataError, match="There is no picture"):
        draw_sheet([])
