"""The same stored values, whatever the transfer syntax, byte order, layout or frame they are written in."""

from __future__ import annotations

import importlib.metadata
import struct
import sys
import zlib

import imagecodecs
import jpeg_ls
import numpy as np
import pytest
from openjpeg.utils import encode_array

from medvlp.io import UnreadableImage, read_frames, read_image
from medvlp.io.codecs import decode_rle, decoder_states, probe_codestream

IMPLICIT, EXPLICIT, DEFLATED, BIG, RLE = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
)
JPEG, JPEG_LOSSLESS, JPEG_LS, J2K, HTJ2K = (f"1.2.840.10008.1.2.4.{n}" for n in ("50", "70", "80", "90", "201"))
RNG = np.random.default_rng(20)
GRAY8 = RNG.integers(0, 256, (48, 40)).astype(np.uint8)
GRAY12 = RNG.integers(0, 4096, (48, 40)).astype(np.uint16)
SIGNED = RNG.integers(-2048, 2048, (48, 40)).astype(np.int16)
TWELVE = {0x00280101: ("US", 12), 0x00280102: ("US", 11)}


def unit(values):
    values = values.astype(float)
    return (values - values.min()) / (values.max() - values.min())


def refused(path, **options):
    with pytest.raises(UnreadableImage) as refusal:
        read_image(path, **options)
    assert refusal.value.path == str(path)
    return refusal.value.reason


def rle(values):
    """PS3.5 annex G by hand: 64-byte header, one PackBits segment a byte of each sample, high byte first."""
    planes = np.atleast_3d(values)
    segments = []
    for sample in range(planes.shape[2]):
        for byte in range(planes.itemsize - 1, -1, -1):
            plane = (planes[..., sample].astype(np.uint64) >> (8 * byte)) & 0xFF
            data = b""
            for row in plane.astype(np.uint8):
                runs = np.split(row, np.flatnonzero(np.diff(row)) + 1)
                for run in runs:
                    data += bytes([257 - len(run), run[0]]) if len(run) > 1 else bytes([0, run[0]])
            segments.append(data + b"\0" * (len(data) % 2))
    offsets, position = [], 64
    for segment in segments:
        offsets.append(position)
        position += len(segment)
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets))) + b"".join(segments)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG])
@pytest.mark.parametrize("values", [GRAY8, GRAY12, SIGNED], ids=["uint8", "uint12", "int12"])
def test_uncompressed(dicom, syntax, values):
    tags = None if values is GRAY8 else TWELVE
    image = read_image(dicom(values, tags, syntax=syntax))
    assert image.pixels == pytest.approx(unit(values), abs=1e-7)
    assert image.meta["TransferSyntaxUID"] == syntax
    assert image.warnings == ()


def test_uint32_and_int32(dicom):
    values = np.array([[-(2**31), 0, 2**31 - 1]], np.int32)
    assert read_image(dicom(values)).pixels[0] == pytest.approx(unit(values)[0], abs=1e-7)


def test_8_bits_in_big_endian_words_are_swapped_in_pairs(dicom):
    # PS3.5 8.1.1: OW is swapped as 16-bit words whatever BitsAllocated is; an odd frame ends inside a word.
    values = np.arange(15, dtype=np.uint8).reshape(3, 5)
    words = np.append(values.ravel(), np.uint8(0)).reshape(-1, 2)[:, ::-1].tobytes()
    path = dicom(words, rows=3, columns=5, bits=8, syntax=BIG, vr="OW")
    assert read_image(path).pixels == pytest.approx(unit(values), abs=1e-7)
    path = dicom(words, rows=1, columns=5, frames=3, bits=8, syntax=BIG, vr="OW")
    for frame in range(3):  # the second begins inside a word
        assert next(read_frames(path, frame)).values.tolist() == values[frame : frame + 1].tolist()


def j2k(values, bits):
    return bytes(encode_array(values, bits_stored=bits, photometric_interpretation=2))


