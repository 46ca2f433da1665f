"""What a viewer is given is what `read_image` shows, to the last level, for every file of known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from medvlp.io import frame_values, read_frames, read_image
from medvlp.io.dicom_file import parse
from medvlp.io.errors import UnreadableImage
from tests.io.conftest import DEFLATED, EXPLICIT
from tests.io.dx_files import DX_FILES, GRAY8, GRAY12, MONO1, TWELVE, linear, lut, rescale, voi
from tests.io.test_pydicom_files import FILES


def the_same(path):
    frame, image = next(read_frames(path)), read_image(path, frame=0)
    if not any("more than 16 bits" in note for note in frame.warnings):
        np.testing.assert_array_equal(frame.image().pixels, image.pixels)
    # The level is the nearest one; float32 may lie on either side of a half.
    assert np.abs(frame.levels() - 255.0 * image.pixels).max() < 0.5 + 1e-3
    assert frame.spacing == image.spacing
    assert frame.spacing_kind == image.spacing_kind
    assert frame.meta == image.meta
    if frame.rgb is not None:  # how it was made tells of what is shown; the warning is of the luma that a model sees
        coloured = read_image(path, frame=0, color="rgb")
        np.testing.assert_array_equal(frame.rgb, np.rint(255 * coloured.pixels))
        assert frame.steps == coloured.steps
        frame = replace(frame, steps=image.steps)
    assert (frame.steps, frame.warnings) == (image.steps, image.warnings) or len(frame.warnings) > len(image.warnings)


@pytest.mark.parametrize("case", DX_FILES, ids=lambda case: case.name)
def test_files_of_known_truth_are_painted_as_the_standard_asks(dicom, case):
    the_same(path := dicom(case.pixels, case.tags, **case.options))
    assert np.abs(next(read_frames(path)).levels() - 255 * case.truth).max() < 0.5 + 1e-3


@pytest.mark.slow
def test_every_file_of_pydicom_is_painted_as_it_is_read():
    read = 0
    for path in FILES:
        try:
            read_image(path, frame=0)
        except UnreadableImage as refusal:
            with pytest.raises(UnreadableImage, match=refusal.reason):
                next(read_frames(path))
            continue
        the_same(path)
        read += 1
    assert read > 100


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_a_header_that_tells_of_many_frames_is_parsed_once_for_all(dicom, monkeypatch, syntax):
    cine = np.stack([GRAY12 // (n + 1) for n in range(4)])
    groups = [{0x00289132: ("SQ", [voi([100 * n + 50], [400])])} for n in range(4)]
    path = dicom(cine, {0x52009230: ("SQ", groups), **TWELVE}, syntax=syntax)
    parsed = []
    monkeypatch.setattr(frame_values, "parse", lambda stream: parsed.append(parse(stream)) or parsed[-1])
    frames = list(read_frames(path))
    assert len(parsed) == 1
    for number, frame in enumerate(frames):
        assert frame.windows == (("window", 100 * number + 50, 400, "LINEAR"),)
        np.testing.assert_array_equal(frame.image().pixels, read_image(path, frame=number).pixels)
    assert len(frames) == 4


@pytest.mark.parametrize("inverted", [False, True])
def test_windows_are_in_modality_values_and_named_by_known_words_only(dicom, inverted):
    tags = {**voi([40, 50], [400, 80]), **rescale(2, -1024), 0x00281055: ("LO", "LUNG\\DOE^JANE"), **TWELVE}
    tags |= MONO1 if inverted else {}
    frame = next(read_frames(dicom(GRAY12, tags)))
    assert frame.windows == (("lung", 40, 400, "LINEAR"), ("window 1 of 2", 50, 80, "LINEAR"))
    numbers = frame.slope * np.arange(frame.lo, frame.hi + 1) + frame.intercept
    shown = linear(numbers, 40, 400)
    np.testing.assert_array_equal(frame.curve, np.rint(255 * (1 - shown if inverted else shown)))
    np.testing.assert_array_equal(frame.levels((40, 400, "LINEAR")), frame.levels())


def test_padding_has_a_value_of_its_own_and_edges_follow_the_hanging(dicom):
    values = GRAY12.astype(np.int16) - 1000
    values[0, :3] = -2000
    tags = {
        0x00280103: ("US", 1),
        0x00280120: ("SS", -2000),
        0x00200020: ("CS", "R\\F"),
        0x00280004: ("CS", "MONOCHROME1"),
    }
    tags |= {0x00080060: ("CS", "DX"), 0x00180015: ("CS", "CHEST"), 0x00200062: ("CS", "L")}
    frame = next(read_frames(dicom(values, tags)))
    assert (frame.padding, frame.lo, frame.inverted, frame.marker) == (-2000, -999, True, "L")
    assert (frame.values[0, -3:] == -2000).all()
    assert frame.edges == ("R", "L", "H", "F")


def test_a_modality_table_gives_modality_values(dicom):
    table = np.arange(256)[::-1] ** 2 // 8
    tags = {0x00283000: ("SQ", [{**lut(table.tolist(), 0, 16), 0x00283004: ("LO", "OD")}])}
    frame = next(read_frames(dicom(GRAY8, tags)))
    assert frame.unit == "OD"
    np.testing.assert_array_equal(frame.values, table[GRAY8])


@pytest.mark.parametrize(("modality", "named", "unit"), [
    ("CT", None, "HU"), ("CT", "HU", "HU"), ("CT", "US", ""), ("DX", None, ""), ("DX", "OD", "OD"),
])  # fmt: skip
def test_values_are_hounsfield_units_where_a_ct_does_not_say_otherwise(dicom, modality, named, unit):  # C.8.2.1.1
    tags = {**rescale(2, -1024), 0x00080060: ("CS", modality)} | ({0x00281054: ("LO", named)} if named else {})
    assert next(read_frames(dicom(GRAY12, tags))).unit == unit


def test_padding_that_a_modality_table_maps_onto_a_value_stays_apart_from_it(dicom):
    table = {**lut([10, 10, 20, 30], 0, 16), 0x00283004: ("LO", "OD")}
    tags = {0x00283000: ("SQ", [table]), 0x00280120: ("US", 0), 0x00280004: ("CS", "MONOCHROME1")}
    the_same(path := dicom(np.array([[0, 1, 2, 3]], np.uint8), tags))
    assert next(read_frames(path)).levels().tolist() == [[0, 255, 128, 0]]


def test_padding_finds_room_within_a_modality_table_of_all_16_bits(dicom):
    tags = {0x00283000: ("SQ", [{**lut([0, 0, 65535], 0, 16), 0x00283004: ("LO", "OD")}]), **MONO1}
    path = dicom(np.array([[0, 1, 2]], np.uint8), {**tags, 0x00280120: ("US", 0)})
    the_same(path)
    frame = next(read_frames(path))
    assert frame.levels().tolist() == [[0, 255, 0]]
    assert frame.values[0, 1:].tolist() == [0, 65535]


def test_signed_values_beyond_32767_stay_the_brightest(dicom):
    stored = np.array([[-1000, 0], [20000, 40000]], np.int32)
    path = dicom(stored, {0x00280103: ("US", 1), **rescale(2, -1024)})
    the_same(path)
    frame = next(read_frames(path))
    assert frame.levels().tolist() == [[0, 6], [131, 255]]
    # Stored in steps of 41000 / 65534, they are still the modality values that a window is in.
    assert frame.slope * frame.values + frame.intercept == pytest.approx(2.0 * stored - 1024, abs=41000 / 65534)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_all_values_of_16_bits_are_shown_as_they_are(dicom, dtype):
    limits = np.iinfo(dtype)
    stored = np.array([[limits.min, 7, limits.max]], dtype)
    the_same(path := dicom(stored, {0x00280103: ("US", int(limits.min < 0))}))
    frame = next(read_frames(path))
    np.testing.assert_array_equal(frame.values, stored)
    assert frame.warnings == ()


@pytest.mark.parametrize(("stored", "padding"), [
    ([0, 60000, 65535], 65535),  # as the file writes it
    ([0, 7, 65535], 7),  # of all 16 bits
])  # fmt: skip
def test_padding_among_large_values_is_black_and_they_are_not(dicom, stored, padding):
    the_same(path := dicom(np.array([stored], np.uint16), {0x00280120: ("US", padding), **MONO1}))
    frame = next(read_frames(path))
    assert [level == 0 for level in frame.levels((0.5, 1, "LINEAR"))[0]] == [False, True, True]
    assert (frame.levels((1e6, 1, "LINEAR"))[0] == [255 * (value != padding) for value in stored]).all()


def test_padding_of_32_bits_is_no_part_of_the_steps(dicom):
    stored = np.array([[0, 100_000, 4_000_000]], np.uint32)
    path = dicom(stored, {0x00280120: ("UL", 4_000_000), **MONO1, **rescale(2, 5)})
    frame = next(read_frames(path))
    assert frame.levels().tolist() == [[255, 0, 0]]
    assert frame.levels((1e7, 1, "LINEAR")).tolist() == [[255, 255, 0]]
    assert (frame.slope * frame.values + frame.intercept)[0, :2] == pytest.approx([5, 200_005], abs=200_000 / 65534)
    assert frame.warnings[-1].endswith("steps of 3.05")  # modality values: 200,000 / 65,534


@pytest.mark.filterwarnings("error")
def test_floats_are_shown_in_steps_and_what_is_no_number_is_black(dicom):
    stored = np.array([[-1.5, 0.5, 2.5, np.nan, np.inf]], np.float32)
    tags = {0x00280103: None, 0x00280101: None, 0x00280102: None, **MONO1}
    path = dicom(stored.tobytes(), tags, rows=1, columns=5, bits=32)
    path.write_bytes(path.read_bytes().replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x08\x00OF"))
    the_same(path)
    frame = next(read_frames(path))
    assert frame.levels().tolist() == [[255, 128, 0, 0, 0]]
    assert frame.levels((100, 1, "LINEAR")).tolist() == [[255, 255, 255, 0, 0]]
    assert (frame.slope * frame.values + frame.intercept)[0, :3] == pytest.approx(stored[0, :3], abs=4 / 65534)


@pytest.mark.filterwarnings("error")
def test_one_value_beyond_16_bits_is_shown(dicom):
    the_same(path := dicom(np.full((2, 3), 70_000, np.uint32)))
    frame = next(read_frames(path))
    assert (frame.slope * frame.values + frame.intercept == 70_000).all()


def test_a_window_acts_on_modality_values_and_on_each_colour(dicom, tmp_path):
    stored = GRAY12.astype(np.int16) - 1000
    tags = {0x00280103: ("US", 1), **rescale(2, -24)}
    seen = next(read_frames(dicom(stored, tags))).levels((500, 900, "LINEAR"))
    np.testing.assert_array_equal(seen, np.rint(255 * linear(2.0 * stored - 24, 500, 900)))
    rgb = np.dstack([GRAY8, GRAY8 // 2, GRAY8 // 3])
    Pillow.fromarray(rgb).save(tmp_path / "a.png")
    frame = next(read_frames(tmp_path / "a.png"))
    np.testing.assert_array_equal(frame.painted((90, 120, "LINEAR")), np.rint(255 * linear(1.0 * rgb, 90, 120)))
    held = (frame.values, frame.display, frame.curve, frame.rgb, frame.image().pixels)
    assert frame.memory == sum(each.nbytes for each in held)


@pytest.mark.parametrize(("side", "marker"), [("L", "L"), ("r", "R"), ("B", ""), ("U", ""), ("", "")])
def test_a_marker_names_one_side(dicom, side, marker):  # Laterality also has B, both, and U, unpaired
    assert next(read_frames(dicom(GRAY12, {0x00200060: ("CS", side)}))).marker == marker


@pytest.mark.parametrize(("orientation", "cosines", "edges"), [
    ("F\\L", None, "RLHF"),  # transposed: the columns of the file are the rows that are shown
    ("H\\R", None, "RLHF"),
    ("", [1, 0, 0, 0, 1, 0], "RLAP"),  # PS3.3 C.7.6.2.1.1: x grows to the left, y to the back, z to the head
    ("", [0, 1, 0, 0, 0, -1], "APHF"),
    ("", [-1, 0, 0, 0, 0, -1], "LRHF"),
    ("", [0.8, 0.6, 0, 0, 0, -1], "RALPHF"),  # oblique: all letters that have a share, the largest first
])  # fmt: skip
def test_edges_are_those_of_the_picture_as_it_is_shown(dicom, orientation, cosines, edges):
    tags = {0x00080060: ("CS", "DX"), 0x00180015: ("CS", "CHEST"), 0x00200020: ("CS", orientation)}
    tags |= {0x00200037: ("DS", cosines)} if cosines else {}
    assert "".join(next(read_frames(dicom(GRAY12, tags))).edges) == edges


@pytest.mark.parametrize(
    ("array", "mode"), [(GRAY8, "L"), (GRAY12 * 16, "I;16"), (np.dstack([GRAY8] * 3) // [1, 2, 3], "RGB")]
)
def test_pictures_keep_their_levels(tmp_path, array, mode):
    Pillow.fromarray(array.astype(np.uint16 if mode == "I;16" else np.uint8)).save(tmp_path / "a.png")
    the_same(tmp_path / "a.png")


def test_the_tables_of_a_small_picture_of_many_values_count_in_its_memory(tmp_path):
    """65536 numbers of 4 bytes and as many of one, for three pixels: what limits memory by pixels alone limits none."""
    Pillow.fromarray(np.array([[0, 1, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert next(read_frames(tmp_path / "a.png")).memory == 3 * 2 + 65536 * (4 + 1)


def test_a_tiff_has_as_many_frames_as_pages(tmp_path):
    pages = [Pillow.fromarray(np.full((4, 5), 60 * n, np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    for number in range(3):
        frame = next(read_frames(tmp_path / "a.tif", number))
        assert (frame.frames, int(frame.values[0, 0])) == (3, 60 * number)
    pages[0].save(tmp_path / "a.png")
    assert next(read_frames(tmp_path / "a.png")).frames == 1
