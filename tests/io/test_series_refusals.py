"""Series that must be refused: the reason is the defect's own, the file at fault is named, the patient is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medvlp.core.errors import UserError
from medvlp.io import UnreadableImage, inspect, read_volume
from tests.io.ct_series import (
    IMAGE_TYPE,
    ORIENTATION,
    POSITION,
    RESCALE_INTERCEPT,
    RESCALE_SLOPE,
    RESCALE_TYPE,
    SLOPE,
    SPACING,
    THICKNESS,
    UID,
    Grid,
    check,
    write_enhanced,
    write_series,
)


def refusal(path, **options):
    with pytest.raises(UnreadableImage) as caught:
        read_volume(path, **options)
    return caught.value


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "series"


def only_at(k, **changes):
    """Return a change of the attributes of slice k alone."""
    named = {"spacing": SPACING, "uid": UID, "position": POSITION, "orientation": ORIENTATION, "units": RESCALE_TYPE}

    def change(index, tags):
        if index == k:
            tags |= {named[name]: value for name, value in changes.items()}

    return change


# --- which series ----------------------------------------------------------------------------------------------------


def test_two_series_are_listed_by_number_modality_slices_and_size(dicom, folder):
    write_series(dicom, folder, name=lambda k: f"a{k}")
    other = Grid(rows=6, columns=7, slices=3)
    write_series(dicom, folder, other, change=lambda k, tags: tags | {UID: ("UI", "1.2.9")}, name=lambda k: f"b{k}")
    error = refusal(folder)
    assert (error.reason, error.path) == ("several_series", str(folder))
    assert error.detail == "it holds 2 series (1: CT, 8 slices of 10 x 12; 2: CT, 3 slices of 6 x 7)"
    assert (
        error.hint == "choose one of them (series=; --series of medvlp inspect), or put each into a folder of its own"
    )


@pytest.mark.parametrize("series", [0, 3, "1.2.3", "1:2", "first", "", ":", -1])
def test_a_series_that_is_not_there(dicom, folder, series):
    assert refusal(write_series(dicom, folder), series=series).reason == "bad_series"


def test_a_folder_without_a_dicom_image(folder):
    folder.mkdir()
    assert refusal(folder).reason == "no_series"
    (folder / "note.txt").write_text("nothing here")
    (folder / "study").mkdir()  # it is not searched, and is no file
    assert refusal(folder).detail == "none of its 2 files and folders is a DICOM image"


def test_nothing_but_a_localizer_is_no_volume(dicom, folder):
    def scout(k, tags):
        tags[IMAGE_TYPE] = ("CS", "ORIGINAL\\PRIMARY\\LOCALIZER")

    write_series(dicom, folder, change=scout)
    assert refusal(folder).reason == refusal(folder, series=1).reason == "not_a_volume"


def test_a_radiograph_is_no_volume(dicom):
    assert refusal(dicom(np.zeros((4, 4), np.uint8))).reason == "not_a_volume"


def test_colour_is_no_volume(dicom):
    tags = Grid().tags(0) | {0x00280002: ("US", 3), 0x00280004: ("CS", "RGB"), 0x00280006: ("US", 0)}
    assert refusal(dicom(bytes(300), tags, rows=10, columns=10, bits=8)).reason == "not_a_volume"


@pytest.mark.parametrize("kind", ["66.4", "66.7"])
def test_a_segmentation_is_no_volume(dicom, kind):
    path = write_enhanced(dicom, tags={0x00080016: ("UI", f"1.2.840.10008.5.1.4.1.1.{kind}")})
    assert refusal(path).detail == "frame 0: there is nothing but a segmentation"


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({IMAGE_TYPE: ("CS", "ORIGINAL\\PRIMARY\\M\\MOSAIC")}, "mosaic of slices"),
        ({0x00080060: ("CS", "RTDOSE")}, "dose grid"),
    ],
)
def test_what_has_a_place_and_values_of_its_own_kind_is_no_slice(dicom, tags, kind):
    """Siemens' mosaic holds many slices at the place of none; doses are stored values times DoseGridScaling."""
    path = dicom(np.zeros((10, 12), np.uint16), Grid().tags(0) | tags)
    assert refusal(path).detail == f"there is nothing but a {kind}"


