"""Series that must be read: every voxel holds what the patient has where the volume says that it lies."""

from __future__ import annotations

import json
from dataclasses import replace

import jpeg_ls
import numpy as np
import pytest
from openjpeg.utils import encode_array

from medvlp.io import inspect, read_volume, window
from medvlp.io.volume import SeriesInfo
from tests.io.conftest import BIG, DEFLATED, IMPLICIT, RLE
from tests.io.ct_series import (
    IMAGE_TYPE,
    INTERCEPT,
    POSITION,
    RESCALE_INTERCEPT,
    RESCALE_SLOPE,
    RESCALE_TYPE,
    SLOPE,
    UID,
    Grid,
    check,
    frame_group,
    rle,
    stored,
    turned,
    write_enhanced,
    write_series,
)  # fmt: skip

JITTER = 0.01  # mm
J2K, JPEG_LS = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"


def grid_of(degrees, step=2.0, **options):
    row, column = turned(degrees)
    normal = np.cross(row, column)
    return Grid(along_row=row, along_column=column, step=tuple(step * normal), **options)


GRIDS = {
    "axial": (Grid(), "LPS"),
    "negative direction": (Grid(step=(0.0, 0.0, -2.0)), "LPS"),
    "feet first": (Grid(along_row=(-1, 0, 0), along_column=(0, 1, 0), step=(0.0, 0.0, -2.0)), "RPI"),
    "prone": (Grid(along_row=(-1, 0, 0), along_column=(0, -1, 0), step=(0.0, 0.0, 2.0)), "RAS"),
    "sagittal": (Grid(along_row=(0, 1, 0), along_column=(0, 0, -1), step=(2.0, 0.0, 0.0)), "PIR"),
    "coronal": (Grid(along_row=(1, 0, 0), along_column=(0, 0, -1), step=(0.0, 2.0, 0.0)), "LIP"),
    "oblique": (grid_of(25.0), "LPS"),
    "thin": (grid_of(10.0, step=0.6), "LPS"),
}


@pytest.mark.parametrize("case", GRIDS)
def test_every_orientation_is_in_place_and_slices_ascend_along_rows_x_columns(dicom, tmp_path, case):
    grid, codes = GRIDS[case]
    volume = read_volume(write_series(dicom, tmp_path / "series", grid))
    check(volume)
    assert volume.shape == (8, 10, 12)
    assert volume.voxels.dtype == np.float32
    assert volume.spacing == pytest.approx((np.linalg.norm(grid.step), 0.8, 0.5), abs=1e-5)
    normal = np.cross(grid.along_row, grid.along_column)
    assert volume.affine.to("LPS").matrix[:3, 2] @ normal > 0
    assert volume.geometry.orientation == volume.affine.codes == codes
    assert volume.warnings == ()


@pytest.mark.parametrize("padded", [True, False])
def test_padding_of_a_volume_counts_for_its_percentiles_and_that_is_said(dicom, tmp_path, padded):
    def resonance(k, tags):
        tags.update({0x00080060: ("CS", "MR"), RESCALE_TYPE: None})
        if padded:
            tags[0x00280120] = ("SS", -2000)

    volume = read_volume(write_series(dicom, tmp_path / "series", change=resonance))
    shown = window(volume, "mr_percentile_v1")
    said = "the file names a padding value, and voxels of padding count for the percentiles"
    assert shown.warnings == (*volume.warnings, *([said] if padded else []))
    assert (window(volume.voxels, "mr_percentile_v1") == shown.voxels).all()


def test_names_and_instance_numbers_do_not_order(dicom, tmp_path):
    def backwards(k, tags):
        tags[0x00200013] = ("IS", 100 - k) if k % 2 else None

    volume = read_volume(write_series(dicom, tmp_path / "series", change=backwards))
    check(volume)
    assert volume.warnings == ()