def encoders():
    tags12 = TWELVE
    return [
        pytest.param(RLE, GRAY8, None, rle(GRAY8), id="rle-8"),
        pytest.param(RLE, GRAY12, tags12, rle(GRAY12), id="rle-12"),
        pytest.param(RLE, SIGNED, None, rle(SIGNED.view(np.uint16)), id="rle-signed"),
        pytest.param(J2K, GRAY8, None, j2k(GRAY8, 8), id="j2k-8"),
        pytest.param(J2K, GRAY12, tags12, j2k(GRAY12, 12), id="j2k-12"),
        pytest.param(J2K, SIGNED, tags12, j2k(SIGNED, 12), id="j2k-signed"),
        pytest.param(JPEG_LS, GRAY8, None, bytes(jpeg_ls.encode_array(GRAY8)), id="jls-8"),
        pytest.param(JPEG_LS, GRAY12, tags12, bytes(jpeg_ls.encode_array(GRAY12)), id="jls-12"),
        pytest.param(JPEG_LS, SIGNED, None, bytes(jpeg_ls.encode_array(SIGNED.view(np.uint16))), id="jls-signed"),
        pytest.param(JPEG_LOSSLESS, GRAY8, None, imagecodecs.ljpeg_encode(GRAY8), id="sof3-8"),
        pytest.param(JPEG_LOSSLESS, GRAY12, tags12, imagecodecs.ljpeg_encode(GRAY12, bitspersample=12), id="sof3-12"),
        pytest.param(HTJ2K, GRAY12, tags12, imagecodecs.htj2k_encode(GRAY12, reversible=True), id="htj2k-12"),
    ]  # fmt: skip


@pytest.mark.parametrize(("syntax", "values", "tags", "frame"), encoders())
@pytest.mark.parametrize("fragments", [1, 3])
def test_lossless_syntaxes_give_the_stored_values(dicom, syntax, values, tags, frame, fragments):
    path = dicom(values, tags, syntax=syntax, compressed=[frame], fragments=fragments)
    image = read_image(path)
    assert image.pixels == pytest.approx(unit(values), abs=1e-7)
    assert image.warnings == ()


def test_values_beyond_the_stored_bits_are_cut_and_announced(dicom):
    """A damaged or mislabelled stream: 16-bit values under BitsStored 12. PS3.5 8.1.1 leaves no place for them."""
    wide = (GRAY12 << 2).astype(np.uint16)
    image = read_image(dicom(wide, TWELVE, syntax=J2K, compressed=[j2k(wide, 16)]))
    assert any("need more than the 12 bits stored" in note for note in image.warnings)
    assert image.pixels == pytest.approx(unit(wide & 0xFFF), abs=1e-7)
    for stored, values in ((GRAY12, GRAY12), (SIGNED, SIGNED)):
        good = read_image(dicom(stored, TWELVE, syntax=J2K, compressed=[j2k(values, 12)]))
        assert not any("bits stored" in note for note in good.warnings)


def test_j2k_sign_is_the_tags_not_the_streams(dicom):
    # -1 of 12 bits, encoded as the unsigned 4095: Pixel Representation 1 decides (pitfall of pydicom issue 1149).
    stream = j2k(SIGNED.view(np.uint16) & 0x0FFF, 12)
    path = dicom(SIGNED, TWELVE, syntax=J2K, compressed=[stream])
    assert read_image(path).pixels == pytest.approx(unit(SIGNED), abs=1e-7)


def test_stream_of_another_syntax_is_decoded_by_its_own_markers_and_announced(dicom):
    path = dicom(GRAY8, syntax=J2K, compressed=[bytes(jpeg_ls.encode_array(GRAY8))])
    image = read_image(path)
    assert image.pixels == pytest.approx(unit(GRAY8), abs=1e-7)
    assert any("the pixels are jpeg_ls" in note for note in image.warnings)


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_frame_chooses_a_frame(dicom, compressed, table):
    stack = np.random.default_rng(20).integers(0, 256, (4, 6, 5)).astype(np.uint8)
    path = dicom(
        stack,
        syntax=RLE if compressed else EXPLICIT,
        compressed=[rle(f) for f in stack] if compressed else None,
        table=table,
    )
    for index in range(4):
        for given in (index, np.int64(index), float(index)):  # a table's column of numbers may hold floats
            image = read_image(path, frame=given)
            assert image.pixels == pytest.approx(unit(stack[index]), abs=1e-7)
            assert image.warnings == ()
    first = read_image(path)
    assert first.pixels == pytest.approx(unit(stack[0]), abs=1e-7)
    assert "the file has 4 frames: the first was taken (frame= chooses another)" in first.warnings
    assert {refused(path, frame=none) for none in (4, -1, 1.5, "1")} == {"bad_frame"}


