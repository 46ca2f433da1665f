"""Burned-in text: found and painted over, or refused; and nothing else of the picture is touched."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from medvlp.core.randomness import numpy_generator
from medvlp.io import UnreadableImage
from medvlp.io.deidentify.burned_in import find_text
from medvlp.io.deidentify.dicom import deidentify_dicom
from medvlp.io.deidentify.profile import Profile
from medvlp.io.deidentify.secret import Secret
from tests.io.deidentify.planted import planted

SECRET = Secret(b"k" * 32)


def noisy(rows: int = 400, columns: int = 600) -> np.ndarray:
    """A smooth picture of 12 bits with noise."""
    y, x = np.mgrid[:rows, :columns]
    smooth = 1500 + 900 * np.sin(x / 90) * np.cos(y / 70)
    return np.clip(smooth + numpy_generator(0, 0, "noisy").normal(0, 25, smooth.shape), 0, 4095).astype(np.uint16)


def drawn(picture: np.ndarray, words: str, at: tuple[int, int], size: int, ink: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture with words, and which pixels they are."""
    layer = Image.new("L", picture.shape[::-1])
    ImageDraw.Draw(layer).text(at, words, fill=255, font=ImageFont.load_default(size=size))
    alpha = np.asarray(layer) / 255
    return np.rint(picture * (1 - alpha) + alpha * ink).astype(picture.dtype), alpha > 0.5


@pytest.mark.parametrize("size", [20, 26, 33, 40])
@pytest.mark.parametrize("ink", [0, 4095])
def test_words_of_20_to_40_pixels_are_found_and_little_else(size: int, ink: int) -> None:
    picture, text = drawn(noisy(), "DOE^JANE 4711", (60, 150), size, ink)
    mask = find_text(picture)
    assert mask[text].mean() >= 0.98
    rows, columns = np.nonzero(text)
    around = np.zeros_like(text)
    around[rows.min() - 12 : rows.max() + 12, columns.min() - 12 : columns.max() + 12] = True
    assert (mask & ~around).mean() <= 0.02


def test_a_clean_picture_and_a_lone_side_marker_stay() -> None:
    assert not find_text(noisy()).any()
    assert not find_text(drawn(noisy(), "L", (520, 20), 40, 4095)[0]).any()


def test_three_letters_in_a_row_are_text_and_two_are_none() -> None:
    assert find_text(drawn(noisy(), "JDX", (420, 60), 40, 4095)[0]).any()
    assert not find_text(drawn(noisy(), "JD", (420, 60), 40, 4095)[0]).any()


def test_the_mask_is_that_of_the_mirrored_values() -> None:
    picture = drawn(noisy(), "DOE^JANE", (60, 150), 30, 4095)[0]
    assert np.array_equal(find_text(picture), find_text(4095 - picture.astype(np.int32)))