def test_spacing_is_from_positions_and_the_report_says_how_even(dicom, tmp_path):
    volume = read_volume(write_series(dicom, tmp_path / "series"))  # thickness 9 mm, "between slices" 7 mm
    report = volume.geometry
    assert (report.slices, report.spacing, report.tilt, report.gaps) == (8, pytest.approx(2.0), 0.0, ())
    assert report.spread == pytest.approx(0, abs=1e-9)
    assert (report.duplicates, report.made, report.left_out) == (0, 0, {})
    assert report.series == (SeriesInfo(1, "CT", 8, 10, 12, False),)


def test_jitter_of_a_hundredth_of_a_millimetre_is_no_gap_and_no_tilt(dicom, tmp_path):
    chance = np.random.default_rng(3)
    moved = {k: tuple(chance.uniform(-JITTER, JITTER, 3)) for k in range(8)}
    volume = read_volume(write_series(dicom, tmp_path / "series", Grid(moved=moved)))
    check(volume, error=SLOPE / 2 + 80 * 3 * JITTER)  # gradient x (own jitter and that of the two ends)
    assert volume.warnings == ()
    assert 0 < volume.geometry.spread <= 4 * JITTER


def test_positions_rounded_to_a_hundredth_are_no_gap(dicom, tmp_path):
    grid = Grid(step=(0.0, 0.0, 0.625))

    def rounded(k, tags):
        tags[POSITION] = ("DS", [f"{value:.2f}" for value in grid.position(k)])

    check(read_volume(write_series(dicom, tmp_path / "series", grid, change=rounded)), error=SLOPE / 2 + 80 * 0.01)


@pytest.mark.parametrize("step", [0.625, 1.25])
@pytest.mark.parametrize("degrees", [0.0, 25.0], ids=["axial", "oblique"])
def test_positions_with_one_decimal_are_no_gap_and_no_tilt(dicom, tmp_path, degrees, step):
    grid = grid_of(degrees, step=step)

    def rounded(k, tags):
        tags[POSITION] = ("DS", [f"{value:.1f}" for value in grid.position(k)])

    volume = read_volume(write_series(dicom, tmp_path / "series", grid, change=rounded))
    check(volume, error=SLOPE / 2 + 80 * 3 * 0.1)  # gradient x (rounding of a slice and of the two ends)
    assert volume.geometry.made == 0
    assert volume.warnings == ()


def rescaled(k):
    return 0.1 + 0.01 * k


def test_each_slice_has_its_own_rescale(dicom, tmp_path):
    def change(k, tags):
        tags[RESCALE_SLOPE] = ("DS", rescaled(k))

    grid = Grid()
    folder = write_series(
        dicom, tmp_path / "series", change=change, pixels=lambda k, _: stored(grid.values(k), rescaled(k))
    )
    volume = read_volume(folder)
    check(volume, error=rescaled(7) / 2 + 1e-3)
    assert "modality: RescaleSlope 0.1, RescaleIntercept -3000 (and 7 others, slice by slice)" in volume.steps


def test_a_modality_table_gives_the_values_and_nothing_is_windowed_or_inverted(dicom, tmp_path):
    # Stored 0 to 9 mean 1000, 900 ... 100 by the table.
    table = {0x00283002: ("US", [10, 0, 16]), 0x00283006: ("OW", np.arange(1000, 0, -100).astype("<u2").tobytes())}

    def change(k, tags):
        tags |= {RESCALE_SLOPE: None, RESCALE_INTERCEPT: None, RESCALE_TYPE: None, 0x00283000: ("SQ", [table])}
        tags |= {0x00280004: ("CS", "MONOCHROME1"), 0x00281050: ("DS", 50), 0x00281051: ("DS", 10)}

    folder = write_series(dicom, tmp_path / "s", change=change, pixels=lambda k, v: np.full_like(v, k))
    assert read_volume(folder).voxels[:, 0, 0].tolist() == [1000 - 100 * k for k in range(8)]


