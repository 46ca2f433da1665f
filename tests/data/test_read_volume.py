"""The view makes of a volume what `window` and `resize_pad` make of its slices, at places that the affine gives."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.sample import Sample, Stack
from medvlp.core.views import View
from medvlp.data.marks import Drawn, seen
from medvlp.data.pipeline import apply_views, read_numbers
from medvlp.data.stacks import LazyStack
from medvlp.data.views.read_grid import ReadGrid
from medvlp.data.views.read_volume import ReadVolume
from medvlp.io import read_volume, resize_pad, window
from medvlp.io.affine import Affine
from medvlp.io.errors import UnreadableImage
from medvlp.io.volume import Volume
from tests.data.volumes import write_ct

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def stack_of(source: object, view: ReadVolume) -> tuple[Stack, Sample]:
    sample = apply_views(Sample("a", {"volume": source}), [view])
    stack = sample.fields["stack"]
    assert isinstance(stack, LazyStack)
    assert "volume" not in sample.fields
    return stack.take(), sample


def ct(voxels: np.ndarray, *, spacing: tuple[float, float, float] = (1, 1, 1), modality: str = "CT") -> Volume:
    """Voxels (z, y, x) that run to the head, the back and the left."""
    return Volume(voxels.astype(np.float32), Affine(LPS @ np.diag([*spacing[::-1], 1.0])), {"Modality": modality})


def test_four_orientations_of_an_asymmetric_volume_are_one_stack(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 900, (9, 12, 5)).astype(np.int16)
    affine = np.array([[-0.9, 0, 0, 30], [0, -0.9, 0, 20], [0, 0, 3.0, -60], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(voxels, affine)
    view, found = ReadVolume(size=16), []
    for codes in ("LPS", "RAS", "SPL", "AIR"):
        path = tmp_path / f"{codes}.nii.gz"
        image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes))).to_filename(path)
        found.append(stack_of(str(path), view)[0])
    for other in found[1:]:
        assert torch.equal(other.pixels, found[0].pixels)
        torch.testing.assert_close(other.position, found[0].position, atol=1e-4, rtol=0)
    assert not torch.equal(found[0].pixels, found[0].pixels.flip(-1)), "a volume that is its own mirror proves nothing"


def test_positions_are_the_affine_times_the_index(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_ct(path, 6, step=2.5)
    stack, _ = stack_of(str(path), ReadVolume(size=8))
    affine = nibabel.load(path).affine
    want = np.stack([(affine @ [9.5, 7.5, k, 1])[:3] for k in range(6)])
    np.testing.assert_allclose(stack.position.numpy(), want, atol=1e-4)


def test_slices_are_windows_resized_and_rounded_by_at_most_half_a_level(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_ct(path, 4)
    windows = ("ct_lung_v1", "ct_mediastinum_v1", "ct_bone_v1")
    volume = read_volume(path)
    for bits, most in ((8, 1 / 510), (16, 1 / 131070), (32, 0.0)):
        stack, _ = stack_of(str(path), ReadVolume(size=12, windows=windows, bits=bits))  # type: ignore[arg-type]
        assert stack.pixels.shape == (4, 3, 12, 12)
        for channel, name in enumerate(windows):
            shown = window(volume, name).voxels
            want = np.stack([resize_pad(each, 12).pixels for each in shown])
            assert float(np.abs(stack.pixels[:, channel].numpy() - want).max()) <= most + 1e-7


def test_percentiles_are_those_of_the_whole_volume(tmp_path: Path) -> None:
    path = tmp_path / "mr.nii"
    voxels = np.random.default_rng(1).integers(0, 800, (6, 6, 4)).astype(np.int16)
    nibabel.Nifti1Image(voxels, LPS).to_filename(path)
    stack, _ = stack_of(str(path), ReadVolume(size=8, windows=("mr_percentile_v1",), bits=32))
    shown = window(read_volume(path), "mr_percentile_v1").voxels
    want = np.stack([resize_pad(each, 8).pixels for each in shown])
    assert np.array_equal(stack.pixels[:, 0].numpy(), want)


def test_aspect_is_kept_in_millimetres_and_the_rest_is_black() -> None:
    """Coronal slices of thick axial ones: 4 rows of 5 mm and 20 columns of 1 mm are a square."""
    bright = ct(np.full((4, 6, 20), 2000), spacing=(5, 1, 1))
    stack, sample = stack_of(bright, ReadVolume(size=16, axis="coronal", windows=("ct_bone_v1",)))
    assert stack.pixels.shape == (6, 1, 16, 16)
    assert float(stack.pixels.min()) == 1
    record = sample.records["stack"]
    assert (record.box, record.spacing) == ((0, 0, 20, 4), pytest.approx((20 / 16, 20 / 16)))
    wide, sample = stack_of(ct(np.full((2, 5, 20), 2000)), ReadVolume(size=8, axis="axial", windows=("ct_bone_v1",)))
    assert wide.pixels[0, 0, :, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert sample.records["stack"].box == pytest.approx((0, -7.5, 20, 12.5))


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(1, 40), step=st.floats(0.3, 6), wanted=st.floats(0.5, 12))
def test_slices_at_a_distance_cover_the_same_reach_and_keep_the_mean(depth: int, step: float, wanted: float) -> None:
    values = np.random.default_rng(depth).uniform(-500, 900, depth)
    volume = ct(values[:, None, None] * np.ones((1, 8, 8)), spacing=(step, 1, 1))
    stack, _ = stack_of(volume, ReadVolume(size=8, slice_mm=wanted, windows=("ct_bone_v1",), bits=32))
    count = max(1, round(round(depth * step / wanted, 3)))  # a half is a half in single precision too
    assert len(stack.position) == count
    z = stack.position[:, 2].numpy()
    own = depth * step / count
    np.testing.assert_allclose(z, (np.arange(count) + 0.5) * own - step / 2, atol=1e-3)
    if count <= depth:
        mean = (stack.pixels.mean() * 1800 - 500).item()
        assert abs(mean - values.mean()) < 0.5


@pytest.mark.parametrize("step", [0.7, 1.1, 1.25, 2.5, 3.27])
def test_single_precision_decides_no_number_of_slices(step: float) -> None:
    """61 slices of half the distance are 30.5: as many by DICOM's digits as by NIfTI's."""
    view = ReadVolume(size=8, slice_mm=2 * step, windows=("ct_bone_v1",))
    depths = [len(stack_of(ct(np.zeros((61, 8, 8)), spacing=(s, 1, 1)), view)[0].position) for s in
              (step, float(np.float32(step)), float(np.nextafter(np.float32(step), np.float32(0))))]  # fmt: skip
    assert depths == [30, 30, 30]


def test_a_thick_slice_is_the_mean_of_hounsfield_units_and_not_of_what_is_shown() -> None:
    """Air and metal: their mean is 500 HU, half of the bone window would be 0.5."""
    volume = ct(np.stack([np.full((8, 8), -1000), np.full((8, 8), 2000)]))
    stack, _ = stack_of(volume, ReadVolume(size=8, slice_mm=2.0, windows=("ct_bone_v1",), bits=32))
    assert stack.pixels.shape[0] == 1
    assert float(stack.pixels[0, 0, 4, 4]) == pytest.approx((500 - 400) / 1800 + 0.5)
    assert stack.position.tolist() == [[-3.5, -3.5, 0.5]]


def test_one_slice_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii"
    write_ct(path, 8)
    whole, _ = stack_of(str(path), ReadVolume(size=8))
    lazy = apply_views(Sample("a", {"volume": str(path)}), [ReadVolume(size=8)]).fields["stack"]
    assert isinstance(lazy, LazyStack)
    data = bytearray(path.read_bytes())
    slice_bytes = 20 * 16 * 2
    data[352 + 5 * slice_bytes :] = bytes(len(data) - 352 - 5 * slice_bytes)  # spoils slices 5 to 7
    path.write_bytes(data)
    some = lazy.take([1, 4])
    assert torch.equal(some.pixels, whole.pixels[[1, 4]])
    assert torch.equal(some.position, whole.position[[1, 4]])


def test_a_volume_of_another_modality_is_refused_and_one_that_says_nothing_is_doubted() -> None:
    with pytest.raises(UnreadableImage, match="ct_lung_v1 is for Modality CT, its Modality is MR"):
        stack_of(ct(np.zeros((2, 8, 8)), modality="MR"), ReadVolume(size=8))
    _, sample = stack_of(ct(np.full((2, 8, 8), 300), modality=""), ReadVolume(size=8))
    assert "these may not be Hounsfield units" in sample.records["stack"].warnings[-1]
    _, sample = stack_of(ct(np.full((2, 8, 8), -900), modality=""), ReadVolume(size=8))
    assert sample.records["stack"].warnings == ()


def test_the_side_car_of_ct_rate_is_applied_where_values_are_raw_and_only_there(tmp_path: Path) -> None:
    draws = np.random.default_rng(2)
    hounsfield = draws.choice([-950, -800, 30, 60], (10, 12, 6)).astype(np.int16)
    view = ReadVolume(size=12, side_car="ct_rate", windows=("ct_lung_v1",))
    numbers = {"number.rescale_slope": 1.0, "number.rescale_intercept": -8192.0}
    numbers |= {"number.spacing_z": 1.5, "number.spacing_y": 0.7, "number.spacing_x": 0.7}
    assert set(read_numbers([view])) == set(numbers)
    found = []
    for name, shift in (("raw", 8192), ("hu", 0)):
        nibabel.Nifti1Image(hounsfield + np.int16(shift), LPS).to_filename(tmp_path / f"{name}.nii.gz")
        sample = apply_views(Sample("a", {"volume": str(tmp_path / f"{name}.nii.gz"), **numbers}), [view])
        stack = sample.fields["stack"]
        assert isinstance(stack, LazyStack)
        found.append(stack.take())
    assert torch.equal(found[0].pixels, found[1].pixels)
    assert torch.equal(found[0].position, found[1].position)
    assert float(found[0].position[1, 2] - found[0].position[0, 2]) == 1.5
    with pytest.raises(DataError, match="'a' lacks a rescale or a spacing: index CT-RATE with its metadata tables"):
        apply_views(Sample("a", {"volume": str(tmp_path / "raw.nii.gz"), "number.rescale_slope": 1.0}), [view])


def test_a_model_of_ct_rate_reads_volumes_of_other_sources_which_must_be_in_hounsfield_units(tmp_path: Path) -> None:
    """Its bundle keeps the view: without a side-car the file's own spacing holds, and raw values are refused."""
    hounsfield = np.random.default_rng(2).choice([-950, -800, 30, 60], (10, 12, 6)).astype(np.int16)
    for name, shift in (("raw", 8192), ("hu", 0)):
        nibabel.Nifti1Image(hounsfield + np.int16(shift), LPS).to_filename(tmp_path / f"{name}.nii.gz")
    plain, guarded = (
        stack_of(str(tmp_path / "hu.nii.gz"), ReadVolume(size=12, side_car=side_car, windows=("ct_lung_v1",)))[0]
        for side_car in ("none", "ct_rate")
    )
    assert torch.equal(plain.pixels, guarded.pixels)
    assert torch.equal(plain.position, guarded.position)
    with pytest.raises(UnreadableImage, match="its values are no Hounsfield units of a chest"):
        stack_of(str(tmp_path / "raw.nii.gz"), ReadVolume(size=12, side_car="ct_rate"))


