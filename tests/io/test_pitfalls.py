"""Each numbered pitfall of 2D reading: a file of known truth is read right, a guess is announced, a good file is not.

The neighbours test the same rules one by one: display (1 to 8, 10), syntaxes (9, 11 to 14), geometry (23, 24),
refusals (26), presets (the choice of a window, 5).
"""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.io import inspect, read_image
from medvlp.io.frame_values import read_frames
from tests.io.dx_files import DX_FILES, GRAY8, H, W, full

PITFALLS = {*range(1, 15), *range(23, 27)}


def test_every_pitfall_has_a_file_and_33_are_put_before_other_readers():
    assert {case.pitfall for case in DX_FILES} == PITFALLS
    assert sum(case.scored for case in DX_FILES) == 33


@pytest.mark.parametrize("case", DX_FILES, ids=lambda case: f"{case.pitfall}-{case.name}")
def test_file_of_known_truth_is_read_right_and_only_guesses_are_announced(dicom, case):
    image = read_image(dicom(case.pixels, case.tags, **case.options))
    assert image.pixels == pytest.approx(case.truth, abs=1e-6)
    if case.note is None:
        assert image.warnings == ()
    else:
        assert any(case.note in note for note in image.warnings)


def test_contradictions_and_guesses_are_announced_and_nothing_else(dicom):
    # One file, all guesses at once: each has its own sentence.
    tags = {
        0x00280030: None, 0x00280034: ("IS", [4, 3]), 0x00281050: ("DS", [9]), 0x00281051: ("DS", [-5]),
        0x20500020: ("CS", "INVERSE"), 0x00200020: ("CS", "R\\F"),
    }  # fmt: skip
    assert read_image(dicom(GRAY8, tags)).warnings == (
        "WindowWidth -5 is not allowed: window was passed over",
        "PresentationLUTShape INVERSE contradicts MONOCHROME2: the image was inverted once",
        "no usable pixel spacing: lengths cannot be measured",
        "pixels are not square: PixelAspectRatio 4\\3",
        "PatientOrientation R\\F is unusual: the picture was turned to hang as a radiologist expects it",
    )


def test_spacing_of_the_detector_and_of_the_patient_are_told_apart(dicom):
    film = read_image(dicom(GRAY8, {0x00280030: None, 0x00181164: ("DS", [0.14, 0.14])}))
    assert (film.spacing, film.spacing_kind) == ((0.14, 0.14), "detector")
    assert read_image(dicom(GRAY8, {0x00181164: ("DS", [0.55, 0.55])})).spacing_kind == "calibrated"
    assert read_image(dicom(GRAY8)).spacing_kind is None


@pytest.mark.parametrize(("written", "warned"), [("YES", True), ("NO", False), (None, False)])
def test_burned_in_annotation_that_is_absent_is_unknown_not_no(dicom, written, warned):
    image = read_image(dicom(GRAY8, {0x00280301: ("CS", written) if written else None}))
    assert image.meta.get("BurnedInAnnotation") == written
    assert bool(image.warnings) == warned


@pytest.mark.parametrize(("intent", "warned"), [("FOR PROCESSING", True), ("FOR PRESENTATION", False)])
def test_a_radiograph_for_processing_is_told_not_to_be_made_for_display(dicom, intent, warned):  # PS3.3 C.8.11.3
    path = dicom(GRAY8, {0x00080068: ("CS", intent)})
    for found in (read_image(path), next(read_frames(path))):
        assert any("PresentationIntentType is FOR PROCESSING" in note for note in found.warnings) == warned


def test_names_in_other_alphabets_and_private_tags_stay_out(dicom):
    case = next(case for case in DX_FILES if case.pitfall == 26)
    found = repr(inspect(dicom(case.pixels, case.tags)))
    assert "Yamada" not in found
    assert "ACME" not in found


def test_each_frame_of_many_is_read_by_its_own_attributes(dicom):
    # PS3.3 C.7.6.16: per-frame groups; the second frame has the double slope and so the same picture in its own window.
    stack = np.stack([2 * GRAY8.astype(np.uint16), GRAY8.astype(np.uint16)])
    groups = [
        {
            0x00289145: ("SQ", [{0x00281052: ("DS", [0]), 0x00281053: ("DS", [slope])}]),
            0x00289132: ("SQ", [{0x00281050: ("DS", [255.5]), 0x00281051: ("DS", [511])}]),
        }
        for slope in (1, 2)
    ]
    # What stands in the data set besides, as a converter left it, is not the frame's.
    left = {0x00281050: ("DS", [40]), 0x00281051: ("DS", [400]), 0x00281052: ("DS", [-1024]), 0x00281053: ("DS", [5])}
    path = dicom(stack, {0x52009230: ("SQ", groups), **left})
    expected = GRAY8 / 255
    for frame in (0, 1):
        assert read_image(path, frame=frame).pixels == pytest.approx(expected, abs=1e-6)


def test_the_scene_tells_every_turn_and_inversion_apart():
    scene = full(GRAY8)
    turned = [scene, scene[::-1], scene[:, ::-1], scene[::-1, ::-1]]
    seen = [*turned, *(1 - each for each in turned)]
    for i, one in enumerate(seen):
        assert all(np.abs(one - other).max() > 0.1 for other in seen[:i])
    assert GRAY8.shape == (H, W)