def test_signed_values_and_no_rescale_are_kept_as_they_are(dicom, tmp_path):
    def change(k, tags):
        tags |= {RESCALE_SLOPE: None, RESCALE_INTERCEPT: None, RESCALE_TYPE: None, 0x00080060: ("CS", "MR")}

    folder = write_series(
        dicom, tmp_path / "s", change=change, pixels=lambda k, v: np.full(v.shape, -1000 * k, np.int16)
    )
    volume = read_volume(folder)
    assert volume.voxels[:, 3, 4].tolist() == [-1000 * k for k in range(8)]
    assert "modality: none" in volume.steps


@pytest.mark.parametrize("slope", [1.0, 2.0, 0.5])
def test_whole_and_other_rescales_are_the_formula_rounded_once(dicom, tmp_path, slope):
    def change(k, tags):
        tags |= {RESCALE_SLOPE: ("DS", slope), RESCALE_INTERCEPT: ("DS", -1024)}

    folder = write_series(dicom, tmp_path / "s", change=change)
    expected = np.stack([stored(Grid().values(k)) * slope - 1024.0 for k in range(8)]).astype(np.float32)
    assert (read_volume(folder).voxels == expected).all()


SYNTAXES = {
    "implicit": {"syntax": IMPLICIT},
    "big endian": {"syntax": BIG},
    "deflated": {"syntax": DEFLATED},
    "no preamble": {"preamble": None},
    "JPEG 2000": {
        "syntax": J2K,
        "compressed": lambda v: [bytes(encode_array(v, bits_stored=16, photometric_interpretation=2))],
    },
    "JPEG-LS": {"syntax": JPEG_LS, "compressed": lambda v: [bytes(jpeg_ls.encode_array(v))]},
    "RLE": {"syntax": RLE, "compressed": lambda v: [rle(v)]},
}


@pytest.mark.parametrize("case", SYNTAXES)
def test_every_transfer_syntax_gives_the_same_volume(dicom, tmp_path, case):
    volume = read_volume(write_series(dicom, tmp_path / "series", grid_of(25.0, rows=40, columns=44), **SYNTAXES[case]))
    check(volume)


def test_more_files_than_are_kept_open_are_read_all_the_same(dicom, tmp_path, monkeypatch):
    monkeypatch.setattr("medvlp.io.series._HELD", 3)
    check(read_volume(write_series(dicom, tmp_path / "series")))


# --- what lies beside the slices -------------------------------------------------------------------------------------


