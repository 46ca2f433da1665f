"""The picture that is exported: the source's pixels one to one, and the banner above them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from medvlp.serving.exports.kinds import export
from medvlp.serving.exports.picture import render
from medvlp.serving.exports.shown import Shown
from tests.serving.exports.shown_files import HASH, ct_slice, shown


def place_of(page: np.ndarray, pixels: np.ndarray) -> int | None:
    """The row at which the picture stands at the left edge of a page, in gray."""
    rows, columns = pixels.shape
    for top in range(page.shape[0] - rows + 1):
        if (page[top : top + rows, :columns] == pixels[..., None]).all():
            return top
    return None


def test_pixels_stand_one_to_one_and_are_tinted_only_where_the_layer_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120), dtype=np.uint8)
    plain = Shown(pixels, (), "quickstart", HASH, "dicom_voi_v1", "youden")
    top = place_of(render(plain), pixels)
    assert top is not None
    from medvlp.serving.exports.shown import Layer

    mask = np.zeros((80, 120), bool)
    mask[10:20, 30:50] = True
    page = render(replace(plain, layer=Layer("effusion", mask, "drawn")))[top : top + 80, :120]
    assert ((page == pixels[..., None]).all(axis=-1) | mask).all()
    assert not (page[mask][:, 0] == page[mask][:, 2]).any()


def test_the_banner_is_above_every_picture_and_no_identifier_in_the_file(tmp_path: Path) -> None:
    data = export(shown(ct_slice(tmp_path)), "png").data
    page = np.asarray(Image.open(io.BytesIO(data)))
    amber = (page.astype(int) - (255, 196, 87)) ** 2
    rows = np.flatnonzero((amber.sum(axis=-1) < 300).any(axis=1))
    assert len(rows) > 5
    assert rows.max() < 60
    assert Image.open(io.BytesIO(data)).info == {}
    assert b"Doe" not in data