def test_one_bit_frames_follow_without_padding(dicom):
    # PS3.5 8.2: 3 frames of 3 x 3 pixels are 27 bits in 4 bytes, first pixel in the lowest bit.
    bits = np.random.default_rng(20).integers(0, 2, (3, 3, 3)).astype(np.uint8)
    bits[:, 0, :2] = 0, 1
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    path = dicom(packed, {0x00280101: ("US", 1), 0x00280102: ("US", 0)}, rows=3, columns=3, frames=3, bits=1)
    for index in range(3):
        assert read_image(path, frame=index).pixels.tolist() == bits[index].tolist()


def test_one_bit_frames_in_big_endian_words_are_swapped_in_pairs(dicom):
    bits = RNG.integers(0, 2, (3, 3, 3)).astype(np.uint8)
    bits[:, 0, :2] = 0, 1
    words = np.packbits(bits.ravel(), bitorder="little").reshape(-1, 2)[:, ::-1].tobytes()
    options = {"rows": 3, "columns": 3, "frames": 3, "bits": 1, "syntax": BIG, "vr": "OW"}
    path = dicom(words, {0x00280101: ("US", 1), 0x00280102: ("US", 0)}, **options)
    for index in range(3):
        assert read_image(path, frame=index).pixels.tolist() == bits[index].tolist()
    assert refused(dicom(words * 2, {0x00280101: ("US", 1), 0x00280102: ("US", 0)}, **options)) == "length_mismatch"


def test_functional_groups_give_each_frame_its_own_rescale_window_and_spacing(dicom):
    stack = np.stack([np.full((2, 2), 10), np.full((2, 2), 10)]).astype(np.uint16)
    stack[:, 0, 0] = 0

    def group(slope, center):
        return {
            0x00289110: ("SQ", [{0x00280030: ("DS", [0.7, 0.7])}]),
            0x00289132: ("SQ", [{0x00281050: ("DS", [center]), 0x00281051: ("DS", [201])}]),
            0x00289145: ("SQ", [{0x00281052: ("DS", [0]), 0x00281053: ("DS", [slope])}]),
        }

    tags = {0x00280030: None, 0x52009230: ("SQ", [group(1, 100.5), group(10, 50.5)])}
    path = dicom(stack, tags)
    assert read_image(path, frame=0).pixels[1, 1] == pytest.approx((10 - 100) / 200 + 0.5)
    assert read_image(path, frame=1).pixels[1, 1] == pytest.approx((100 - 50) / 200 + 0.5)
    assert read_image(path, frame=1).spacing == (0.7, 0.7)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_by_pixel_and_by_plane(dicom, planar):
    rgb = np.random.default_rng(20).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    data = (rgb if planar == 0 else rgb.transpose(2, 0, 1)).tobytes()
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", "RGB"), 0x00280006: ("US", planar)}
    path = dicom(data, tags, rows=4, columns=6, bits=8)
    assert read_image(path, color="rgb").pixels == pytest.approx(rgb / 255, abs=1e-7)
    gray = read_image(path)
    assert gray.pixels == pytest.approx(rgb @ [0.299, 0.587, 0.114] / 255, abs=1e-6)
    assert "the image is coloured: it was made gray by its luma" in gray.warnings


def test_gray_in_rgb_is_read_without_loss(dicom):
    rgb = np.repeat(GRAY8[..., None], 3, axis=-1)
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", "RGB"), 0x00280006: ("US", 0)}
    image = read_image(dicom(rgb.tobytes(), tags, rows=48, columns=40, bits=8))
    assert (image.pixels == (GRAY8 / 255).astype(np.float32)).all()
    assert image.warnings == ()