def with_text(folder: Path, **changes: object) -> tuple[Path, np.ndarray]:
    path = planted(folder)
    dataset = dcmread(path)
    picture, text = drawn(noisy() // 4, "DOE^JANE 4711", (60, 150), 30, 1023)
    dataset.Rows, dataset.Columns = picture.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 10, 9, 0
    dataset.PhotometricInterpretation, dataset.PixelData = "MONOCHROME2", picture.astype("<u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset["PixelData"].is_undefined_length = False
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit", "VOILUTSequence"):
        if keyword in dataset:
            delattr(dataset, keyword)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dcmwrite(path, dataset)
    return path, text


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_text_is_painted_dark_and_every_other_pixel_kept(tmp_path: Path, photometric: str) -> None:
    path, text = with_text(tmp_path, PhotometricInterpretation=photometric, BurnedInAnnotation="NO")
    before = dcmread(path).pixel_array
    made = deidentify_dicom(path, profile=Profile(), secret=SECRET)
    after = dcmread(io.BytesIO(made.data))
    mask = find_text(before)
    assert np.array_equal(after.pixel_array[~mask], before[~mask])
    assert set(after.pixel_array[mask]) == {before.max() if photometric == "MONOCHROME1" else before.min()}
    assert after.pixel_array[text].std() < 0.02 * before[text].max()
    assert after.BurnedInAnnotation == "NO"
    assert (made.pixels.seen, made.pixels.frames) == (True, 1)


@pytest.mark.parametrize("kind", ["66.4", "66.7"])
def test_segments_that_stand_in_a_row_like_letters_stay_as_they_were_drawn(tmp_path: Path, kind: str) -> None:
    """Ribs in fractions or as labels (PS3.3 A.51): no text is ever drawn into a segmentation."""
    y, x = np.mgrid[:256, :256]
    ribs = sum(((((x - 60 - 18 * n) / 3.5) ** 2 + ((y - 120) / 14) ** 2 <= 1) * (n + 5) for n in range(5)), 0 * x)
    assert find_text(ribs).any()
    tags = {"SOPClassUID": f"1.2.840.10008.5.1.4.1.1.{kind}", "Rows": 256, "Columns": 256}
    tags |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": ribs.astype(np.uint8).tobytes()}
    path, _ = with_text(tmp_path, **tags)
    made = deidentify_dicom(path, profile=Profile(), secret=SECRET)
    assert np.array_equal(dcmread(io.BytesIO(made.data)).pixel_array, ribs)
    assert (made.pixels.seen, made.pixels.frames) == (False, 0)


def test_flag_leaves_out_files_with_text_and_files_that_say_so(tmp_path: Path) -> None:
    path, _ = with_text(tmp_path)
    with pytest.raises(UnreadableImage, match="text was found in 1 of its 1 frames"):
        deidentify_dicom(path, profile=Profile(pixels="flag"), secret=SECRET)
    clean = planted(tmp_path, name="clean.dcm")
    dataset = dcmread(clean)
    dataset.BurnedInAnnotation = "YES"
    dcmwrite(clean, dataset)
    with pytest.raises(UnreadableImage, match="says that text is burned in, and none was found"):
        deidentify_dicom(clean, profile=Profile(), secret=SECRET)
    kept = deidentify_dicom(clean, profile=Profile(pixels="keep"), secret=SECRET)
    assert dcmread(io.BytesIO(kept.data)).BurnedInAnnotation == "YES"
    codes = [item.CodeValue for item in dcmread(io.BytesIO(kept.data)).DeidentificationMethodCodeSequence]
    assert "113101" not in codes


def test_compressed_and_big_endian_files_are_masked_to_the_same_pixels(tmp_path: Path) -> None:
    path, _ = with_text(tmp_path)
    plain = dcmread(io.BytesIO(deidentify_dicom(path, profile=Profile(), secret=SECRET).data)).pixel_array
    dataset = dcmread(path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dcmwrite(tmp_path / "rle.dcm", dataset)
    big = dcmread(path)
    big.PixelData = big.pixel_array.astype(">u2").tobytes()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(tmp_path / "big.dcm", big, implicit_vr=False, little_endian=False)
    for name in ("rle.dcm", "big.dcm"):
        made = dcmread(io.BytesIO(deidentify_dicom(tmp_path / name, profile=Profile(), secret=SECRET).data))
        assert np.array_equal(made.pixel_array, plain), name


def test_a_file_without_text_keeps_its_compressed_bytes(tmp_path: Path) -> None:
    path = planted(tmp_path)
    dataset = dcmread(path)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dcmwrite(path, dataset)
    made = dcmread(io.BytesIO(deidentify_dicom(path, profile=Profile(), secret=SECRET).data))
    assert made.PixelData == dcmread(path).PixelData


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "JPEGLSNearLossless_16.dcm", "JPEG2000.dcm"])
@pytest.mark.parametrize("pixels", ["mask", "keep"])
def test_what_a_compressed_stream_says_beside_its_picture_is_gone(tmp_path: Path, name: str, pixels: str) -> None:
    """EXIF, as of a camera, and comments (ITU-T T.81 B.2.4.5 and B.2.4.6; ISO/IEC 15444-1 A.9.2)."""
    dataset = dcmread(get_testdata_file(name))
    before = dataset.pixel_array
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    head = 4 + int.from_bytes(frame[4:6]) if name == "JPEG2000.dcm" else 2  # behind SIZ, which is the first
    markers = (b"\xff\x64",) if name == "JPEG2000.dcm" else (b"\xff\xe1", b"\xff\xfe")
    said = b"\xff".join(marker + (15).to_bytes(2) + b"Exif\0DOE^JANE" for marker in markers)  # a fill byte between
    behind = frame[:2] + said + b"\xff\xd9"  # a second picture, as of a telephone
    dataset.PixelData = encapsulate([frame[:head] + said + frame[head:] + behind])
    dcmwrite(tmp_path / "said.dcm", dataset)
    assert np.array_equal(dcmread(tmp_path / "said.dcm").pixel_array, before)
    made = deidentify_dicom(tmp_path / "said.dcm", profile=Profile(pixels=pixels), secret=SECRET)
    assert b"JANE" not in made.data
    assert np.array_equal(dcmread(io.BytesIO(made.data)).pixel_array, before)


@pytest.mark.parametrize("pixels", ["mask", "keep"])
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_bigendian.dcm", "rtdose.dcm", "SC_ybr_full_uncompressed.dcm"]
)
def test_bytes_behind_the_last_pixel_are_gone(tmp_path: Path, name: str, pixels: str) -> None:
    """Whatever memory an exporter wrote: no picture has them (PS3.5 8.1). More may be rows that are not told."""
    dataset = dcmread(get_testdata_file(name))
    before = bytes(dataset.PixelData)
    for rest in (b"DOE^JANE", bytes(10_000)):
        dataset.PixelData = before + rest
        dcmwrite(tmp_path / "long.dcm", dataset)
        made = deidentify_dicom(tmp_path / "long.dcm", profile=Profile(pixels=pixels), secret=SECRET)
        assert dcmread(io.BytesIO(made.data)).PixelData == before
    dataset.PixelData = before + bytes(10_000) + b"DOE^JANE"
    dcmwrite(tmp_path / "long.dcm", dataset)
    with pytest.raises(UnreadableImage) as told:
        deidentify_dicom(tmp_path / "long.dcm", profile=Profile(pixels=pixels), secret=SECRET)
    assert told.value.reason == "length_mismatch"


