"""What is marked in the pixels of a file lies where the picture shows it, however the film was turned to hang."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.answers._zones import boxes_of_place, mask_of_boxes
from medvlp.core.map import Map
from medvlp.core.places import moved_record, to_source, view_to_source
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.cache import Cache
from medvlp.data.manifest import Manifest
from medvlp.data.marks import Drawn, seen
from medvlp.data.prepare import prepare
from medvlp.data.stacks import stack_of
from medvlp.data.views.read import Read
from medvlp.data.views.read_stack import ReadStack
from medvlp.evaluation.grounding.regions import Regions
from medvlp.io import read_image
from medvlp.measures._grounding_maps import _size, training_boxes
from medvlp.runs.gallery import _boxes
from tests.io.conftest import dicom_writer

ORIENTATIONS = ["L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "H\\L", "F\\R", "H\\R"]
SIZE, BOX = (48, 64), [5, 10, 15, 20]


def square(size: tuple[int, int] = SIZE, top: int = 255) -> np.ndarray:
    values = np.zeros(size, np.uint16 if top > 255 else np.uint8)
    values[10:20, 5:15] = top
    return values


def film(folder: Path, orientation: str, size: tuple[int, int] = SIZE) -> str:
    return str(dicom_writer(folder)(square(size, 4000), {0x00200020: ("CS", orientation)}))


def read(folder: Path, path: str, mask: str = "mask.png") -> Sample:
    Image.fromarray(square()).save(folder / "mask.png")
    marks = {"boxes.nodule": Drawn("boxes", [BOX]), "mask.nodule": Drawn("mask", mask, folder)}
    return Read(size=64)(Sample("a", {"image": path, **marks}), torch.Generator())


def bright(sample: Sample) -> torch.Tensor:
    image = sample.fields["image"]
    assert isinstance(image, torch.Tensor)
    assert int((image[0] > 0.5).sum()) == 100
    return image[0] > 0.5


def record_of(sample: Sample) -> ImageRecord:
    record = sample.record("image")
    assert record is not None
    return record


def covered(boxes: object) -> torch.Tensor:
    assert isinstance(boxes, torch.Tensor)
    assert len(boxes) == 1
    x0, y0, x1, y1 = boxes[0].int().tolist()
    found = torch.zeros(64, 64, dtype=torch.bool)
    found[y0:y1, x0:x1] = True
    return found


def check(sample: Sample) -> None:
    """Boxes and mask cover exactly the bright pixels, and lead back to those of the file."""
    record, boxes = record_of(sample), seen(sample, "boxes.nodule")
    assert torch.equal(covered(boxes), bright(sample))
    mask = seen(sample, "mask.nodule")
    assert isinstance(mask, torch.Tensor)
    assert torch.equal(mask, bright(sample))
    assert isinstance(boxes, torch.Tensor)
    corners = view_to_source(record, (64, 64)) @ np.array([[*boxes[0, :2], 1.0], [*boxes[0, 2:], 1.0]]).T
    assert [*corners[:2].min(1), *corners[:2].max(1)] == BOX
    assert to_source(boxes, record, (64, 64)).tolist() == [BOX]
    assert (record.source, record.flip) == (SIZE, False)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_marks_lie_on_what_they_mark_however_a_film_was_turned(tmp_path: Path, orientation: str) -> None:
    sample = read(tmp_path, film(tmp_path, orientation))
    check(sample)
    made = Map(bright(sample).float().numpy()).placed(record_of(sample))
    assert np.array_equal(made.in_source(*SIZE, mode="nearest") > 0.5, square() > 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_marks_lie_on_what_they_mark_however_a_photograph_was_turned(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(square()).save(tmp_path / "a.png", exif=exif)
    check(read(tmp_path, str(tmp_path / "a.png"), mask="a.png"))


def test_a_mask_that_hangs_as_its_film_lies_on_it(tmp_path: Path) -> None:
    path = film(tmp_path, "F\\R")
    check(read(tmp_path, path, mask=Path(path).name))


def test_a_turned_film_lies_in_the_cache_as_it_was_read(tmp_path: Path) -> None:
    path = film(tmp_path, "H\\R")
    manifest = Manifest.of({"id": ["a"], "image": [Path(path).name], "boxes.nodule": [[BOX]]}, root=tmp_path)
    sample = prepare(manifest, [Read(size=64)], cache=Cache(tmp_path / "cache")).sample(0)
    assert record_of(sample) == record_of(read(tmp_path, path))
    assert torch.equal(covered(seen(sample, "boxes.nodule")), bright(sample))


def test_what_is_cut_of_a_turned_film_is_a_part_of_the_file(tmp_path: Path) -> None:
    record = record_of(read(tmp_path, film(tmp_path, "R\\F")))
    left = moved_record(record, np.eye(3), (64, 64), (64, 32))
    assert left.box == (32.0, -8.0, 64.0, 56.0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_size_and_the_drawn_boxes_of_a_turned_film_are_those_of_its_file(tmp_path: Path, orientation: str) -> None:
    path = film(tmp_path, orientation)
    assert _size(Path(path), None) == SIZE
    sample = read(tmp_path, path)
    (box,) = _boxes(record_of(sample), bright(sample)[None], "nodule", [BOX])
    assert torch.equal(covered(torch.tensor([[box.left, box.top, box.right, box.bottom]])), bright(sample))


def test_boxes_are_in_shares_of_the_picture_that_lies_there_now(tmp_path: Path) -> None:
    """One process may judge twice: pictures that were written anew in between are not of their former size."""
    found = []
    for second, times in enumerate((1, 2)):
        Image.fromarray(square((48 * times, 64 * times))).save(tmp_path / "a.png")
        os.utime(tmp_path / "a.png", (second, second))
        columns = {"id": ["a"], "id.patient": ["p"], "image": ["a.png"], "boxes.nodule": [[BOX]]}
        prepared = prepare(Manifest.of(columns, root=tmp_path), [Read(size=64)], cache=Cache(tmp_path / "cache"))
        found.append(training_boxes(prepared, Regions(prepared.manifest), ["nodule"])["nodule"])
    once = (5 / 64, 10 / 48, 15 / 64, 20 / 48)
    assert found == [[[once]], [[tuple(share / 2 for share in once)]]]


def test_a_picture_that_was_handed_over_is_its_own_source(tmp_path: Path) -> None:
    record = record_of(read(tmp_path, read_image(film(tmp_path, "F\\L"))))  # type: ignore[arg-type]
    assert (record.source, record.matrix) == (SIZE[::-1], None)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_follow_the_frames_of_a_turned_file(tmp_path: Path, orientation: str) -> None:
    frames = np.stack([square(top=4000), np.zeros(SIZE, np.uint16)])
    path = dicom_writer(tmp_path)(frames, {0x00280008: ("IS", 2), 0x00200020: ("CS", orientation)})
    boxes = Drawn("boxes", [[5, 10, 0, 15, 20, 1]])
    sample = ReadStack(size=64)(Sample("a", {"stack": str(path), "boxes.f": boxes}), torch.Generator())
    stack, found = stack_of(sample.fields["stack"]), seen(sample, "boxes.f")
    assert stack is not None
    assert isinstance(found, torch.Tensor)
    assert found[:, [2, 5]].tolist() == [[0, 1]]
    assert torch.equal(covered(found[:, [0, 1, 3, 4]]), stack.pixels[0, 0] > 0.5)


def test_the_right_lung_of_a_film_hangs_at_the_left_however_its_file_is_stored(tmp_path: Path) -> None:
    zones = boxes_of_place("lower lobe", "right")
    found = [
        mask_of_boxes(zones, record_of(read(tmp_path, film(tmp_path, o, (64, 64)))), (64, 64)) for o in ORIENTATIONS
    ]
    assert found[0][:, :32].any()
    assert not found[0][:, 32:].any()
    assert all(torch.equal(each, found[0]) for each in found)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pixels_go_back_to_the_file_and_hang_again(tmp_path: Path, orientation: str) -> None:
    image = read_image(film(tmp_path, orientation))
    stored = image.stored(image.pixels)
    np.testing.assert_array_equal(stored > 0.5, square() > 0)
    np.testing.assert_array_equal(image.hung(stored), image.pixels)
    colours = np.stack([image.pixels, image.pixels / 2, image.pixels / 4], axis=2)
    np.testing.assert_array_equal(image.hung(image.stored(colours)), colours)
