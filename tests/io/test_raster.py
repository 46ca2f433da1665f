"""PNG, JPEG and TIFF: no bit lost, nothing stretched, the right way up."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from medvlp.io import UnreadableImage, read_image

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (7, 5)).astype(np.uint8)
GRAY16 = RNG.integers(0, 65536, (7, 5)).astype(np.uint16)
RGB8 = RNG.integers(0, 256, (7, 5, 3)).astype(np.uint8)


def save(tmp_path, picture, form, **options):
    path = tmp_path / "picture.bin"
    (picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)).save(path, format=form, **options)
    return path


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize(("values", "top"), [(GRAY8, 255), (GRAY16, 65535)], ids=["8", "16"])
def test_gray_is_value_over_largest_value(tmp_path, form, values, top):
    image = read_image(save(tmp_path, values, form))
    assert (image.pixels == (values / top).astype(np.float32)).all()
    assert image.warnings == ()
    assert image.spacing is None


def test_all_65536_values_of_16_bits_stay_apart(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert len(np.unique(read_image(save(tmp_path, values, "PNG")).pixels)) == 65536


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_colour(tmp_path, form):
    path = save(tmp_path, RGB8, form)
    assert (read_image(path, color="rgb").pixels == (RGB8 / 255).astype(np.float32)).all()
    gray = read_image(path)
    assert gray.pixels == pytest.approx(RGB8 @ [0.299, 0.587, 0.114] / 255, abs=1e-6)
    assert "the image is coloured: it was made gray by its luma" in gray.warnings


def test_png_of_48_bits_keeps_16(tmp_path):
    values = np.random.default_rng(5).integers(0, 65536, (7, 5, 3)).astype(np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(values))
    assert read_image(path, color="rgb").pixels == pytest.approx(values / 65535, abs=1e-7)


def test_jpeg_of_one_gray(tmp_path):
    path = save(tmp_path, np.full((16, 16), 51, np.uint8), "JPEG", quality=100)
    assert read_image(path).pixels == pytest.approx(0.2, abs=1.5 / 255)


# EXIF 2.32, 4.6.4: for each value, which corner of the shown picture is the stored top left, and what the rows become.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),  # stored rows are columns from the right: turn clockwise
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(tmp_path, form, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = read_image(save(tmp_path, GRAY8, form, exif=exif.tobytes()))
    assert (image.pixels == (UPRIGHT[orientation](GRAY8) / 255).astype(np.float32)).all()
    assert (image.stored(image.pixels) == (GRAY8 / 255).astype(np.float32)).all()
    assert any("EXIF" in step for step in image.steps) == (orientation != 1)


def test_palette_of_grays_is_gray(tmp_path):
    picture = Pillow.fromarray(GRAY8 % 4, "P")
    picture.putpalette([0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255])
    image = read_image(save(tmp_path, picture, "PNG"))
    assert image.pixels == pytest.approx((GRAY8 % 4) / 3, abs=1e-6)
    assert image.warnings == ()


def test_alpha_lies_over_black_and_is_announced(tmp_path):
    rgba = np.dstack([np.full((7, 5, 3), 255, np.uint8), GRAY8])
    image = read_image(save(tmp_path, rgba, "PNG"))
    assert image.pixels == pytest.approx(GRAY8 / 255, abs=1e-6)
    assert "transparent pixels were laid over black" in image.warnings
    rgba[..., 3] = 255
    assert read_image(save(tmp_path, rgba, "PNG")).warnings == ()


def test_one_bit(tmp_path):
    image = read_image(save(tmp_path, Pillow.fromarray(GRAY8 > 99), "PNG"))
    assert (image.pixels == (GRAY8 > 99)).all()


def test_tiff_white_is_zero(tmp_path):
    for values, top in ((GRAY8, 255), (GRAY16, 65535)):
        path = save(tmp_path, values, "TIFF", tiffinfo={262: 0})
        stored = Pillow.open(path)
        assert stored.tag_v2[262] == 0
        # What the file stores is unknown to the caller of Pillow; the strip holds it as it is.
        raw = np.frombuffer(path.read_bytes(), values.dtype, values.size, stored.tag_v2[273][0]).reshape(values.shape)
        assert read_image(path).pixels == pytest.approx(1 - raw / top, abs=1e-6)


def test_tiff_of_48_bits_says_that_it_is_cut(tmp_path):
    # TIFF 6.0 section 6 by hand: one directory, three BitsPerSample behind it, then the strip.
    values = np.random.default_rng(5).integers(0, 65536, (7, 5, 3)).astype("<u2")
    fields = [(256, 5), (257, 7), (258, 0), (259, 1), (262, 2), (273, 0), (277, 3), (278, 7), (279, values.nbytes)]
    end = 8 + 2 + 12 * len(fields) + 4
    place = {258: end, 273: end + 6}
    entries = b"".join(
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, place.get(tag, value))
        for tag, value in fields
    )
    data = struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + entries + b"\0" * 4 + struct.pack("<3H", 16, 16, 16)
    (tmp_path / "deep.tif").write_bytes(data + values.tobytes())
    image = read_image(tmp_path / "deep.tif", color="rgb")
    assert image.pixels == pytest.approx((values >> 8) / 255, abs=1e-6)
    assert image.warnings == ("16 bits a channel were cut to 8",)


def test_tiff_page(tmp_path):
    path = tmp_path / "pages.tif"
    Pillow.fromarray(GRAY8).save(path, save_all=True, append_images=[Pillow.fromarray(255 - GRAY8)])
    assert (read_image(path, frame=1).pixels == ((255 - GRAY8) / 255).astype(np.float32)).all()
    assert "the file has 2 pages: the first was taken (frame= chooses another)" in read_image(path).warnings
    with pytest.raises(UnreadableImage, match="frames 0 to 1"):
        read_image(path, frame=2)


def test_a_tiff_page_has_no_more_fields_than_pages_have(tmp_path):
    fields = struct.pack("<HHII", 256, 4, 1, 1) + struct.pack("<HHII", 257, 4, 1, 1) * 1024
    (tmp_path / "many.tif").write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 1025) + fields + bytes(4))
    with pytest.raises(UnreadableImage, match="claims 1025 fields"):
        read_image(tmp_path / "many.tif")


def test_12_bits_in_a_16_bit_file_are_announced(tmp_path):
    image = read_image(save(tmp_path, (GRAY16 >> 4).astype(np.uint16), "PNG"))
    assert any("has fewer bits than it says" in note for note in image.warnings)


def test_floating_point_is_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="what is white is not defined"):
        read_image(save(tmp_path, GRAY8.astype(np.float32), "TIFF"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_cut_files_are_refused(tmp_path, form):
    values = np.random.default_rng(5).integers(0, 256, (64, 64)).astype(np.uint8)
    path = save(tmp_path, values, form)
    data = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(UnreadableImage) as refusal:
            read_image(path)
        assert refusal.value.reason in ("truncated", "corrupt")


def test_too_many_pixels_are_refused_by_the_header(tmp_path):
    data = bytearray(save(tmp_path, GRAY8, "PNG").read_bytes())
    data[16:24] = (30000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (tmp_path / "picture.bin").write_bytes(bytes(data))
    with pytest.raises(UnreadableImage) as refusal:
        read_image(tmp_path / "picture.bin")
    assert refusal.value.reason == "too_large"