# --- geometry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missing", "length"), [((4, 5, 6), 8), ((4,), 4)])
def test_missing_slices_are_a_gap_and_it_is_measured(dicom, folder, missing, length):
    only = tuple(k for k in range(12) if k not in missing)
    error = refusal(write_series(dicom, folder, Grid(slices=12), only=only))
    assert (error.reason, error.path) == ("gap", str(folder))
    assert error.detail == f"its slices are 2 mm apart, but it is {length} mm behind slice 3"
    assert "let medvlp.io.read_volume(on_gap=" in error.hint, "medvlp predict has no such option"


def test_steps_that_vary_are_a_gap(dicom, folder):
    moved = {k: (0.0, 0.0, 0.15 * k * k / 7) for k in range(8)}
    error = refusal(write_series(dicom, folder, Grid(moved=moved)))
    assert error.reason == "gap"
    assert error.detail == "the steps between its slices vary from 2.021 to 2.279 mm"  # 2 + 0.15 (2 k + 1) / 7


@pytest.mark.parametrize("degrees", [1.0, 15.0, -20.0])
def test_gantry_tilt(dicom, folder, degrees):
    drift = 2.0 * np.tan(np.radians(degrees))
    error = refusal(write_series(dicom, folder, Grid(step=(0.0, drift, 2.0))))
    assert error.reason == "tilt"
    assert f"{abs(degrees):.3g} degrees off their normal" in error.detail
    assert "let medvlp.io.read_volume shear its affine (on_tilt=" in error.hint


def test_a_slice_beside_the_line_of_the_others(dicom, folder):
    error = refusal(write_series(dicom, folder, Grid(moved={3: (0.9, 0.0, 0.0)})))
    assert (error.reason, error.detail) == ("bad_geometry", "it lies 0.9 mm beside the line of the other slices")
    assert error.path == str(folder / "15.dcm")  # slice 3


def test_slices_side_by_side_in_one_plane(dicom, folder):
    write_series(dicom, folder)
    write_series(dicom, folder, Grid(origin=(60.0, -5.0, -7.0)), name=lambda k: f"b{k}")
    assert refusal(folder).reason == "bad_geometry"


@pytest.mark.parametrize("tag", [POSITION, ORIENTATION, SPACING])
@pytest.mark.parametrize("value", [None, "", "1\\x", "nan\\nan\\nan\\nan\\nan\\nan", "0\\0\\0\\0\\0\\0", "1e9\\1\\1"])
def test_a_slice_without_its_place(dicom, folder, tag, value):
    def change(k, tags):
        if k == 2:
            tags[tag] = None if value is None else ("DS", value)

    write_series(dicom, folder, change=change)
    error = refusal(folder)
    assert (error.reason, error.path) == ("no_geometry", str(folder / "10.dcm"))
    assert refusal(folder / "10.dcm").reason == "no_geometry"


def test_directions_that_are_not_at_a_right_angle(dicom, folder):
    change = only_at(2, orientation=("DS", "1\\0\\0\\0.6\\0.8\\0"))
    assert "right angle" in refusal(write_series(dicom, folder, change=change)).detail


def test_one_slice_without_thickness(dicom, folder):
    write_series(dicom, folder, only=(3,), change=lambda k, tags: tags | {THICKNESS: None})
    assert refusal(folder).reason == "no_geometry"


@pytest.mark.parametrize("odd", [replace(Grid(), rows=6), replace(Grid(), spacing=(0.7, 0.5))])
def test_a_slice_of_another_size_or_spacing_is_named_and_can_be_left_out(dicom, folder, odd):
    write_series(dicom, folder, Grid(), only=(0, 1, 2, 3, 4, 5, 6))
    write_series(dicom, folder, odd, only=(7,), name=lambda k: "odd.dcm")
    error = refusal(folder)
    assert (error.reason, error.path) == ("other_size", str(folder / "odd.dcm"))
    assert 'series="1:1" (slices: 7, of 10 x 12)' in error.hint
    volume = read_volume(folder, series="1:1")
    check(volume)
    assert sum(volume.geometry.left_out.values()) == 1


def test_two_orientations_in_a_series_are_two_volumes(dicom, folder):
    write_series(dicom, folder)
    coronal = Grid(along_column=(0, 0, -1), step=(0.0, 2.0, 0.0), slices=5)
    write_series(dicom, folder, coronal, name=lambda k: f"c{k}")
    error = refusal(folder)
    assert error.reason == "several_volumes"
    assert error.detail == "its series 1 holds 2 volumes that differ in orientation"
    for number, slices in ((1, 8), (2, 5)):
        volume = read_volume(folder, series=f"1:{number}")
        check(volume)
        assert volume.shape[0] == slices


