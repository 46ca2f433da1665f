"""Boxes and masks of any table: cells, run lengths, files, label maps, COCO annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.core.sample import Sample
from medvlp.data.layouts._coco import coco_columns
from medvlp.data.layouts.csv import index
from medvlp.data.marks import seen
from medvlp.data.mask_files import mask_of
from medvlp.data.pipeline import Records, apply_views
from medvlp.data.views.read import Read
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.take_slice import TakeSlice
from tests.io.conftest import dicom_writer

SHAPE = (16, 12)


def mask(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) > 0.6


def pictures(root: Path, count: int = 2) -> None:
    for number in range(count):
        Image.fromarray(np.zeros(SHAPE, np.uint8)).save(root / f"{number}.png")


def shown(sample: Sample, name: str) -> torch.Tensor:
    found = seen(sample, name)
    assert isinstance(found, torch.Tensor)
    return found


def test_files_of_masks_and_of_labels_are_read_by_their_values(tmp_path: Path) -> None:
    pictures(tmp_path)
    own, map8 = mask(1), np.random.default_rng(2).integers(0, 4, SHAPE)
    deep = np.random.default_rng(3).integers(0, 3, SHAPE) * 300
    Image.fromarray((own * 255).astype(np.uint8)).save(tmp_path / "own.png")
    Image.fromarray(map8.astype(np.uint8)).save(tmp_path / "map.png")
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "deep.png")
    columns = {"image": "name", "mask.a": "{seg}.png#2", "mask.b": "{seg}.png#1,3", "boxes.a": "boxes"}
    (tmp_path / "t.csv").write_text('name,seg,boxes\n0.png,map,"[[1, 2, 3, 4]]"\n1.png,,[]\n')
    manifest = index(tmp_path, columns=columns)
    assert manifest.column("mask.a").tolist() == ["map.png#2", None]
    assert [None if b is None else len(b) for b in manifest.arrow("boxes.a").to_pylist()] == [1, 0]
    np.testing.assert_array_equal(mask_of("map.png#2", tmp_path).pixels, map8 == 2)
    np.testing.assert_array_equal(mask_of("map.png#1,3", tmp_path).pixels, map8 % 2 == 1)
    np.testing.assert_array_equal(mask_of("deep.png#300,600", tmp_path).pixels, deep > 0)
    np.testing.assert_array_equal(mask_of("own.png", tmp_path).pixels, own)
    sample = apply_views(Records(manifest).sample(0), [Read(size=32)])
    np.testing.assert_array_equal(shown(sample, "mask.b")[:, 4:28], np.kron(map8 % 2 == 1, np.ones((2, 2), bool)))
    assert shown(sample, "boxes.a").tolist() == [[6.0, 4.0, 10.0, 8.0]]
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour.png is in colour or no plain picture.*save them as gray values"):
        mask_of("colour.png#1", tmp_path)
    with pytest.raises(DataError, match=r"None of the 1 files of the column 'mask.a' exists"):
        index(tmp_path, columns={"image": "name", "mask.a": "nowhere/{seg}.png"})


def test_a_segmentation_of_several_frames_is_not_its_first_alone(tmp_path: Path) -> None:  # PS3.3 C.8.20.2
    frames = np.stack([mask(4), mask(5)]).astype(np.uint8)  # segments that overlap
    bits = np.packbits(frames, axis=None, bitorder="little").tobytes()
    write, tags = dicom_writer(tmp_path), {0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.66.4")}
    one, both = (
        write(bits[:size], tags, rows=SHAPE[0], columns=SHAPE[1], frames=count, bits=1)
        for count, size in ((1, len(bits) // 2), (2, len(bits)))
    )
    np.testing.assert_array_equal(mask_of(one.name, tmp_path).pixels, mask(4))
    with pytest.raises(DataError, match="has 2 frames, and a mask is one picture: write each as a file of its own"):
        mask_of(both.name, tmp_path)


def test_a_mask_of_0_and_1_is_not_read_as_black(tmp_path: Path) -> None:
    Image.fromarray(mask(1).astype(np.uint8)).save(tmp_path / "ones.png")
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(DataError, match=r"ones.png is not black and nowhere white: name the values .* ones.png#1\.$"):
        mask_of("ones.png", tmp_path)
    np.testing.assert_array_equal(mask_of("ones.png#1", tmp_path).pixels, mask(1))
    assert not mask_of("black.png", tmp_path).pixels.any()


def test_run_lengths_in_cells_are_the_mask_they_were_made_of(tmp_path: Path) -> None:
    pictures(tmp_path)
    own = mask(4)
    flat = own.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int), [0]])))
    pairs = " ".join(f"{start + 1} {stop - start}" for start, stop in zip(edges[::2], edges[1::2], strict=True))
    (tmp_path / "t.csv").write_text(f"name,rle,label\n0.png,{pairs},1\n1.png,-1,0\n")
    manifest = index(tmp_path, columns={"image": "name", "mask.f": "rle", "label.f": "label"}, run_lengths=SHAPE)
    np.testing.assert_array_equal(mask_of(manifest.record(0)["mask.f"], tmp_path).pixels, own)
    assert not mask_of(manifest.record(1)["mask.f"], tmp_path).pixels.any()
    runs = json.dumps(manifest.record(0)["mask.f"])
    (tmp_path / "t.csv").write_text(f'name,rle\n0.png,"{runs}"\n1.png,\n')
    again = index(tmp_path, columns={"image": "name", "mask.f": "rle"})
    assert again.record(0)["mask.f"] == manifest.record(0)["mask.f"]
    assert "mask.f" not in again.record(1)
    (tmp_path / "t.csv").write_text("name,rle\n0.png,5 3 6 2\n")
    with pytest.raises(
        DataError, match=r"'mask.f' holds '5 3 6 2', which is no pairs of start and length within \(16, 12\)"
    ):
        index(tmp_path, columns={"image": "name", "mask.f": "rle"}, run_lengths=SHAPE)
    (tmp_path / "t.csv").write_text("name,boxes\n0.png,10 20 30 40\n")
    with pytest.raises(DataError, match=r"'boxes.f' holds '10 20 30 40', which is no list: write it as"):
        index(tmp_path, columns={"image": "name", "boxes.f": "boxes"})


def compressed(runs: list[int]) -> str:
    """COCO's own writer of run lengths (rleToString of its maskApi), by hand."""
    out = ""
    for place, run in enumerate(runs):
        value = run - (runs[place - 2] if place > 2 else 0)
        more = True
        while more:
            code = value & 0x1F
            value >>= 5
            more = value != (-1 if code & 0x10 else 0)
            out += chr((code | (0x20 if more else 0)) + 48)
    return out


