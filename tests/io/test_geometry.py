"""Spacing is what the standard says it measures, and left is left."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.io import read_image

PICTURE = np.arange(6, dtype=np.uint8).reshape(2, 3)
PIXEL, IMAGER, SCANNED, CALIBRATION, MODALITY = 0x00280030, 0x00181164, 0x00182010, 0x00280A02, 0x00080060


@pytest.mark.parametrize(
    ("tags", "spacing", "kind"),
    [
        ({PIXEL: ("DS", [0.2, 0.2])}, (0.2, 0.2), None),  # "it cannot be determined" (PS3.3 10.7.1.1)
        ({PIXEL: ("DS", [0.2, 0.2]), MODALITY: ("CS", "MR")}, (0.2, 0.2), "calibrated"),
        ({PIXEL: ("DS", [0.2, 0.2]), SCANNED: ("DS", [0.25, 0.25])}, (0.2, 0.2), "calibrated"),
        ({PIXEL: ("DS", [0.2, 0.2]), CALIBRATION: ("CS", "GEOMETRY")}, (0.2, 0.2), "calibrated"),
        ({PIXEL: None, IMAGER: ("DS", [0.14, 0.14])}, (0.14, 0.14), "detector"),
        ({PIXEL: ("DS", [0.1, 0.1]), IMAGER: ("DS", [0.14, 0.14])}, (0.1, 0.1), "calibrated"),
        ({PIXEL: ("DS", [0.14, 0.14]), IMAGER: ("DS", [0.14, 0.14])}, (0.14, 0.14), "detector"),
        (
            {PIXEL: ("DS", [0.14, 0.14]), IMAGER: ("DS", [0.14, 0.14]), CALIBRATION: ("CS", "FIDUCIAL")},
            (0.14, 0.14),
            "calibrated",
        ),
        ({PIXEL: None, SCANNED: ("DS", [0.17, 0.17])}, (0.17, 0.17), "detector"),
        # "Not calibrated: shall be the same as" either (PS3.3 10.7.1.1), and a writer of fewer digits rounds one.
        ({PIXEL: ("DS", [0.17, 0.17]), SCANNED: ("DS", [0.17, 0.17])}, (0.17, 0.17), "detector"),
        ({PIXEL: ("DS", [0.1943, 0.1943]), IMAGER: ("DS", [0.19433, 0.19433])}, (0.19433, 0.19433), "detector"),
    ],
)
def test_spacing_and_what_it_measures(dicom, tags, spacing, kind):
    image = read_image(dicom(PICTURE, tags))
    assert image.spacing == spacing
    assert image.spacing_kind == kind
    assert image.warnings == ()


@pytest.mark.parametrize("value", [[0, 0], [0.0, 0.5], [0.5, 0.0], [-1, 1], "0.5\\abc", "nan\\nan", [0.5]])
def test_spacing_that_is_none_is_announced(dicom, value):
    image = read_image(dicom(PICTURE, {PIXEL: ("DS", value)}))
    assert image.spacing is None
    assert image.spacing_kind is None
    assert any("PixelSpacing" in note and "ignored" in note for note in image.warnings)
    assert "no usable pixel spacing: lengths cannot be measured" in image.warnings


def test_spacing_is_row_then_column_and_non_square_is_announced(dicom):
    image = read_image(dicom(PICTURE, {PIXEL: ("DS", [0.8, 0.5])}))
    assert image.spacing == (0.8, 0.5)
    assert image.warnings == ("pixels are not square: 0.8 mm between rows, 0.5 mm between columns",)


def test_spacing_of_frames_stands_in_their_pixel_measures(dicom):  # PS3.3 C.7.6.16.2.1
    measures = {0x00289110: ("SQ", [{PIXEL: ("DS", [0.8, 0.5])}])}
    for groups in (0x52009229, 0x52009230):
        image = read_image(dicom(PICTURE, {PIXEL: None, groups: ("SQ", [measures])}))
        assert (image.spacing, image.spacing_kind) == ((0.8, 0.5), "calibrated")


def test_aspect_ratio_without_spacing_is_announced(dicom):
    image = read_image(dicom(PICTURE, {PIXEL: None, 0x00280034: ("IS", [4, 3])}))
    assert any("PixelAspectRatio" in note for note in image.warnings)


def hung(dicom, orientation, **tags):
    named = {0x00200020: ("CS", orientation), **{int(tag, 16): value for tag, value in tags.items()}}
    return read_image(dicom(PICTURE, named))


@pytest.mark.parametrize("orientation", ["L\\F", "P\\F", "A\\F", "", "L\\P"])
def test_usual_orientation_is_left_alone(dicom, orientation):
    image = hung(dicom, orientation)
    assert image.pixels == pytest.approx(PICTURE / 5)
    assert image.warnings == ()


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        ("R\\F", PICTURE[:, ::-1]),
        ("L\\H", PICTURE[::-1]),
        ("R\\H", PICTURE[::-1, ::-1]),
        ("F\\L", PICTURE.T),
        ("H\\L", PICTURE.T[::-1]),
        ("F\\R", PICTURE.T[:, ::-1]),
        ("P\\H", PICTURE[::-1]),
    ],
)
def test_frontal_view_hangs_with_left_on_the_viewers_right_and_feet_down(dicom, orientation, expected):
    image = hung(dicom, orientation)
    assert image.pixels == pytest.approx(expected / 5)
    assert any("PatientOrientation" in note for note in image.warnings)
    assert any(step.startswith("hanging: ") for step in image.steps)


def test_transposing_swaps_the_spacing(dicom):
    tags = {PIXEL: ("DS", [0.8, 0.5]), 0x00200020: ("CS", "F\\L")}
    assert read_image(dicom(PICTURE, tags)).spacing == (0.5, 0.8)


def test_hands_and_other_modalities_hang_otherwise(dicom):
    hand = {0x00200020: ("CS", "R\\F"), 0x00180015: ("CS", "HAND")}
    others = [{0x00200020: ("CS", "R\\F"), 0x00080060: ("CS", modality)} for modality in ("MR", "MG")]
    for tags in (hand, *others):
        assert read_image(dicom(PICTURE, tags)).pixels == pytest.approx(PICTURE / 5)