def test_two_frames_of_reference_are_two_volumes(dicom, folder):
    def change(k, tags):
        tags[0x00200052] = ("UI", f"1.2.{k // 4}")

    error = refusal(write_series(dicom, folder, change=change))
    assert error.detail == "its series 1 holds 2 volumes that differ in frame of reference"


# --- two slices at one place -----------------------------------------------------------------------------------------


def test_other_pixels_at_the_same_place_are_a_conflict(dicom, folder):
    write_series(dicom, folder)
    write_series(dicom, folder, only=(3,), name=lambda k: "z.dcm", pixels=lambda k, values: values + np.uint16(1))
    error = refusal(folder)
    assert (error.reason, error.path) == ("duplicates", str(folder / "z.dcm"))


def test_time_points_are_several_volumes_and_the_message_says_how_to_choose(dicom, folder):
    for time in (1, 2):
        write_series(
            dicom, folder, change=lambda k, tags, t=time: tags | {0x00200100: ("IS", t)},
            name=lambda k, t=time: f"{t}_{k}", pixels=lambda k, values, t=time: values + np.uint16(t),
        )  # fmt: skip
    error = refusal(folder)
    assert error.reason == "several_volumes"
    assert error.detail == "its series 1 holds 2 volumes that differ in TemporalPositionIdentifier"
    listed = 'choose one: series="1:1" (slices: 8, of 10 x 12), series="1:2" (slices: 8, of 10 x 12)'
    assert error.hint == f"{listed}, or put the files of each into a folder of its own"


def test_times_that_do_not_split_cleanly_are_a_conflict(dicom, folder):
    for time in (1, 2):  # each slice has a time of its own, as spiral CT has
        write_series(
            dicom, folder, change=lambda k, tags, t=time: tags | {0x00080032: ("TM", f"1{t}{10 + k}00")},
            name=lambda k, t=time: f"{t}_{k}", pixels=lambda k, values, t=time: values + np.uint16(t),
        )  # fmt: skip
    assert refusal(folder).reason == "duplicates"