def test_files_that_are_no_images_are_counted_and_do_not_disturb(dicom, tmp_path):
    folder = write_series(dicom, tmp_path / "series")
    (folder / "00_readme.txt").write_text("scanned on the third floor")
    (folder / "thumbs.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    (folder / "older").mkdir()
    dicom(b"", {0x00280010: None, 0x00280011: None}, rows=1, columns=1, bits=8).rename(folder / "a.dcm")
    cut = (folder / "a.dcm").read_bytes()
    (folder / "a.dcm").write_bytes(cut[: cut.rindex(b"\xe0\x7f\x10\x00")])  # a document: no rows, no pixel data
    volume = read_volume(folder)
    check(volume)
    assert volume.geometry.left_out == {"not_an_image": 1, "not_dicom": 1, "directory": 1, "no_pixels": 1}
    assert volume.warnings == ()


def test_an_empty_file_beside_the_slices_is_announced(dicom, tmp_path):
    folder = write_series(dicom, tmp_path / "series")
    (folder / "IM9").touch()
    assert read_volume(folder).warnings == ("files of the folder that are empty or zeros: 1, slices may be missing",)


SCOUT = Grid(along_row=(0, 1, 0), along_column=(0, 0, -1), slices=1)


@pytest.mark.parametrize("own_series", [True, False])
def test_a_localizer_is_never_a_part_of_the_volume(dicom, tmp_path, own_series):
    def scout(k, tags):
        tags[IMAGE_TYPE] = ("CS", "ORIGINAL\\PRIMARY\\LOCALIZER")
        if own_series:
            tags[UID] = ("UI", "1.2.826.0.1.78")

    folder = write_series(dicom, tmp_path / "series")
    write_series(dicom, folder, SCOUT, change=scout, name=lambda k: "-scout.dcm")
    volume = read_volume(folder)
    check(volume)
    assert volume.shape == (8, 10, 12)
    if own_series:
        assert [info.words for info in volume.geometry.series] == [
            "1: CT localizer, 1 slice of 10 x 12", "2: CT, 8 slices of 10 x 12",
        ]  # fmt: skip
    else:
        assert volume.geometry.left_out == {"localizer": 1}


def test_the_same_slice_twice_is_kept_once_and_announced(dicom, tmp_path):
    folder = write_series(dicom, tmp_path / "series")
    write_series(dicom, folder, only=(3, 5), name=lambda k: f"copy {k}.dcm")
    volume = read_volume(folder)
    check(volume)
    assert volume.shape == (8, 10, 12)
    assert volume.geometry.duplicates == 2
    assert volume.warnings == ("slices left out that repeat another, place and pixels: 2",)


def two_series(dicom, tmp_path):
    other = Grid(origin=(4.0, 1.0, 2.0), step=(0.0, 0.0, 3.0), slices=5)
    folder = write_series(dicom, tmp_path / "series")

    def change(k, tags):
        tags[UID] = ("UI", "1.2.826.0.1.79")

    return write_series(dicom, folder, other, change=change, name=lambda k: f"z{k}")


@pytest.mark.parametrize(
    ("series", "slices", "spacing"), [(1, 8, 2.0), ("1", 8, 2.0), (2, 5, 3.0), ("1.2.826.0.1.79", 5, 3.0)]
)
def test_a_series_is_chosen_by_its_number_or_uid(dicom, tmp_path, series, slices, spacing):
    volume = read_volume(two_series(dicom, tmp_path), series=series)
    check(volume)
    assert volume.shape[0] == slices
    assert volume.spacing[0] == pytest.approx(spacing)


TIMES = {
    "temporal position": {0x00200100: ("IS", [1, 2])},
    "acquisition number": {0x00200012: ("IS", [4, 11])},
    "echo time": {0x00180081: ("DS", [4.5, 12.0])},
    "trigger time": {0x00181060: ("DS", [90.0, 410.0])},
    "acquisition time": {0x00080032: ("TM", ["093000.10", "101500.00"])},
    "image type": {IMAGE_TYPE: ("CS", ["ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P"])},
}


def two_times(dicom, tmp_path, case):
    folder = tmp_path / "series"
    for time in (1, 0):  # the later one has the first names

        def change(k, tags, time=time):
            tags |= {tag: (vr, values[time]) for tag, (vr, values) in TIMES[case].items()}

        def pixels(k, values, time=time):
            return values + np.uint16(1000 * time)

        write_series(dicom, folder, change=change, pixels=pixels, name=lambda k, time=time: f"{1 - time}_{k}")
    return folder


@pytest.mark.parametrize("case", TIMES)
@pytest.mark.parametrize("time", [0, 1])
def test_a_time_point_is_chosen_by_its_number_in_the_order_of_its_tag(dicom, tmp_path, case, time):
    volume = read_volume(two_times(dicom, tmp_path, case), series=f"1:{time + 1}")
    assert volume.shape == (8, 10, 12)
    expected = np.stack([stored(Grid().values(k)) for k in range(8)]) * SLOPE + INTERCEPT + 1000 * SLOPE * time
    assert volume.voxels == pytest.approx(expected, abs=1e-3)
    assert sum(volume.geometry.left_out.values()) == 8


def test_one_slice_is_a_volume_as_thick_as_its_slice_and_this_is_announced(dicom, tmp_path):
    folder = write_series(dicom, tmp_path / "series", only=(3,))
    for path in (folder, next(folder.iterdir())):
        volume = read_volume(path)
        check(volume)
        assert volume.spacing == pytest.approx((9.0, 0.8, 0.5))
        assert volume.warnings == ("one slice only: its thickness was taken for the spacing",)


# --- multi-frame files -----------------------------------------------------------------------------------------------

SCRAMBLED = (3, 7, 0, 5, 1, 6, 2, 4)


@pytest.mark.parametrize("order", [None, SCRAMBLED])
@pytest.mark.parametrize("syntax", [IMPLICIT, BIG, DEFLATED])
def test_frames_lie_where_their_functional_groups_say(dicom, order, syntax):
    volume = read_volume(write_enhanced(dicom, grid_of(25.0), order=order, syntax=syntax))
    check(volume)
    assert volume.shape == (8, 10, 12)
    assert volume.warnings == ()


def test_frames_have_their_own_rescale(dicom):
    volume = read_volume(write_enhanced(dicom, order=SCRAMBLED, slope=rescaled))
    check(volume, error=rescaled(7) / 2 + 1e-3)


def test_shared_groups_hold_for_all_frames_that_have_none(dicom):
    common = frame_group(Grid(), 0)
    del common[0x00209113]

    def bare(frame, tags):
        for tag in common:
            del tags[tag]

    check(read_volume(write_enhanced(dicom, order=SCRAMBLED, group=bare, shared=common)))


def test_a_folder_of_one_multi_frame_file_is_the_same(dicom, tmp_path):
    (tmp_path / "series").mkdir()
    write_enhanced(dicom, order=SCRAMBLED).rename(tmp_path / "series" / "a")
    check(read_volume(tmp_path / "series"))


def content(stack=None, time=None):
    item = {0x00209056: ("SH", stack)} if stack else {}
    item |= {0x00209128: ("UL", time)} if time else {}
    return ("SQ", [item])


def test_a_temporal_index_of_frames_is_chosen(dicom):
    order = tuple(range(8)) * 2

    def timed(frame, tags):
        tags[0x00209111] = content(time=2 - frame // 8)

    path = write_enhanced(dicom, order=order, group=timed, slope=lambda k: SLOPE)
    for number in (1, 2):
        volume = read_volume(path, series=f":{number}")
        check(volume)
        assert volume.geometry.left_out == {"other TemporalPositionIndex": 8}


# --- inspect ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_inspect_tells_shape_spacing_and_geometry(dicom, tmp_path, kind):
    path = write_series(dicom, tmp_path / "series") if kind == "folder" else write_enhanced(dicom)
    found = json.loads(json.dumps(inspect(path)))
    assert (found["kind"], found["shape"], found["spacing"]) == ("volume", [8, 10, 12], pytest.approx([2, 0.8, 0.5]))
    assert found["meta"]["geometry"]["slices"] == 8
    assert found["meta"]["geometry"]["series"][0]["modality"] == "CT"
    assert np.array(found["meta"]["affine"])[:3, 3] == pytest.approx([3.0, 5.0, -7.0])
    assert "1.2.826" not in json.dumps({**found, "path": ""}).replace("1.2.840", "")


def test_inspect_of_frames_without_a_place_is_still_an_image(dicom):
    found = inspect(dicom(np.zeros((3, 4, 4), np.uint8), {0x00080060: ("CS", "US")}))
    assert (found["kind"], found["shape"]) == ("image", [4, 4])


def test_inspect_of_a_folder_that_is_refused_names_the_file(dicom, tmp_path):
    folder = write_series(dicom, tmp_path / "series")
    write_series(dicom, folder, replace(Grid(), rows=6), only=(3,), name=lambda k: "odd.dcm")
    found = inspect(folder)
    assert found["unreadable"] == "other_size"
    assert found["hint"].startswith("odd.dcm: it is 6 x 12")
