"""NIfTI headers written by hand from nifti1.h; the place of each voxel is known."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from medvlp.io import UnreadableImage, read_volume
from medvlp.io.deidentify.nifti import deidentify_nifti

RNG = np.random.default_rng(7)
VOXELS = RNG.integers(-1000, 1000, (4, 3, 2)).astype(np.int16)  # (z, y, x)
AFFINE = np.array([[-0.8, 0.1, 0, 90], [0, 0.5, 0.2, -126], [0, 0, 2.5, -72]], float)
TYPES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "uint16": 512, "int64": 1024}


def nifti(
    voxels, *, order="<", slope=1.0, inter=0.0, sform=AFFINE, qform=None, code=1, dim=None, units=2, two=False,
    pixdim=(1.0, 1.0, 1.0), magic=None, extension=b"", kind=None,
):  # fmt: skip
    """Return a NIfTI-1 or -2 file; ``qform`` is (b, c, d, qfac, x, y, z)."""
    dim = dim or [voxels.ndim, *voxels.shape[::-1]]
    dim = list(dim) + [1] * (8 - len(dim))
    kind = kind or TYPES[voxels.dtype.name]
    rows = np.zeros((3, 4)) if sform is None else sform
    b, c, d, qfac, *origin = qform or (0, 0, 0, 1, 0, 0, 0)
    scode, qcode = (0 if sform is None else code), (0 if qform is None else 1)
    sizes = [qfac, *pixdim, 1, 1, 1, 1]
    if two:
        head = struct.pack(
            order + "i8s2h8q3d8d", 540, magic or b"n+2\0\r\n\x1a\n", kind, 8 * voxels.itemsize, *dim, 0, 0, 0, *sizes
        )
        head += struct.pack(order + "q2d", 544 + len(extension), slope, inter) + struct.pack(
            order + "4d2q", 0, 0, 0, 0, 0, 0
        )
        head += b"\0" * 104 + struct.pack(order + "2i6d12d", qcode, scode, b, c, d, *origin, *rows.ravel())
        head += b"\0" * 4 + struct.pack(order + "2i", units, 0)
        head = head.ljust(540, b"\0")
    else:
        head = struct.pack(
            order + "i36x8h3f4h8f3f",
            348,
            *dim,
            0,
            0,
            0,
            0,
            kind,
            8 * voxels.itemsize,
            0,
            *sizes,
            352 + len(extension),
            slope,
            inter,
        )
        head += struct.pack(order + "h2B4f2i", 0, 0, units, 0, 0, 0, 0, 0, 0)
        head += b"\0" * 104 + struct.pack(order + "2h6f12f", qcode, scode, b, c, d, *origin, *rows.ravel())
        head += b"\0" * 16 + (magic or b"n+1\0")
        assert len(head) == 348
    return (
        head + bytes([bool(extension), 0, 0, 0]) + extension + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    )


def write(tmp_path, data, *, packed=False):
    path = tmp_path / "volume.bin"
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def refused(path):
    with pytest.raises(UnreadableImage) as refusal:
        read_volume(path)
    assert refusal.value.path == str(path)
    return refusal.value.reason


@pytest.mark.parametrize("two", [False, True], ids=["nifti1", "nifti2"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_voxels_and_their_places(tmp_path, two, order, packed):
    volume = read_volume(write(tmp_path, nifti(VOXELS, order=order, two=two), packed=packed))
    assert volume.voxels.dtype == np.float32
    assert (volume.voxels == VOXELS).all()
    for k, j, i in np.ndindex(4, 3, 2):
        assert volume.world_of(k, j, i) == pytest.approx(AFFINE @ [i, j, k, 1], abs=1e-4)
    assert volume.warnings == ()


@pytest.mark.parametrize("name", TYPES)
def test_every_number_type(tmp_path, name):
    values = np.abs(VOXELS % 100).astype(name)
    assert (read_volume(write(tmp_path, nifti(values))).voxels == values).all()


def test_spacing_is_z_y_x(tmp_path):
    volume = read_volume(write(tmp_path, nifti(VOXELS, sform=np.diag([0.7, 0.8, 3.0, 1.0])[:3])))
    assert volume.spacing == pytest.approx((3.0, 0.8, 0.7))


def test_slope_and_intercept(tmp_path):
    assert read_volume(write(tmp_path, nifti(VOXELS, slope=2.0, inter=-1024.0))).voxels == pytest.approx(
        VOXELS * 2.0 - 1024
    )


def test_slope_0_means_unscaled_whatever_the_intercept(tmp_path):
    assert (read_volume(write(tmp_path, nifti(VOXELS, slope=0.0, inter=7.0))).voxels == VOXELS).all()


@pytest.mark.parametrize(("slope", "inter"), [(np.nan, 0), (np.inf, 0), (1, np.nan)])
def test_scaling_that_is_not_finite_is_refused(tmp_path, slope, inter):
    assert refused(write(tmp_path, nifti(VOXELS, slope=slope, inter=inter))) == "bad_rescale"


def test_nan_voxels_are_kept_and_counted(tmp_path):
    values = VOXELS.astype(np.float32)
    values[1, 1, 1] = np.nan
    volume = read_volume(write(tmp_path, nifti(values)))
    assert np.isnan(volume.voxels[1, 1, 1])
    assert "voxels that are not finite, kept as they are: 1" in volume.warnings


def test_qform_where_there_is_no_sform(tmp_path):
    # Quaternion (0, 0, 1) turns by 180 degrees about z: x and y are negated (nifti1.h, method 2).
    data = nifti(VOXELS, sform=None, qform=(0, 0, 1, 1, 10, 20, 30), pixdim=(0.7, 0.8, 3.0))
    volume = read_volume(write(tmp_path, data))
    assert volume.world_of(2, 1, 1) == pytest.approx((10 - 0.7, 20 - 0.8, 36), abs=1e-4)


def test_sform_counts_before_a_different_qform_and_it_is_announced(tmp_path):
    volume = read_volume(write(tmp_path, nifti(VOXELS, qform=(0, 0, 0, 1, 0, 0, 0))))
    assert volume.world_of(0, 0, 0) == pytest.approx((90, -126, -72))
    assert any("sform and qform differ" in note for note in volume.warnings)


def test_singular_sform_is_passed_over_and_announced(tmp_path):
    data = nifti(VOXELS, sform=np.zeros((3, 4)), qform=(0, 0, 0, 1, 1, 2, 3))
    volume = read_volume(write(tmp_path, data))
    assert volume.world_of(0, 0, 0) == pytest.approx((1, 2, 3))
    assert "the sform is singular or not finite and was passed over" in volume.warnings


def test_no_form_gives_sizes_only_and_is_announced(tmp_path):
    volume = read_volume(write(tmp_path, nifti(VOXELS, sform=None, pixdim=(0.7, 0.8, 3.0))))
    assert volume.spacing == pytest.approx((3.0, 0.8, 0.7))
    assert any("neither sform nor qform" in note for note in volume.warnings)


def test_metres_become_millimetres(tmp_path):
    volume = read_volume(write(tmp_path, nifti(VOXELS, sform=AFFINE / 1000, units=1)))
    assert volume.world_of(3, 2, 1) == pytest.approx(AFFINE @ [1, 2, 3, 1], abs=1e-3)
    bare = read_volume(write(tmp_path, nifti(VOXELS, sform=None, pixdim=(0.0007, 0.0008, 0.003), units=1)))
    assert bare.spacing == pytest.approx((3.0, 0.8, 0.7))


def test_small_voxels_in_metres_keep_their_place(tmp_path):
    small = AFFINE / 10  # 0.08 x 0.05 x 0.25 mm, in metres a volume of 1e-12
    volume = read_volume(write(tmp_path, nifti(VOXELS, sform=small / 1000, units=1)))
    assert volume.world_of(3, 2, 1) == pytest.approx(small @ [1, 2, 3, 1], abs=1e-4)
    assert volume.affine.codes == "LAS"


def test_trailing_dimensions_of_1_are_dropped(tmp_path):
    volume = read_volume(write(tmp_path, nifti(VOXELS, dim=[5, 2, 3, 4, 1, 1])))
    assert volume.shape == (4, 3, 2)


def test_several_volumes_are_refused(tmp_path):
    assert refused(write(tmp_path, nifti(np.zeros((2, 4, 3, 2), np.int16)))) == "several_volumes"


@pytest.mark.parametrize("packed", [False, True])
def test_cut_files_are_refused(tmp_path, packed):
    voxels = np.random.default_rng(7).integers(0, 9999, (8, 9, 10)).astype(np.int16)
    path = write(tmp_path, nifti(voxels), packed=packed)
    data = path.read_bytes()
    for cut in (1, 9, len(data) // 2):
        path.write_bytes(data[:-cut])
        assert refused(path) == "truncated"


def test_gzip_members_are_one_file_however_small_and_many(tmp_path):  # RFC 1952, 2.2
    voxels = np.random.default_rng(7).integers(-1000, 1000, (40, 30, 20)).astype(np.int16)
    data = nifti(voxels)
    small = [gzip.compress(data[at : at + 10]) + gzip.compress(b"") for at in range(352, len(data), 10)]
    packed = b"".join([gzip.compress(data[:352]), *small])
    assert len(packed) > 1 << 17  # it is read in several pieces
    assert (read_volume(write(tmp_path, packed)).voxels == voxels).all()


def test_damaged_gzip_does_not_pass_its_checksum(tmp_path):
    path = write(tmp_path, nifti(VOXELS), packed=True)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the CRC
    path.write_bytes(bytes(data))
    assert refused(path) == "corrupt"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (70, struct.pack("<h", 999), "datatype is 999, which is none"),
        (108, struct.pack("<f", np.nan), "vox_offset is nan"),
        (108, struct.pack("<f", np.inf), "vox_offset is inf"),
    ],
)
def test_header_that_makes_no_sense_is_told_by_its_field(tmp_path, place, value, said):
    data = bytearray(nifti(VOXELS))
    data[place : place + len(value)] = value
    with pytest.raises(UnreadableImage, match=said) as refusal:
        read_volume(write(tmp_path, bytes(data)))
    assert refusal.value.reason == "bad_header"


def test_header_that_claims_more_than_the_file_holds(tmp_path):
    assert refused(write(tmp_path, nifti(VOXELS, dim=[3, 500, 500, 500]))) == "truncated"
    assert refused(write(tmp_path, nifti(VOXELS, dim=[3, 30000, 30000, 30000]))) == "too_large"
    assert refused(write(tmp_path, nifti(VOXELS, dim=[3, 700, 700, 700]), packed=True)) == "too_large"
    assert refused(write(tmp_path, nifti(VOXELS, dim=[3, 2, -3, 4]))) == "bad_header"
    assert refused(write(tmp_path, nifti(VOXELS, dim=[9, 2, 3, 4]))) == "bad_header"


def test_half_of_a_pair_is_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="pair"):
        read_volume(write(tmp_path, nifti(VOXELS, magic=b"ni1\0")))


def test_an_image_is_not_a_volume(tmp_path, dicom):
    assert refused(dicom(np.zeros((2, 2), np.uint8))) == "not_a_volume"


def test_sheared_sform_is_kept_as_it_is(tmp_path):
    sheared = np.array([[1, 0.4, 0, 1], [0, 1, 0.3, 2], [0.2, 0, 2, 3]], float)
    volume = read_volume(write(tmp_path, nifti(VOXELS, sform=sheared)))
    for k, j, i in np.ndindex(4, 3, 2):
        assert volume.world_of(k, j, i) == pytest.approx(sheared @ [i, j, k, 1], abs=1e-4)
    assert volume.warnings == ()


@pytest.mark.parametrize("qfac", [1, -1, 0, 3, -2])
@pytest.mark.parametrize("two", [False, True])
def test_oblique_qform_is_the_rotation_of_its_quaternion(tmp_path, qfac, two):
    # nifti1.h, method 2: a = sqrt(1 - b^2 - c^2 - d^2), the third column times the sign of qfac, 1 of 0.
    b, c, d = 0.1, -0.3, 0.2
    a = np.sqrt(1 - b * b - c * c - d * d)
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    sizes = np.array([0.7, 0.8, 3.0])
    data = nifti(VOXELS, sform=None, qform=(b, c, d, qfac, 10, 20, 30), pixdim=sizes, two=two)
    volume = read_volume(write(tmp_path, data))
    for k, j, i in np.ndindex(4, 3, 2):
        place = turn @ (sizes * [i, j, k * (-1 if qfac < 0 else 1)]) + [10, 20, 30]
        assert volume.world_of(k, j, i) == pytest.approx(place, abs=1e-4)
    assert volume.warnings == ()


@pytest.mark.parametrize("two", [False, True])
def test_a_half_turn_whose_quaternion_was_rounded_up_keeps_left_and_right(tmp_path, two):
    # nifti1_io.c, nifti_quatern_to_mat44: longer than 1, it is made unit, with a = 0. About x = y: (y, x, -z).
    data = nifti(VOXELS, sform=None, qform=(0.70712, 0.70712, 0, 1, 10, 20, 30), pixdim=(0.7, 0.8, 3.0), two=two)
    volume = read_volume(write(tmp_path, data))
    for k, j, i in np.ndindex(4, 3, 2):
        assert volume.world_of(k, j, i) == pytest.approx((10 + 0.8 * j, 20 + 0.7 * i, 30 - 3 * k), abs=1e-4)
    assert volume.warnings == ()


def test_micrometres_become_millimetres(tmp_path):
    volume = read_volume(write(tmp_path, nifti(VOXELS, sform=AFFINE * 1000, units=3)))
    assert volume.world_of(3, 2, 1) == pytest.approx(AFFINE @ [1, 2, 3, 1], abs=1e-3)


@pytest.mark.parametrize("sform", [np.zeros((3, 4)), np.full((3, 4), np.nan)])
def test_useless_sform_alone_leaves_the_voxel_sizes_and_says_so(tmp_path, sform):
    volume = read_volume(write(tmp_path, nifti(VOXELS, sform=sform, pixdim=(0.7, 0.8, 3.0))))
    assert volume.spacing == pytest.approx((3.0, 0.8, 0.7))
    assert volume.warnings[0] == "the sform is singular or not finite and was passed over"
    assert "neither sform nor qform" in volume.warnings[1]


def test_without_forms_and_sizes_there_is_no_place(tmp_path):
    assert refused(write(tmp_path, nifti(VOXELS, sform=None, pixdim=(0.0, 1.0, 1.0)))) == "bad_affine"


@pytest.mark.parametrize("two", [False, True])
def test_header_extensions_are_stepped_over(tmp_path, two):
    extension = struct.pack("<ii", 32, 6) + b"a comment".ljust(24, b"\0")
    assert (read_volume(write(tmp_path, nifti(VOXELS, extension=extension, two=two))).voxels == VOXELS).all()


@pytest.mark.parametrize("kind", [128, 2304, 32, 1792, 1536, 1])
def test_colours_complex_long_and_single_bits_are_refused(tmp_path, kind):
    # RGB24, RGBA32, COMPLEX64, COMPLEX128, FLOAT128, BINARY
    assert refused(write(tmp_path, nifti(np.zeros((4, 3, 2, 4), np.float64), dim=[3, 2, 3, 4], kind=kind))) in (
        "unsupported_format",
        "corrupt",
    )


def test_colours_are_called_so_and_the_mend_is_no_other_format(tmp_path):
    path = write(tmp_path, nifti(np.zeros((4, 3, 2, 4), np.float64), dim=[3, 2, 3, 4], kind=128))
    with pytest.raises(UnreadableImage, match=r"its voxels are colours, not single .*; save its values as single num"):
        read_volume(path)


def test_one_slice_is_a_volume_of_one_slice(tmp_path):
    assert (read_volume(write(tmp_path, nifti(VOXELS[0]))).voxels == VOXELS[:1]).all()


def test_whole_numbers_that_float32_rounds_are_announced(tmp_path):
    values = VOXELS.astype(np.int32)
    values[0, 0, 0] = 2**24 + 1
    assert read_volume(write(tmp_path, nifti(values))).warnings == (
        "whole numbers beyond 16777216 were rounded to float32",
    )
    values[0, 0, 0] = 2**24
    assert read_volume(write(tmp_path, nifti(values))).warnings == ()


def test_gzip_of_several_members_is_one_file(tmp_path):
    # RFC 1952, 2.2: members follow each other; block compressors write a last empty one.
    data = nifti(VOXELS)
    path = tmp_path / "volume.bin"
    path.write_bytes(b"".join(gzip.compress(data[k : k + 350]) for k in (0, 350)) + gzip.compress(b""))
    assert (read_volume(path).voxels == VOXELS).all()
    path.write_bytes(path.read_bytes() + b"\0" * 512)  # padded to a tape's block
    assert (read_volume(path).voxels == VOXELS).all()
    path.write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:])[:-9])
    assert refused(path) == "truncated"


def test_gzip_bomb_is_refused_before_it_is_inflated(tmp_path):
    # 540 MB of zeros in 560 kB, and more than it asks for: beyond 256 Mi voxels a file may swell 200 times.
    megabyte = gzip.compress(bytes(1_000_000))
    path = tmp_path / "volume.bin"
    path.write_bytes(gzip.compress(nifti(VOXELS, dim=[3, 1000, 1000, 270])) + 540 * megabyte)
    assert refused(path) == "too_large"
    path.write_bytes(gzip.compress(nifti(VOXELS)) + 540 * megabyte)
    assert refused(path) == "too_large"


def test_mask_of_one_small_nodule_in_an_ordinary_ct_is_no_bomb(tmp_path):
    mask = np.zeros((300, 512, 512), np.uint8)
    mask[150:153, 200:204, 300:304] = 1
    path = tmp_path / "nodule.nii.gz"
    path.write_bytes(gzip.compress(nifti(mask), compresslevel=1))
    assert path.stat().st_size < mask.nbytes / 200
    assert np.array_equal(read_volume(path).voxels > 0, mask > 0)


# As nibabel's get_fdata makes it of any, and of a thin-sliced CT of the chest in the type of its voxels.
@pytest.mark.parametrize(("kind", "slices"), [("float64", 130), ("int16", 520)])
def test_an_almost_empty_mask_of_any_type_is_no_bomb_either(tmp_path, kind, slices):
    head = nifti(VOXELS.astype(kind), dim=[3, 512, 512, slices])
    path = tmp_path / "organ.nii.gz"
    path.write_bytes(gzip.compress(head) + 273 * gzip.compress(bytes(1_000_000)))
    voxels = read_volume(path).voxels
    assert voxels.shape == (slices, 512, 512)
    assert np.count_nonzero(voxels) == np.count_nonzero(VOXELS)
    assert deidentify_nifti(path, tmp_path / "out.nii.gz") == ()
