"""SIIM-ACR Pneumothorax Segmentation on small trees: the DICOM release and the PNG re-upload."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.layouts.siim_pneumothorax import _union
from medvlp.data.text_table import Table
from tests.data.layouts.dicom_file import write_radiograph

A, B, C = (f"1.2.276.0.7230010.3.1.4.8323329.{k}.1517875201.850819" for k in (6904, 13666, 11028))
SIDE = 1024


def relative(mask: np.ndarray) -> str:
    """The challenge's encoding: pairs of (background since the last run, length), down the columns."""
    flat = np.concatenate([[0], mask.T.reshape(-1).astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(flat) == 1), np.flatnonzero(np.diff(flat) == -1)
    last = np.concatenate([[0], ends[:-1]])
    return " ".join(f"{start - before} {end - start}" for start, end, before in zip(starts, ends, last, strict=True))


def decoded(runs: list[int]) -> np.ndarray:
    """The manifest's run lengths as a picture."""
    height, width, *lengths = runs
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T


def ellipse(y: int, x: int, tall: int, wide: int) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - y) / tall) ** 2 + ((columns - x) / wide) ** 2 <= 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    first, second = ellipse(300, 200, 90, 40), ellipse(340, 230, 50, 60)  # they overlap
    rows = [f"{A}, {relative(first)}", f"{B}, -1", f"{C},-1", f"{A},{relative(second)}"]
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    for place, uid, patient in (
        ("dicom-images-train", A, "p1"),
        ("dicom-images-train", B, "p1"),
        ("dicom-images-test", C, "p2"),
    ):
        write_radiograph(
            tmp_path / place / f"{uid}.1" / f"{uid}.2" / f"{uid}.dcm",
            uid=uid,
            patient=patient,
            sex="M",
            age="34",
            view="PA",
        )
    return tmp_path


def test_masks_of_one_image_become_their_union_and_lie_as_they_were_drawn(root: Path) -> None:
    manifest = index_cohort("siim_pneumothorax", root)
    assert manifest.column("id").tolist() == [A, B, C]
    assert manifest.column("label.pneumothorax").tolist() == [1, 0, 0]
    runs = manifest.arrow("mask.pneumothorax").to_pylist()
    np.testing.assert_array_equal(decoded(runs[0]), ellipse(300, 200, 90, 40) | ellipse(340, 230, 50, 60))
    assert runs[1] == runs[2] == [SIDE, SIDE, SIDE * SIDE]  # looked at, nothing found
    assert manifest.column("table_rows").tolist() == ["0 3", "1", "2"]
    assert manifest.column("image")[0] == f"dicom-images-train/{A}.1/{A}.2/{A}.dcm"


def test_the_folder_is_the_split_and_headers_tell_patient_view_sex_and_age(root: Path) -> None:
    manifest = index_cohort("siim_pneumothorax", root)
    assert manifest.column("split").tolist() == ["train", "train", "test"]
    assert manifest.column("id.patient").tolist() == ["p1", "p1", "p2"]
    assert (manifest.record(0)["sex"], manifest.record(0)["age"], manifest.record(0)["view_position"]) == (
        "M",
        34,
        "PA",
    )
    bare = index_cohort("siim_pneumothorax", root, {"headers": False})
    assert bare.column("id.patient").tolist() == [A, B, C]


def test_images_of_stage_2_in_one_folder_have_no_split(root: Path) -> None:
    (root / "train-rle.csv").rename(root / "stage_2_train.csv")
    (root / "dicom-images-train").rename(root / "stage_2_images")
    (root / "dicom-images-test").rename(root / "stage_2_images" / "more")
    assert "split" not in index_cohort("siim_pneumothorax", root)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=5), max_size=4))
def test_the_union_of_any_rows_is_the_union_of_their_pixels(drawn: list[list[tuple[int, int]]]) -> None:
    expected = np.zeros(SIDE * SIDE, dtype=bool)
    for pairs in drawn:
        at = 0
        for offset, length in pairs:
            expected[at + offset : at + offset + length] = True
            at += offset + length
    cells = [" ".join(f"{offset} {length}" for offset, length in pairs) for pairs in drawn] or ["-1"]
    table = Table(Path("t.csv"), ("ImageId", "EncodedPixels"), tuple(("a", c) for c in cells), tuple(range(2, 9)))
    runs = _union(table, cells, range(len(cells)))
    assert sum(runs[2:]) == SIDE * SIDE
    assert all(length > 0 for length in runs[3:])  # only the first run may be empty
    np.testing.assert_array_equal(decoded(runs), expected.reshape(SIDE, SIDE).T)


