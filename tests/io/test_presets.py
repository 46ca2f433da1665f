"""Each preset does what its table says: values worked out by hand from the formula that the preset names."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from medvlp.core.errors import UserError
from medvlp.io import UnreadableImage, Volume, open_slices, preset_info, preset_names, read_image, read_volume, window
from medvlp.io.affine import Affine
from medvlp.io.dicom_display import eight_bits, equalise
from medvlp.io.presets import EqualisedJpeg, FileDisplay, FixedWindow, Percentiles
from medvlp.io.volume_display import curve_of
from tests.io.ct_series import RESCALE_INTERCEPT, RESCALE_SLOPE, RESCALE_TYPE, write_series

CT = {0x00080060: ("CS", "CT"), 0x00281052: ("DS", [-1024]), 0x00281053: ("DS", [1])}
MR = {0x00080060: ("CS", "MR")}
FILM, ANY = ("CR", "DX", "RG"), ()
#: curve, modalities, pictures, polarity, hang: a published preset never changes, another behaviour is another version
PUBLISHED = {
    "dicom_voi_v1": (FileDisplay(), ANY, True, True, True),
    "mimic_jpg_v1": (EqualisedJpeg("minimum"), FILM, True, True, False),
    "chexpert_jpg_v1": (EqualisedJpeg("zero"), FILM, True, True, False),
    "ct_lung_v1": (FixedWindow(-600, 1500), ("CT",), False, False, False),
    "ct_mediastinum_v1": (FixedWindow(50, 350), ("CT",), False, False, False),
    "ct_soft_tissue_v1": (FixedWindow(50, 400), ("CT",), False, False, False),
    "ct_liver_v1": (FixedWindow(30, 150), ("CT",), False, False, False),
    "ct_bone_v1": (FixedWindow(400, 1800), ("CT",), False, False, False),
    "ct_brain_v1": (FixedWindow(40, 80), ("CT",), False, False, False),
    "ct_stroke_v1": (FixedWindow(40, 40), ("CT",), False, False, False),
    "mr_percentile_v1": (Percentiles(0.5, 99.5), ("MR",), False, False, False),
}


def refusal(path, **options):
    with pytest.raises(UnreadableImage) as refused:
        read_image(path, **options)
    return refused.value


def test_published_presets_are_what_they_were():
    found = {name: preset_info(name) for name in preset_names()}
    assert {n: (p.curve, p.modalities, p.rasters, p.polarity, p.hang) for n, p in found.items()} == PUBLISHED


# the JPEG files of two data sets -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), min_size=2, max_size=60))
def test_equalised_value_is_255_times_the_share_of_pixels_above_the_smallest_up_to_it(values):
    shown = equalise(np.array(values, np.uint8))
    rest = [v for v in values if v > min(values)]
    for value, new in zip(values, shown.tolist(), strict=True):
        exact = 255 * sum(v <= value for v in rest) / len(rest) if rest else value
        assert abs(new - exact) <= 0.5 + 1e-4  # rounded; 1e-4 for the float32 that the definition computes in


def test_negative_stored_values_are_shown_by_their_size_where_only_the_maximum_divides():
    assert eight_bits(np.array([-300, -50, 0, 100]), EqualisedJpeg("zero")).tolist() == [255, 128, 0, 255]
    assert eight_bits(np.array([-300, -50, 0, 100]), EqualisedJpeg("minimum")).tolist() == [0, 159, 191, 255]


def test_a_picture_of_one_value_is_not_equalised():
    assert equalise(np.full((2, 2), 7, np.uint8)).tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize(
    ("preset", "stored", "shown"),
    [
        # (v - 10) / 100 * 255 is 0, 25.5, 51, 255: cut to 0, 25, 51, 255; shares above the smallest 1/3, 2/3, 1
        ("mimic_jpg_v1", [10, 20, 30, 110], [0, 85, 170, 255]),
        # 4 / 1000 * 255 is 1.02: a gray of its own; shares 1/2, 1, and 127.5 rounds to even 128
        ("mimic_jpg_v1", [1000, 1004, 2000], [0, 128, 255]),
        # 0.51 is cut to 0, not rounded to 1
        ("mimic_jpg_v1", [1000, 1002, 2000], [0, 0, 255]),
        # 1000 / 2000 * 255 is 127.5, 1004 / 2000 * 255 is 128.01: both round to 128
        ("chexpert_jpg_v1", [1000, 1004, 2000], [0, 0, 255]),
        # 182.14 and 182.69 round to 182 and 183
        ("chexpert_jpg_v1", [1000, 1003, 1400], [0, 128, 255]),
    ],
)
def test_radiograph_as_the_jpeg_of_the_data_set(dicom, preset, stored, shown):
    image = read_image(dicom(np.array([stored], np.uint16)), preset=preset)
    assert (image.pixels[0] * 255).round(3).tolist() == shown
    assert image.warnings == ()


@pytest.mark.parametrize("preset", ["mimic_jpg_v1", "chexpert_jpg_v1"])
def test_jpeg_presets_invert_monochrome1_before_equalising_and_ignore_all_else(dicom, preset):
    # Inverted, the smallest is the former largest: shares are counted from the other end.
    tags = {
        0x00280004: ("CS", "MONOCHROME1"), 0x00281050: ("DS", [20]), 0x00281051: ("DS", [5]),
        0x00281052: ("DS", [-1000]), 0x00281053: ("DS", [3]), 0x00280120: ("US", 110), 0x00200020: ("CS", "R\\F"),
    }  # fmt: skip
    image = read_image(dicom(np.array([[10, 10, 30, 110]], np.uint16), tags), preset=preset)
    assert (image.pixels[0] * 255).round(3).tolist() == [255, 255, 85, 0]


@pytest.mark.parametrize("preset", ["mimic_jpg_v1", "chexpert_jpg_v1"])
def test_pictures_are_the_jpegs_already(tmp_path, preset):
    values = np.array([[3, 5, 90]], np.uint8)
    Pillow.fromarray(values).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", preset=preset).pixels[0] == pytest.approx(values[0] / 255)


@pytest.mark.parametrize("preset", ["mimic_jpg_v1", "chexpert_jpg_v1"])
def test_black_film_is_black_and_announced(dicom, preset):
    image = read_image(dicom(np.zeros((2, 2), np.uint16)), preset=preset)
    assert not image.pixels.any()
    assert image.warnings == ("all pixels have the same value",)


# CT windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("ct_")])
def test_ct_window_is_linear_from_center_less_half_to_center_plus_half(dicom, name):
    center, width = PUBLISHED[name][0].center, PUBLISHED[name][0].width
    hounsfield = np.array([[-1024, center - width / 2, center - width / 4, center, center + width / 2, 3000]])
    expected = np.clip((hounsfield - center) / width + 0.5, 0, 1)
    assert window(hounsfield, name) == pytest.approx(expected, abs=1e-6)
    image = read_image(
        dicom((2 * (hounsfield + 1024)).astype(np.int16), {**CT, 0x00281053: ("DS", [0.5])}), preset=name
    )
    assert image.pixels == pytest.approx(expected, abs=1e-6)
    assert image.warnings == ()


def test_ct_window_is_the_presets_not_the_files_and_never_inverted(dicom):
    tags = {**CT, 0x00280004: ("CS", "MONOCHROME1"), 0x00281050: ("DS", [5000]), 0x00281051: ("DS", [1])}
    image = read_image(dicom(np.array([[984, 1024, 1064, 1104]], np.uint16), tags), preset="ct_brain_v1")
    assert image.pixels[0].tolist() == [0, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({0x00080060: ("CS", "DX")}, "ct_lung_v1 is for Modality CT, its Modality is DX"),
        ({0x00080060: None}, "its Modality is missing"),
        ({0x00080060: ("CS", "CT")}, "it has no RescaleSlope"),
        ({**CT, 0x00281054: ("LO", "MGML")}, "its RescaleType is not HU"),
        ({**CT, 0x00080008: ("CS", "ORIGINAL\\PRIMARY\\LOCALIZER")}, "it is a localizer"),
    ],
)
def test_what_is_not_in_hounsfield_units_has_no_ct_window(dicom, tags, why):
    refused = refusal(dicom(np.zeros((2, 2), np.uint16), tags), preset="ct_lung_v1")
    assert refused.reason == "preset_mismatch"
    assert why in refused.detail


def test_presets_refuse_what_they_do_not_fit(dicom, tmp_path):
    Pillow.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "a.png")
    for preset in ("ct_lung_v1", "mr_percentile_v1"):
        assert refusal(tmp_path / "a.png", preset=preset).reason == "preset_mismatch"
    scan = dicom(np.zeros((2, 2), np.uint16), CT)
    for preset in ("mimic_jpg_v1", "mr_percentile_v1"):
        assert refusal(scan, preset=preset).reason == "preset_mismatch"
    colour = {0x00280002: ("US", 3), 0x00280004: ("CS", "RGB"), 0x00280006: ("US", 0)}
    film = dicom(bytes(12), colour, rows=2, columns=2, bits=8)
    assert "it is in colour" in refusal(film, preset="mimic_jpg_v1").detail


# MR percentiles ------------------------------------------------------------------------------------------------------


def test_mr_goes_from_percentile_half_to_99_and_a_half_of_what_is_not_0(dicom):
    # Of 1 to 1001 these are 1 + 0.005 * 1000 = 6 and 996, however many zeros lie around.
    values = np.concatenate([np.zeros(2999), np.arange(1, 1002)]).astype(np.uint16).reshape(40, 100)
    image = read_image(dicom(values, MR), preset="mr_percentile_v1")
    assert image.pixels == pytest.approx(np.clip((values - 6.0) / 990, 0, 1), abs=1e-6)
    assert (window(values, "mr_percentile_v1") == image.pixels).all()
    assert image.warnings == ()


def test_mr_padding_is_left_out_and_black(dicom):
    values = np.append(np.arange(1, 1002), [4000] * 11).astype(np.uint16).reshape(22, 46)
    image = read_image(dicom(values, {**MR, 0x00280120: ("US", 4000)}), preset="mr_percentile_v1")
    assert image.pixels.ravel()[:1001] == pytest.approx(np.clip((np.arange(1, 1002) - 6.0) / 990, 0, 1), abs=1e-6)
    assert not image.pixels.ravel()[1001:].any()


@pytest.mark.parametrize(
    ("values", "shown", "notes"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], ("all pixels have the same value",)),
        ([9, 9, 9, 9], [0, 0, 0, 0], ("all pixels have the same value",)),
        ([0, 9, 9, 0], [0, 1, 1, 0], ()),  # a mask: percentiles are equal, minimum to maximum counts
    ],
)
def test_mr_of_one_or_two_values(dicom, values, shown, notes):
    image = read_image(dicom(np.array([values], np.uint16), MR), preset="mr_percentile_v1")
    assert image.pixels[0].tolist() == shown
    assert image.warnings == notes


# volumes -------------------------------------------------------------------------------------------------------------


def volume(values, **meta):
    return Volume(np.asarray(values, np.float32).reshape(1, 2, 2), Affine(np.eye(4)), meta=meta, steps=("read",))


def test_volume_in_a_window_says_so_and_keeps_its_place():
    source = volume([-1350, -600, 150, np.nan])
    shown = window(source, "ct_lung_v1")
    assert shown.voxels.dtype == np.float32
    assert shown.voxels.ravel().tolist() == [0, 0.5, 1, 0]
    assert shown.affine is source.affine
    assert shown.steps == (
        "read",
        "values of interest: ct_lung_v1, center -600, width 1500 (-1350 to 150 HU), LINEAR_EXACT",
    )
    assert shown.warnings == ("voxels that are not finite, shown black: 1",)


def test_volume_without_air_and_without_modality_is_doubted():
    assert "may not be Hounsfield units" in window(volume([0, 1, 2, 4000]), "ct_lung_v1").warnings[0]
    assert window(volume([0, 1, 2, 4000], Modality="CT"), "ct_lung_v1").warnings == ()
    assert window(volume([-1000, 1, 2, 4000]), "ct_lung_v1").warnings == ()


def test_volume_of_another_modality_is_refused():
    with pytest.raises(UnreadableImage, match="ct_lung_v1 is for Modality CT, its Modality is MR"):
        window(volume([0, 1, 2, 3], Modality="MR"), "ct_lung_v1")


@pytest.mark.parametrize(
    ("changed", "unit"),
    [
        ({RESCALE_SLOPE: None, RESCALE_INTERCEPT: None, RESCALE_TYPE: None}, "unspecified"),
        ({RESCALE_TYPE: ("LO", "US")}, "US"),
        ({0x00283000: ("SQ", [{0x00283002: ("US", [2, 0, 16]), 0x00283004: ("LO", "OD"),
                               0x00283006: ("OW", bytes(4))}])}, "OD"),
        ({RESCALE_TYPE: ("LO", "hu")}, "HU"),
        ({RESCALE_TYPE: None}, "HU"),  # PS3.3 C.8.2.1.1: of CT
    ],
)  # fmt: skip
def test_a_ct_window_is_for_hounsfield_units_of_a_volume_as_of_an_image(dicom, tmp_path, changed, unit):
    folder = write_series(dicom, tmp_path / "s", change=lambda k, tags: tags | changed)
    slices = open_slices(folder)
    assert slices.meta["Units"] == unit
    for shown in (
        lambda: window(read_volume(folder), "ct_lung_v1"),
        lambda: curve_of("ct_lung_v1", meta=slices.meta, values=slices.values),
        lambda: read_image(folder / "00.dcm", preset="ct_lung_v1"),
    ):
        with nullcontext() if unit == "HU" else pytest.raises(UnreadableImage, match="preset_mismatch"):
            shown()


def test_a_volume_is_put_in_a_window_once():
    with pytest.raises(UserError, match="holds display values already"):
        window(window(volume([-1000, 1, 2, 3]), "ct_lung_v1"), "ct_bone_v1")


def test_constant_volume_is_black_and_announced():
    shown = window(volume([5, 5, 5, 5]), "mr_percentile_v1")
    assert not shown.voxels.any()
    assert shown.warnings == ("all voxels have the same value",)


def test_presets_of_images_are_none_of_volumes():
    with pytest.raises(UserError, match=r"mimic_jpg_v1 is a preset for 2D images, not for volumes: choose one of ct_"):
        window(np.zeros(3), "mimic_jpg_v1")


# windows of the file -------------------------------------------------------------------------------------------------

SEVERAL = {
    0x00281050: ("DS", [50, 200, 9]), 0x00281051: ("DS", [100, 21, 0]), 0x00281055: ("LO", "Lung\\SOFT TISSUE\\NONE"),
}  # fmt: skip
LUT = {0x00283010: ("SQ", [{0x00283002: ("US", [2, 0, 8]), 0x00283006: ("US", [255, 0])}])}
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def linear(x, c, w):
    return np.clip((np.asarray(x, float) - (c - 0.5)) / (w - 1) + 0.5, 0, 1)


@pytest.mark.parametrize(
    ("choice", "center", "width"), [(0, 50, 100), (1, 200, 21), ("lung", 50, 100), ("Soft tissue ", 200, 21)]
)
@pytest.mark.parametrize("more", [{}, LUT], ids=["", "with_lut"])
def test_window_is_chosen_by_number_or_explanation_before_a_lut(dicom, choice, center, width, more):
    image = read_image(dicom(RAMP, {**SEVERAL, **more}), window=choice)
    assert image.pixels == pytest.approx(linear(RAMP, center, width), abs=1e-6)
    assert image.meta["Windows"] == "50/100, 200/21, 9/0"
    assert image.warnings == ()


@pytest.mark.parametrize("choice", [2, 3, -1, "BONE", 1.5, (50, 100)])
def test_window_that_is_not_there_or_not_valid_is_refused(dicom, choice):
    refused = refusal(dicom(RAMP, SEVERAL), window=choice)
    assert refused.reason == "bad_window"
    assert "WindowWidth 0" in refused.detail if choice == 2 else "0: 50/100, 1: 200/21, 2: 9/0" in refused.detail


def test_files_without_windows_have_none_to_choose(dicom, tmp_path):
    Pillow.fromarray(RAMP).save(tmp_path / "a.png")
    assert refusal(dicom(RAMP), window=0).reason == refusal(tmp_path / "a.png", window=0).reason == "bad_window"
    with pytest.raises(UserError, match="does not look at a file's windows"):
        read_image(dicom(RAMP), window=0, preset="mimic_jpg_v1")