@pytest.mark.parametrize("pixels", ["mask", "keep"])
@pytest.mark.parametrize("slice_", [False, True])
def test_an_overlay_in_unused_bits_is_wiped(tmp_path: Path, pixels: str, slice_: bool) -> None:
    path = planted(tmp_path)
    dataset = dcmread(path)
    values = np.full((64, 64), 100, "<u2")
    values[20:30, 20:30] |= 1 << 12
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 10, 9, 0
    dataset.PixelData = values.tobytes()
    dataset.add_new(0x60000102, "US", 12)
    if slice_:
        dataset.SOPClassUID, dataset.ImageType = "1.2.840.10008.5.1.4.1.1.2", ["ORIGINAL", "PRIMARY"]
    dcmwrite(path, dataset)
    made = dcmread(io.BytesIO(deidentify_dicom(path, profile=Profile(pixels=pixels), secret=SECRET).data))
    assert set(np.frombuffer(made.PixelData, "<u2")) == {100}


def in_12_of_16_bits(folder: Path, position: int) -> Path:
    """A slice whose 12 bits are the upper ones, and an overlay below them."""
    path = planted(folder)
    dataset = dcmread(path)
    overlay = np.zeros((64, 64), "<u2")
    overlay[20:30, 20:30] = 1 << position
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 15, 0
    dataset.PixelData = ((100 << 4) | overlay).astype("<u2").tobytes()
    dataset.SOPClassUID, dataset.ImageType = "1.2.840.10008.5.1.4.1.1.2", ["ORIGINAL", "PRIMARY"]
    dataset.add_new(0x60000010, "US", 64)
    dataset.add_new(0x60000011, "US", 64)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", position)
    dcmwrite(path, dataset)
    return path


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_an_overlay_below_the_stored_bits_is_wiped(tmp_path: Path, position: int) -> None:
    path = in_12_of_16_bits(tmp_path, position)
    before = dcmread(path).pixel_array >> 4
    made = dcmread(io.BytesIO(deidentify_dicom(path, profile=Profile(), secret=SECRET).data))
    assert (made.BitsStored, made.HighBit) == (12, 11)
    assert np.array_equal(np.frombuffer(made.PixelData, "<u2").reshape(64, 64), before)
    assert set(before.ravel()) == {100}