def test_a_mask_that_reaches_the_last_pixel_is_whole(tmp_path: Path) -> None:
    (tmp_path / "train-rle.csv").write_text(f"ImageId, EncodedPixels\n{A}, {SIDE * SIDE - 5} 5\n{B}, 0 {SIDE * SIDE}\n")
    manifest = index_cohort("siim_pneumothorax", tmp_path, {"require_files": False})
    assert manifest.arrow("mask.pneumothorax").to_pylist() == [
        [SIDE, SIDE, SIDE * SIDE - 5, 5],
        [SIDE, SIDE, 0, SIDE * SIDE],
    ]


def test_missing_and_unknown_files_are_listed(root: Path) -> None:
    next((root / "dicom-images-test").rglob("*.dcm")).rename(root / "dicom-images-test/1.2.3.dcm")
    manifest = index_cohort("siim_pneumothorax", root)
    assert manifest.meta["skipped"] == {"missing_file": [C], "not_in_table": ["dicom-images-test/1.2.3.dcm"]}


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("5 6 7", r"line 2: the mask is not pairs of offset and length"),
        ("a b", r"line 2: the mask is not pairs of offset and length"),
        ("-5 6", r"line 2: the mask is not pairs of offset and length"),
        ("1048570 7", r"line 2: the mask leaves 1024 x 1024 pixels"),
    ],
)
def test_a_mask_that_cannot_be_is_one_sentence(tmp_path: Path, cell: str, sentence: str) -> None:
    (tmp_path / "train-rle.csv").write_text(f"ImageId, EncodedPixels\n{A}, {cell}\n")
    with pytest.raises(DataError, match=sentence):
        index_cohort("siim_pneumothorax", tmp_path, {"require_files": False})


def test_a_mask_and_no_mask_of_one_image_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "train-rle.csv").write_text(f"ImageId, EncodedPixels\n{A}, 5 6\n{A}, -1\n")
    with pytest.raises(DataError, match=r"an image has both a mask and -1 \(no mask\): take the table"):
        index_cohort("siim_pneumothorax", tmp_path, {"require_files": False})
    (tmp_path / "train-rle.csv").unlink()
    with pytest.raises(DataError, match=r"holds no mask table of the SIIM-ACR challenge \(train-rle.csv or"):
        index_cohort("siim_pneumothorax", tmp_path)


# the PNG re-upload --------------------------------------------------------------------------------------------------


@pytest.fixture
def png(tmp_path: Path) -> Path:
    root = tmp_path / "siim-acr-pneumothorax"
    names = {"0_train_1_.png": A, "1_train_0_.png": B, "0_test_0_.png": C}
    for folder in ("png_images", "png_masks"):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    for part in ("train", "test"):
        rows = [f"{name},{uid},{name.split('_')[2]}" for name, uid in names.items() if part in name]
        (root / f"stage_1_{part}_images.csv").write_text("\n".join(["new_filename,ImageId,has_pneumo", *rows]) + "\n")
    return root


@pytest.mark.parametrize("place", [".", ".."])
def test_the_re_upload_has_its_split_in_its_tables_and_masks_as_files(png: Path, place: str) -> None:
    manifest = index_cohort("siim_pneumothorax", (png / place).resolve())
    assert manifest.column("id").tolist() == [A, B, C]  # the same ids as in the DICOM form
    assert manifest.column("split").tolist() == ["train", "train", "test"]
    assert manifest.column("label.pneumothorax").tolist() == [1, 0, 0]
    inside = "" if place == "." else f"{png.name}/"
    assert manifest.column("image")[0] == f"{inside}png_images/0_train_1_.png"
    assert manifest.column("mask.pneumothorax")[0] == f"{inside}png_masks/0_train_1_.png"


def test_an_image_that_the_re_upload_names_twice_is_one_row(png: Path) -> None:
    table = png / "stage_1_train_images.csv"
    table.write_text(table.read_text() + f"0_train_1_.png,{A},1\n")
    assert len(index_cohort("siim_pneumothorax", png)) == 3
    (png / "png_images/0_train_1_.png").rename(png / "png_images/other.png")
    assert index_cohort("siim_pneumothorax", png).meta["skipped"] == {
        "missing_file": [A],
        "not_in_table": ["png_images/other.png"],
    }