def test_a_field_that_is_no_volume_is_refused_and_a_missing_one_is_passed() -> None:
    assert apply_views(Sample("a", {"text": "x"}), [ReadVolume()]).fields == {"text": "x"}
    with pytest.raises(DataError, match="is neither a path nor a volume: name one file"):
        apply_views(Sample("a", {"volume": ("x", "y")}), [ReadVolume()])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 4}, r"at least 8 pixels .* change these"),
        ({"slice_mm": 0.0}, r"above 0 mm.* and 0.0 mm: change these"),
        ({"to": "image"}, r"'image' of 'volume'"),
        ({"windows": ()}, r"in one or more presets: change windows to some of ct_bone_v1, .*mr_percentile_v1"),
    ],
)
def test_an_option_out_of_range_is_one_sentence(options: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        ReadVolume(**options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="dicom_voi_v1 is a preset for 2D images, not for volumes"):
        ReadVolume(windows=("dicom_voi_v1",))
    with pytest.raises(UserError, match="no preprocessing preset 'ct_lungs': did you mean 'ct_lung_v1'"):
        ReadVolume(windows=("ct_lungs",))


@pytest.mark.parametrize("view", [ReadVolume(size=8), ReadGrid(size=(6, 8, 5), spacing=(1.0, 1.0, 3.0))])
def test_a_mask_goes_voxel_by_voxel_with_a_volume_that_says_nothing_of_its_place(tmp_path: Path, view: View) -> None:
    """nibabel gives such a volume an affine that runs to the left from its middle, and masks are saved with that."""
    inside = np.zeros((6, 8, 5), bool)
    inside[1:3, 1:6, 1:4] = True
    bare = nibabel.Nifti1Image(np.where(inside, 1000, -1000).astype(np.int16), None)
    bare.header.set_zooms((1.0, 1.0, 3.0))
    bare.to_filename(tmp_path / "ct.nii")
    guess = nibabel.load(tmp_path / "ct.nii").affine
    assert guess[0, 0] < 0 < guess[0, 3]
    nibabel.Nifti1Image(inside.astype(np.uint8), guess).to_filename(tmp_path / "mask.nii")
    fields = {"volume": str(tmp_path / "ct.nii"), "mask.mass": Drawn("mask", "mask.nii", tmp_path)}
    sample = apply_views(Sample("a", fields), [view])
    mask, stack = seen(sample, "mask.mass"), sample.fields["stack"]
    shown = stack.take() if isinstance(stack, LazyStack) else stack
    assert isinstance(mask, torch.Tensor)
    assert isinstance(shown, Stack)
    assert int(mask.sum()) == inside.sum()
    assert torch.equal(mask, shown.pixels[:, 0] > 0.5)