def to_ybr(rgb):
    """PS3.3 C.7.6.3.1.2, YBR_FULL."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 0.2990 * r + 0.5870 * g + 0.1140 * b
    cb = -0.1687 * r - 0.3313 * g + 0.5000 * b + 128
    cr = 0.5000 * r - 0.4187 * g - 0.0813 * b + 128
    return np.clip(np.rint(np.stack([y, cb, cr], -1)), 0, 255).astype(np.uint8)


def test_ybr_full(dicom):
    rgb = np.random.default_rng(20).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", "YBR_FULL"), 0x00280006: ("US", 0)}
    path = dicom(to_ybr(rgb).tobytes(), tags, rows=4, columns=6, bits=8)
    assert read_image(path, color="rgb").pixels == pytest.approx(rgb / 255, abs=1.6 / 255)


def test_ybr_full_422_shares_chrominance_between_two_pixels(dicom):
    rgb = np.repeat(np.random.default_rng(20).integers(0, 256, (4, 3, 3)), 2, axis=1).astype(np.uint8)
    ybr = to_ybr(rgb)
    quads = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], -1)
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", "YBR_FULL_422"), 0x00280006: ("US", 0)}
    path = dicom(quads.tobytes(), tags, rows=4, columns=6, bits=8)
    assert read_image(path, color="rgb").pixels == pytest.approx(rgb / 255, abs=1.6 / 255)


def test_ybr_full_422_that_is_written_in_full_is_read_so_and_of_odd_columns_it_has_no_pairs(dicom):
    ybr = to_ybr(RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8))
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", "YBR_FULL_422"), 0x00280006: ("US", 0)}
    full = read_image(dicom(ybr.tobytes(), tags, rows=4, columns=6, bits=8), color="rgb")
    same = dicom(ybr.tobytes(), {**tags, 0x00280004: ("CS", "YBR_FULL")}, rows=4, columns=6, bits=8)
    np.testing.assert_array_equal(full.pixels, read_image(same, color="rgb").pixels)
    assert any("the chrominance is not subsampled" in note for note in full.warnings)
    assert refused(dicom(bytes(4 * 5 * 2), tags, rows=4, columns=5, bits=8)) == "bad_header"


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_a_jpeg_that_says_nothing_of_its_colours_has_those_of_the_header(dicom, photometric):
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[:] = (200, 30, 60)
    stored = rgb if photometric == "RGB" else to_ybr(rgb)
    stream = imagecodecs.jpeg8_encode(stored, level=100, colorspace="YCBCR", outcolorspace="YCBCR")
    if stream[2:4] == b"\xff\xe0":  # without JFIF's marker, which says YCbCr
        stream = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", photometric), 0x00280006: ("US", 0)}
    path = dicom(b"", tags, compressed=[stream], rows=16, columns=16, bits=8, syntax=JPEG)
    assert read_image(path, color="rgb").pixels[8, 8] == pytest.approx(rgb[8, 8] / 255, abs=4 / 255)


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT", "RGB"])
def test_the_component_transform_of_jpeg_2000_is_undone_once(dicom, photometric):  # PS3.5 8.2.4
    rgb = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    transformed = photometric != "RGB"
    stream = bytes(encode_array(rgb, bits_stored=8, photometric_interpretation=1, use_mct=transformed))
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", photometric), 0x00280006: ("US", 0)}
    path = dicom(b"", tags, compressed=[stream], rows=64, columns=64, bits=8, syntax=J2K)
    assert read_image(path, color="rgb").pixels == pytest.approx(rgb / 255, abs=1e-7)


def test_the_high_bit_counts_where_the_container_is_stored_and_not_in_a_code_stream(dicom):  # PS3.5 8.1.1
    high = {0x00280101: ("US", 12), 0x00280102: ("US", 15)}
    for path in (
        dicom(GRAY12 << 4, high),
        dicom(GRAY12, high, syntax=RLE, compressed=[rle(GRAY12 << 4)]),
        dicom(GRAY12, high, syntax=J2K, compressed=[j2k(GRAY12, 12)]),
    ):
        np.testing.assert_array_equal(next(read_frames(path)).values, GRAY12)
    beyond = next(read_frames(dicom(GRAY12, {**high, 0x00280102: ("US", 16)})))
    np.testing.assert_array_equal(beyond.values, GRAY12)
    assert "HighBit is 16 with BitsStored 12 of 16: 11 was taken" in beyond.warnings


def test_a_stream_of_more_bits_than_are_allocated_is_refused_and_rle_has_bytes(dicom):
    options = {"rows": 48, "columns": 40, "bits": 8}
    assert refused(dicom(b"", syntax=J2K, compressed=[j2k(GRAY12, 12)], **options)) == "length_mismatch"
    options |= {"bits": 1, "syntax": RLE, "compressed": [rle(GRAY8)]}
    one = {0x00280101: ("US", 1), 0x00280102: ("US", 0)}
    assert refused(dicom(b"", one, **options)) == "bad_header"


def test_what_says_nothing_of_gray_pixels_does_not_change_them(dicom):
    for tags in (
        {0x00280006: ("US", 7)},  # Planar Configuration is of several samples only (PS3.3 C.7.6.3.1.3)
        {0x00280006: ("US", 1)},
        {0x00280004: ("CS", "Monochrome2")},
    ):
        np.testing.assert_array_equal(next(read_frames(dicom(GRAY8, tags))).values, GRAY8)
    one = {0x00280101: ("US", 1), 0x00280102: ("US", 0), 0x00280103: ("US", 1)}  # one bit has no sign
    assert next(read_frames(dicom(b"\x02\0", one, rows=1, columns=2, bits=1))).values.tolist() == [[0, 1]]
    for colours in ("RGB", "YBR_FULL", "YBR_RCT"):
        assert refused(dicom(GRAY8, {0x00280004: ("CS", colours)})) == "bad_header"


def test_zeros_behind_the_pixels_are_padding_up_to_64_kib(dicom):
    for rest, reason in ((1 << 16, ""), ((1 << 16) + 2, "length_mismatch")):
        path = dicom(GRAY8.tobytes() + bytes(rest), rows=48, columns=40, bits=8)
        if reason:
            assert refused(path) == reason
        else:
            np.testing.assert_array_equal(next(read_frames(path)).values, GRAY8)


@pytest.mark.parametrize("frames", [0, 1])
def test_no_frames_are_one(dicom, frames):
    assert len(list(read_frames(dicom(GRAY8, {0x00280008: ("IS", frames)})))) == 1


def test_jpeg_colour_follows_the_tag_unless_the_stream_knows_better(dicom):
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[:] = (200, 30, 60)
    jfif = imagecodecs.jpeg8_encode(rgb, level=100)
    tags = {0x00280002: ("US", 3), 0x00280004: ("CS", "YBR_FULL_422"), 0x00280006: ("US", 0)}
    options = {"rows": 16, "columns": 16, "bits": 8, "syntax": JPEG}
    good = read_image(dicom(b"", tags, compressed=[jfif], **options), color="rgb")
    assert good.pixels[8, 8] == pytest.approx(rgb[8, 8] / 255, abs=3 / 255)
    assert good.warnings == ()
    lying = read_image(dicom(b"", {**tags, 0x00280004: ("CS", "RGB")}, compressed=[jfif], **options), color="rgb")
    assert (lying.pixels == good.pixels).all()
    assert any("the JPEG stream says YCbCr" in note for note in lying.warnings)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(dicom, bits):
    top = (1 << bits) - 1
    red, green, blue = ([0, top, top // 2], [top, 0, 0], [0, 0, top])
    code = "<u2"
    tags = {0x00280004: ("CS", "PALETTE COLOR")}
    for index, table in enumerate((red, green, blue)):
        tags[0x00281101 + index] = ("US", [3, 5, bits])
        data = bytes([*table, 0]) if bits == 8 else np.array(table, code).tobytes()
        tags[0x00281201 + index] = ("OW", data)
    path = dicom(np.array([[0, 5, 6, 7, 99]], np.uint8), tags)
    expected = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0], [top // 2 / top, 0, 1], [top // 2 / top, 0, 1]])
    assert read_image(path, color="rgb").pixels[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("meta", [False, True])
def test_missing_preamble_is_read_and_announced(dicom, syntax, meta):
    image = read_image(dicom(GRAY12, syntax=syntax, preamble=None, meta=meta))
    assert image.pixels == pytest.approx(unit(GRAY12), abs=1e-7)
    assert any("preamble is missing" in note for note in image.warnings)
    assert any("Transfer Syntax UID is missing" in note for note in image.warnings) == (not meta)


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_wrong_syntax_in_the_meta_information_is_announced(dicom):
    path = dicom(GRAY12, syntax=IMPLICIT)
    path.write_bytes(path.read_bytes().replace(b"UI\x12\x001.2.840.10008.1.2\0", b"UI\x14\x001.2.840.10008.1.2.1\0"))
    image = read_image(path)
    assert image.pixels == pytest.approx(unit(GRAY12), abs=1e-7)
    assert any("the data set is Implicit VR" in note for note in image.warnings)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_cut_pixel_data(dicom):
    path = dicom(GRAY12)
    path.write_bytes(path.read_bytes()[:-1])
    assert refused(path) == "truncated"


def test_tag_that_claims_more_than_the_file_holds(dicom):
    path = dicom(GRAY12)
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x30\x00DS\x08\x00", b"\x28\x00\x30\x00DS\xff\xff"))
    assert refused(path) == "truncated"


def test_rows_or_columns_that_disagree_with_the_length(dicom):
    assert refused(dicom(GRAY12 + 1, rows=47)) == "length_mismatch"
    assert refused(dicom(GRAY12 + 1, columns=39)) == "length_mismatch"
    assert refused(dicom(GRAY12 + 1, rows=49)) == "truncated"


def test_a_few_bytes_behind_the_last_pixel_are_announced(dicom):
    image = read_image(dicom(GRAY12.tobytes() + b"\0" * 64, rows=48, columns=40, bits=16))
    assert image.pixels == pytest.approx(unit(GRAY12), abs=1e-7)
    assert "64 bytes behind the last pixel were ignored" in image.warnings


def test_impossible_sizes_are_refused_before_allocation(dicom):
    assert refused(dicom(b"\0" * 8, rows=65535, columns=65535, bits=16)) == "too_large"
    assert refused(dicom(b"\0" * 8, rows=0, columns=4, bits=16)) == "bad_header"
    assert refused(dicom(b"\0" * 8, rows=2, columns=2, bits=16, frames=2**31 - 1)) == "truncated"
    assert refused(dicom(b"\0" * 8, {0x00280101: ("US", 17)}, rows=2, columns=2, bits=16)) == "bad_header"


@pytest.mark.parametrize("codec", ["jpeg", "jpeg_ls", "jpeg_2000"])
def test_code_stream_without_its_end_marker_is_truncated(dicom, codec):
    whole = {
        "jpeg": imagecodecs.jpeg8_encode(GRAY8),
        "jpeg_ls": bytes(jpeg_ls.encode_array(GRAY8)),
        "jpeg_2000": j2k(GRAY8, 8),
    }[codec]
    syntax = {"jpeg": JPEG, "jpeg_ls": JPEG_LS, "jpeg_2000": J2K}[codec]
    assert refused(dicom(GRAY8, syntax=syntax, compressed=[whole[: len(whole) * 3 // 4]])) == "truncated"
    assert read_image(dicom(GRAY8, syntax=syntax, compressed=[whole + b"\xff\0"])).warnings == ()


def test_jpeg_2000_of_another_size_is_refused_before_it_is_decoded(dicom):
    stream = bytearray(j2k(GRAY8, 8))
    stream[8:16] = struct.pack(">II", 60000, 60000)  # Xsiz, Ysiz
    stream[24:32] = struct.pack(">II", 60000, 60000)  # XTsiz, YTsiz: one tile
    assert refused(dicom(GRAY8, syntax=J2K, compressed=[bytes(stream)])) == "length_mismatch"


def test_rle_that_lies_about_its_size(dicom):
    assert refused(dicom(b"", rows=9000, columns=9000, bits=16, syntax=RLE, compressed=[rle(GRAY12)])) == "truncated"
    assert refused(dicom(GRAY12, rows=24, syntax=RLE, compressed=[rle(GRAY12)])) == "corrupt"
    assert refused(dicom(GRAY8, syntax=RLE, compressed=[rle(GRAY12)])) == "corrupt"


def test_deflate_bomb_is_refused(dicom):
    # 100 MB of zeros deflate to 100 kB.
    assert refused(dicom(b"\0" * 100_000_000, rows=10000, columns=10000, bits=8, syntax=DEFLATED)) == "too_large"


def test_deflated_file_may_end_behind_any_byte(dicom):
    # Black at the end packs to so few bits that the decoder takes the last byte with values still to be given.
    black = np.zeros((6143, 1024), np.uint8)
    size = len(inflated(dicom(black, {0x00204000: ("LT", b"")}, syntax=DEFLATED)))
    for beyond in (0, 32, 64):  # of whole MiB, the pieces in which it is inflated
        comment = b" " * ((6 << 20) + beyond - size)
        path = dicom(black, {0x00204000: ("LT", comment)}, syntax=DEFLATED)
        assert len(inflated(path)) == (6 << 20) + beyond
        assert read_image(path).pixels.shape == black.shape


def inflated(path):
    data = path.read_bytes()
    start = 132 + 12 + struct.unpack("<I", data[140:144])[0]  # group 2 begins with its own length
    return zlib.decompress(data[start:], -zlib.MAX_WBITS)


def test_length_of_all_fragments_may_stand_before_the_pixels(dicom):
    path = dicom(GRAY12, {0x7FE00003: ("UV", struct.pack("<Q", GRAY12.nbytes))})
    assert read_image(path).pixels == pytest.approx(unit(GRAY12), abs=1e-7)


@pytest.mark.parametrize("samples", [{}, {0x00280002: ("US", 3), 0x00280004: ("CS", "YBR_PARTIAL_420")}])
def test_video_names_what_it_is(dicom, samples):  # PS3.5 8.2.5 to 8.2.8 ask for YBR_PARTIAL_420
    path = dicom(GRAY8, samples, syntax="1.2.840.10008.1.2.4.102", compressed=[b"\0" * 16])
    with pytest.raises(UnreadableImage, match="video") as refusal:
        read_image(path)
    assert refusal.value.reason == "no_decoder"


@pytest.mark.parametrize("syntax", ["110", "111", "112"])
@pytest.mark.parametrize("colours", [{}, {0x00280002: ("US", 3), 0x00280004: ("CS", "XYB")}])
def test_jpeg_xl_is_no_damage_but_a_compression_that_is_not_read(dicom, colours, syntax):  # PS3.5 8.2.17
    path = dicom(GRAY8, colours, syntax=f"1.2.840.10008.1.2.4.{syntax}", compressed=[b"\xff\x0a" + b"\0" * 14])
    with pytest.raises(UnreadableImage, match="JPEG XL, which nothing here decodes; export it again unc") as refusal:
        read_image(path)
    assert refusal.value.reason == "no_decoder"


@pytest.mark.parametrize(
    ("coding", "module"), [("JPEG-LS", "jpeg_ls"), ("JPEG 2000", "openjpeg"), ("JPEG, lossless", "imagecodecs")]
)
def test_where_a_decoder_is_missing_its_package_is_named_and_not_its_module(monkeypatch, coding, module):
    (package,) = importlib.metadata.packages_distributions()[module]
    monkeypatch.setitem(sys.modules, module, None)
    assert decoder_states()[coding].endswith(f" is installed; pip install {package}")


def test_object_without_pixels(dicom):
    path = dicom(b"", {0x00280010: None, 0x00280011: None}, rows=1, columns=1, bits=8)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xe0\x7f\x10\x00")])
    assert refused(path) == "no_pixels"


def test_file_meta_information_has_an_end(dicom):
    path = dicom(GRAY8)
    data, private = path.read_bytes(), struct.pack("<HH2sH", 2, 0x0102, b"SH", 0)
    path.write_bytes(data[:132] + 200 * private + data[132:])
    assert read_image(path).shape == GRAY8.shape
    path.write_bytes(data[:132] + 256 * private + data[132:])
    assert refused(path) == "bad_header"


def test_probe_reads_what_streams_say_of_themselves():
    stream = probe_codestream(j2k(GRAY12, 12))
    assert (stream.codec, stream.rows, stream.columns, stream.samples, stream.precision) == ("jpeg_2000", 48, 40, 1, 12)
    stream = probe_codestream(bytes(jpeg_ls.encode_array(GRAY12)))
    assert (stream.codec, stream.rows, stream.columns, stream.samples) == ("jpeg_ls", 48, 40, 1)


def test_fill_bytes_may_stand_before_a_marker_but_no_stream_is_made_of_them():  # ITU-T T.81 B.1.1.2
    stream = bytes(imagecodecs.jpeg8_encode(GRAY8))
    assert probe_codestream(stream[:2] + b"\xff" * 100 + stream[2:]) == probe_codestream(stream)
    for filling in (b"\xff", b"\xff\xd0", b"\xff\xe1\0\2"):
        with pytest.raises(UnreadableImage, match="no start of frame"):
            probe_codestream(stream[:2] + filling * 5000 + stream[2:])


def test_decode_rle_of_three_samples_and_two_bytes():
    values = np.random.default_rng(20).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    decoded = decode_rle(rle(values), rows=5, columns=7, samples=3, bits_allocated=16)
    assert (decoded == values).all()