def test_coco_polygons_and_run_lengths_are_unions_and_unlisted_pictures_unknown(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    own = mask(5)
    runs = [
        int(n) for n in np.diff(np.concatenate([[0], np.flatnonzero(np.diff(own.T.ravel(), prepend=False)), [192]]))
    ]
    square, two = [2, 3, 6, 3, 6, 8, 2, 8], [[8, 0, 10, 0, 10, 2, 8, 2], [0, 0, 1, 0, 0, 1.2]]
    plain, packed = ({"size": list(SHAPE), "counts": counts} for counts in (runs, compressed(runs)))
    entries: list[dict[str, Any]] = [
        {"image_id": 1, "category_id": 7, "bbox": [2, 3, 4, 5], "segmentation": [square]},
        {"image_id": 1, "category_id": 7, "bbox": [8, 0, 2, 2], "segmentation": two},
        {"image_id": 1, "category_id": 9, "bbox": [0, 0, 12, 16], "segmentation": plain},
        {"image_id": 2, "category_id": 9, "bbox": [0, 0, 12, 16], "segmentation": packed},
    ]
    tree: dict[str, Any] = {
        "images": [{"id": i + 1, "file_name": f"x/{i}.png", "height": 16, "width": 12} for i in range(2)],
        "categories": [{"id": 7, "name": "Lung nodule"}, {"id": 9, "name": "Mass"}],
        "annotations": entries,
    }
    (tmp_path / "coco.json").write_text(json.dumps(tree))
    (tmp_path / "t.csv").write_text("name\n0.png\n1.png\n2.png\n")
    manifest = index(tmp_path, columns={"image": "name"}, coco="coco.json")
    first, second, third = (manifest.record(i) for i in range(3))
    assert first["boxes.lung_nodule"] == [[2, 3, 6, 8], [8, 0, 10, 2]]
    assert second["boxes.lung_nodule"] == []
    assert set(third) == {"id", "image"}
    polygons = np.zeros(SHAPE, bool)
    polygons[3:8, 2:6] = polygons[0:2, 8:10] = polygons[0, 0] = True
    np.testing.assert_array_equal(mask_of(first["mask.lung_nodule"], tmp_path).pixels, polygons)
    for record in (first, second):
        np.testing.assert_array_equal(mask_of(record["mask.mass"], tmp_path).pixels, own)
    assert not mask_of(second["mask.lung_nodule"], tmp_path).pixels.any()
    boxed = {"annotations": [*entries, {"image_id": 1, "category_id": 7, "bbox": [0, 9, 3, 3]}]}  # one more
    (tmp_path / "coco.json").write_text(json.dumps({**tree, **boxed}))
    found = index(tmp_path, columns={"image": "name"}, coco="coco.json").record(0)
    assert (len(found["boxes.lung_nodule"]), "mask.lung_nodule" in found, "mask.mass" in found) == (3, False, True)
    for change, sentence in (
        ({"annotations": [{**entries[0], "category_id": 3}]}, r"annotations\[0\] is of a category that is not listed"),
        ({"annotations": [{"category_id": 3}]}, r"annotations\[0\] has no 'image_id': mend the file"),
        ({"annotations": [{"image_id": 1, "category_id": 7}]}, r"annotations\[0\] has no 'bbox': mend the file"),
        ({"images": [{"id": 1, "file_name": "0.png", "width": 12}]}, r"images\[0\] has no 'height': mend the file"),
        ({"images": [{"id": 1, "file_name": "z.png"}], "annotations": []}, "lists none of the 3 pictures by the name"),
        ({"annotations": [{**entries[2], "id": 5, "segmentation": {"size": [1, 1], "counts": [1]}}]},
         r"annotation 5 has run lengths of 1 pixels, its picture is \(16, 12\)"),
        *(({"annotations": [{**entries[2], "id": 5, "segmentation": [polygon]}]}, "5 has a polygon that is no x, y, x")
          for polygon in ([1, 1, 4, 1, 4], 3)),
        ({"images": [{**tree["images"][0], "width": 16, "height": 12}]},
         r"drawn on 0\.png of 16 x 12 pixels, and the file has 12 x 16: give the pictures that were drawn on"),
        *(({"annotations": [{**entries[0], "id": 5, "bbox": box}]}, r"annotation 5 has the box .* of 12 x 16 pixels")
          for box in ([2, 3, 12, 5], [-2, 3, 4, 5], [2, 3, -1, 5], [2, 14, 4, 4], [2, 3, 4], ["x", 3, 4, 5])),
    ):  # fmt: skip
        (tmp_path / "coco.json").write_text(json.dumps({**tree, **change}))
        with pytest.raises(DataError, match=sentence):
            index(tmp_path, columns={"image": "name"}, coco="coco.json")


def test_pictures_of_one_name_in_two_folders_have_each_their_own_boxes(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{folder}/1.png"} for i, folder in enumerate(("a", "b"))]
    drawn = [{"image_id": i, "category_id": 1, "bbox": [i, 0, 1, 1]} for i in range(2)]
    tree = {"images": images, "annotations": drawn, "categories": [{"id": 1, "name": "Mass"}]}
    (tmp_path / "coco.json").write_text(json.dumps(tree))
    boxes = coco_columns(tmp_path / "coco.json", ["set/b/1.png", "a/1.png", "c/1.png"], tmp_path)["boxes.mass"]
    assert boxes == [[[1, 0, 2, 1]], [[0, 0, 1, 1]], None]
    with pytest.raises(DataError, match=r"lists 2 pictures that '1.png' may be: give paths with their folders"):
        coco_columns(tmp_path / "coco.json", ["1.png"], tmp_path)
    (tmp_path / "coco.json").write_text(json.dumps({**tree, "images": [{"id": 0, "file_name": "1.png"}]}))
    with pytest.raises(DataError, match="by a name that several of yours have: write it with its folder"):
        coco_columns(tmp_path / "coco.json", ["a/1.png", "b/1.png"], tmp_path)


@pytest.mark.parametrize("axis", ["axial", "coronal"])
def test_a_mask_in_a_file_of_other_axes_lies_where_its_millimetres_say(tmp_path: Path, axis: str) -> None:
    organs = np.random.default_rng(6).integers(0, 3, (10, 9, 7)).astype(np.int16)  # i, j, k
    there = np.diag([-1.0, 1.0, 1.0, 1.0])
    there[:3, 3] = (4, -2, 8)
    nibabel.Nifti1Image(organs, there).to_filename(tmp_path / "ct.nii.gz")
    nibabel.Nifti1Image(organs, there).to_filename(tmp_path / "same.nii.gz")
    turned = organs[::-1].transpose(2, 0, 1)  # the same voxels with other axes: i of the file is k of the picture
    other = there @ np.array([[0, -1, 0, 9], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    nibabel.Nifti1Image(turned, other).to_filename(tmp_path / "turned.nii.gz")
    nibabel.Nifti1Image(organs[:5], there).to_filename(tmp_path / "half.nii.gz")
    (tmp_path / "t.csv").write_text("ct,slice,same,turned,half\n" + "".join(
        f"ct.nii.gz,{number},same.nii.gz#2,turned.nii.gz#2,half.nii.gz#2\n" for number in ("", "3")))  # fmt: skip
    columns = {"volume": "ct", "number.slice": "slice"} | {f"mask.{n}": n for n in ("same", "turned", "half")}
    records = Records(index(tmp_path, columns=columns))
    read = ReadVolume(size=20, axis=axis)  # type: ignore[arg-type]
    whole = apply_views(records.sample(0), [read, TakeSlice()])
    masks = {name: shown(whole, f"mask.{name}") for name in ("same", "turned", "half")}
    assert masks["same"].shape[1:] == (20, 20)
    assert torch.equal(masks["same"], masks["turned"])
    assert masks["same"].any()
    assert not torch.equal(masks["same"], masks["half"])
    assert not (masks["half"] & ~masks["same"]).any()
    one = apply_views(records.sample(1), [read, TakeSlice()])
    assert torch.equal(shown(one, "mask.same"), masks["same"][3])
    assert torch.equal(shown(one, "mask.turned"), masks["same"][3])