ALL = tuple(range(8))
TRIGGER, ACQUISITION, GRADIENT = 0x00181060, 0x00200012, 0x00189089
AXES = ([0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("named", "tag", "value", "places"),
    [
        # Each slice is made in heartbeats of its own length: the second phase comes after 30 ms here, 37 there.
        ("TriggerTime", TRIGGER, lambda time, k: ("DS", [time * (30 + k)]), (ALL, ALL)),
        ("DiffusionGradientOrientation", GRADIENT, lambda time, k: ("FD", AXES[time]), (ALL, ALL, ALL)),
        ("AcquisitionNumber", ACQUISITION, lambda time, k: ("IS", [time + 1]), ((0, 1, 2, 3, 4), (3, 4, 5, 6, 7))),
        ("AcquisitionNumber", ACQUISITION, lambda time, k: ("IS", [time + 1]), (ALL, (3, 4))),
    ],
    ids=["heartbeats", "gradients", "overlap", "repeated part"],
)
def test_volumes_that_share_places_are_parted_by_what_differs(dicom, folder, named, tag, value, places):
    for time, only in enumerate(places):
        write_series(
            dicom, folder, only=only, change=lambda k, tags, t=time: tags | {tag: value(t, k)},
            name=lambda k, t=time: f"{9 - t}_{k}", pixels=lambda k, values, t=time: values + np.uint16(100 * t),
        )  # fmt: skip
    error = refusal(folder)
    assert error.reason == "several_volumes"
    assert error.detail == f"its series 1 holds {len(places)} volumes that differ in {named}"
    axes = sorted(range(len(places)), key=lambda time: value(time, 0)[1])
    for number, time in enumerate(axes, 1):
        volume = read_volume(folder, series=f"1:{number}")
        assert len(volume.voxels) == len(places[time])
        check(replace(volume, voxels=volume.voxels - 100 * SLOPE * time))


def test_gradients_of_frames_are_several_volumes(
    dicom,
):  # PS3.3 C.8.13.5.9: the direction lies in a sequence of its own
    def group(frame, tags):
        direction = {0x00189076: ("SQ", [{GRADIENT: ("FD", AXES[frame // 8])}])}
        tags[0x00189117] = ("SQ", [direction | {0x00189087: ("FD", 1000.0)}])

    path = write_enhanced(dicom, order=ALL * 3, group=group)
    error = refusal(path)
    assert error.detail == "its series 1 holds 3 volumes that differ in DiffusionGradientOrientation"
    assert error.hint.endswith(', series="1:3" (slices: 8, of 10 x 12), or save each as a file of its own')
    check(read_volume(path, series="1:3"))


@pytest.mark.parametrize(
    ("tag", "values", "named"),
    [
        (0x00089007, (r"DERIVED\PRIMARY\VOLUME\FAT", r"DERIVED\PRIMARY\VOLUME\WATER"), "FrameType"),
        (0x00089208, ("MAGNITUDE", "PHASE"), "ComplexImageComponent"),
    ],
)
def test_fat_and_water_magnitude_and_phase_of_one_file_are_volumes(dicom, tag, values, named):  # PS3.3 C.8.13.5.1
    def group(frame, tags):
        tags[0x00189226] = ("SQ", [{tag: ("CS", values[frame % 2])}])

    path = write_enhanced(dicom, order=tuple(k // 2 for k in range(16)), group=group)
    assert refusal(path).detail == f"its series 1 holds 2 volumes that differ in {named}"
    check(read_volume(path, series="1:2"))


# --- values ----------------------------------------------------------------------------------------------------------


TABLE = {0x00283002: ("US", [2, 0, 16]), 0x00283006: ("OW", bytes(4))}


@pytest.mark.parametrize(
    "changed",
    [{RESCALE_TYPE: ("LO", "US")}, {RESCALE_SLOPE: None, RESCALE_INTERCEPT: None}, {0x00283000: ("SQ", [TABLE])}],
    ids=["type", "no rescale", "table"],
)
def test_slices_in_different_units(dicom, folder, changed):
    write_series(dicom, folder, change=lambda k, tags: tags | changed if k == 3 else tags)
    assert refusal(folder).reason == "mixed_units"


@pytest.mark.parametrize("slope", ["0", "nan", "x"])
def test_a_rescale_that_is_none(dicom, folder, slope):
    write_series(dicom, folder, change=lambda k, tags: tags | {RESCALE_SLOPE: ("DS", slope)} if k == 3 else tags)
    error = refusal(folder)
    assert (error.reason, error.path) == ("bad_rescale", str(folder / "15.dcm"))


@pytest.mark.parametrize("cut", [1, 100, 239, 250])
def test_a_slice_that_is_cut_off_is_named_and_never_dropped(dicom, folder, cut):
    write_series(dicom, folder)
    name = folder / "01.dcm"  # slice 7, the last: without it the others would still be an even stack
    name.write_bytes(name.read_bytes()[:-cut])
    for options in ({}, {"on_gap": "resample"}):
        error = refusal(folder, **options)
        assert (error.reason, error.path) == ("truncated", str(name))


def test_a_slice_that_ends_in_its_header_is_not_taken_for_a_document(dicom, folder):
    write_series(dicom, folder)
    name = folder / "01.dcm"
    whole = name.read_bytes()
    name.write_bytes(whole[: whole.index(bytes.fromhex("28001000"))])  # before Rows
    error = refusal(folder)
    assert (error.reason, error.path) == ("truncated", str(name))


def test_a_slice_that_was_not_fetched_is_not_passed_over(dicom, folder):
    write_series(dicom, folder)
    (folder / "01.dcm").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert refusal(folder).reason == "pointer"


# --- multi-frame files -----------------------------------------------------------------------------------------------


def test_frames_with_a_gap_or_a_tilt(dicom):
    assert refusal(write_enhanced(dicom, order=(0, 1, 2, 3, 6, 7))).reason == "gap"
    assert refusal(write_enhanced(dicom, Grid(step=(0.0, 0.5, 2.0)))).reason == "tilt"
    check(read_volume(write_enhanced(dicom, order=(0, 1, 2, 3, 3))))  # the same frame twice


def test_frames_at_one_place_with_other_values_are_a_conflict(dicom):
    def group(frame, tags):
        if frame == 4:  # the same stored values, but one more after rescaling
            tags[0x00289145] = ("SQ", [tags[0x00289145][1][0] | {RESCALE_INTERCEPT: ("DS", -2999)}])

    error = refusal(write_enhanced(dicom, order=(0, 1, 2, 3, 3), group=group))
    assert error.reason == "duplicates"
    assert error.detail.startswith("frame 4: it lies at the same place as another slice")


@pytest.mark.parametrize(
    ("item", "named"), [({0x00209056: ("SH", "{}")}, "stack"), ({0x00209128: ("UL", 0)}, "TemporalPositionIndex")]
)
def test_stacks_and_temporal_indices_are_several_volumes(dicom, item, named):
    def group(frame, tags):
        half = 1 + frame // 8
        ((tag, (vr, _)),) = item.items()
        tags[0x00209111] = ("SQ", [{tag: (vr, str(half) if vr == "SH" else half)}])

    error = refusal(write_enhanced(dicom, order=tuple(range(8)) * 2, group=group))
    assert error.reason == "several_volumes"
    assert error.detail == f"its series 1 holds 2 volumes that differ in {named}"


def test_frames_without_positions_of_their_own(dicom):
    tags = Grid().tags(0) | {0x00080060: ("CS", "CT")}
    error = refusal(dicom(np.zeros((3, 10, 12), np.uint16), tags))
    assert (error.reason, error.detail) == (
        "no_geometry", "frame 0: its frames have no positions of their own (PlanePositionSequence)",
    )  # fmt: skip


def test_functional_groups_that_do_not_fit_the_number_of_frames(dicom):
    assert refusal(write_enhanced(dicom, tags={0x00280008: ("IS", 7)})).reason == "bad_header"


# --- size and options ------------------------------------------------------------------------------------------------


def test_a_repair_that_would_not_fit_is_refused_before_it_is_allocated(dicom, folder):
    far = {6: (0.0, 0.0, 4e5), 7: (0.0, 0.0, 9e5)}
    write_series(dicom, folder, Grid(rows=200, columns=200, moved=far), pixels=lambda k, v: np.zeros((200, 200), "u2"))
    assert refusal(folder, on_gap="resample").reason == "too_large"


def test_unknown_options_are_user_errors(folder):
    with pytest.raises(UserError, match="on_gap is 'fill': choose 'error' or 'resample'"):
        read_volume(folder, on_gap="fill")
    with pytest.raises(UserError, match="on_tilt is 'fix': choose 'error', 'shear' or 'resample'"):
        read_volume(folder, on_tilt="fix")


PHI = "ZYXWVUT"


def test_nothing_of_the_patient_is_in_what_is_told(dicom, folder):
    def named(k, tags):
        tags |= {0x00100010: ("PN", PHI), 0x00100020: ("LO", PHI), 0x00080020: ("DA", "19470311")}
        tags |= {0x00080032: ("TM", "194703"), 0x00080060: ("CS", f"{PHI}^A"), RESCALE_TYPE: ("LO", f"{PHI}^A")}
        tags |= {UID: ("UI", f"1.2.777.{k // 4}")}

    write_series(dicom, folder, change=named)
    told = [str(refusal(folder)), str(refusal(folder, series=7)), repr(inspect(folder))]
    volume = read_volume(folder, series=2)
    told += [repr((volume.meta, volume.steps, volume.warnings, volume.geometry))]
    for text in told:
        assert [secret for secret in (PHI, "1947", "1.2.777") if secret in text] == [], text


def outcome(path):
    try:
        return read_volume(path)
    except UnreadableImage as error:
        return error


def test_mutants_of_a_slice_are_read_or_refused(dicom, folder):
    write_series(dicom, folder, Grid(rows=4, columns=4, slices=4))
    victim = folder / "05.dcm"
    whole = victim.read_bytes()
    chance = np.random.default_rng(5)
    for _ in range(40):
        changed = bytearray(whole)
        for place in chance.integers(132, len(whole) - 44, int(chance.integers(1, 4))):
            changed[place] = int(chance.integers(256))
        victim.write_bytes(changed)
        result = outcome(folder)
        if isinstance(result, UnreadableImage):
            assert result.path in (str(folder), *map(str, folder.iterdir()))
        else:
            assert result.voxels.shape[1:] == (4, 4)
            assert np.isfinite(result.voxels).all()