def test_an_overlay_with_data_of_its_own_leaves_the_pixels_alone(tmp_path: Path) -> None:
    path = in_12_of_16_bits(tmp_path, 0)
    dataset = dcmread(path)
    dataset.add_new(0x60003000, "OW", bytes(64 * 64 // 8))
    dcmwrite(path, dataset)
    made = dcmread(io.BytesIO(deidentify_dicom(path, profile=Profile(), secret=SECRET).data))
    assert made.PixelData == dataset.PixelData
    assert made.HighBit == 15


def test_masked_colours_of_half_width_are_written_as_whole_ones(tmp_path: Path) -> None:
    path = planted(tmp_path)
    dataset = dcmread(path)
    rows, columns = 64, 48
    light = np.add.outer(np.arange(rows), 2 * np.arange(columns)).astype(np.uint8) + 40
    red, blue = np.full((rows, columns // 2), 90, np.uint8), np.full((rows, columns // 2), 170, np.uint8)
    red[:, ::3], blue[:, 1::3] = 120, 110
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = rows, columns, 3, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = np.stack([light[:, ::2], light[:, 1::2], blue, red], axis=-1).tobytes()
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 20
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = columns - 1, rows - 1
    dataset.SequenceOfUltrasoundRegions, dataset.BurnedInAnnotation = [region], ""
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit", "VOILUTSequence"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dcmwrite(path, dataset)
    made = deidentify_dicom(path, profile=Profile(), secret=SECRET)
    after = dcmread(io.BytesIO(made.data))
    assert (made.pixels.frames, after.PhotometricInterpretation) == (1, "YBR_FULL")
    assert len(after.PixelData) == rows * columns * 3
    assert np.array_equal(after.pixel_array[20:], dcmread(path).pixel_array[20:])
    assert len(np.unique(after.pixel_array[:20].reshape(-1, 3), axis=0)) == 1


def test_outside_the_regions_of_an_ultrasound_all_is_dark(tmp_path: Path) -> None:
    path, _ = with_text(tmp_path)
    dataset = dcmread(path)
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 100, 200
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 299, 349
    dataset.SequenceOfUltrasoundRegions = [region]
    dataset.BurnedInAnnotation = ""
    dcmwrite(path, dataset)
    before = dataset.pixel_array
    after = dcmread(io.BytesIO(deidentify_dicom(path, profile=Profile(), secret=SECRET).data)).pixel_array
    assert np.array_equal(after[200:350, 100:300], before[200:350, 100:300])
    outside = np.ones(before.shape, bool)
    outside[200:350, 100:300] = False
    assert set(after[outside]) == {before.min()}


def test_the_corners_of_a_real_ultrasound_lose_their_words() -> None:
    path = Path(str(get_testdata_file("US1_J2KR.dcm")))
    made = deidentify_dicom(path, profile=Profile(), secret=SECRET)
    before, after = dcmread(path).pixel_array, dcmread(io.BytesIO(made.data)).pixel_array
    corner = (slice(0, 105), slice(0, 140))  # hospital and numbers, written in orange
    assert (before[corner].max(axis=-1) > 150).sum() > 500
    assert (after[corner].max(axis=-1) > 150).sum() < 10


@pytest.mark.parametrize("kind", ["2", "2.1", "2.2", "4.4", "128.1"])  # the last three: PS3.3 A.70 to A.72
def test_slices_as_the_scanner_made_them_are_never_painted(tmp_path: Path, kind: str) -> None:
    uid = f"1.2.840.10008.5.1.4.1.1.{kind}"
    path, _ = with_text(tmp_path, SOPClassUID=uid, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    made = deidentify_dicom(path, profile=Profile(), secret=SECRET)
    assert not made.pixels.seen
    assert np.array_equal(dcmread(io.BytesIO(made.data)).pixel_array, dcmread(path).pixel_array)
    dataset = dcmread(path)
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dcmwrite(path, dataset)
    assert deidentify_dicom(path, profile=Profile(), secret=SECRET).pixels.frames == 1
