"""Boxes and masks from a manifest to a batch: known, empty and unknown, where the picture shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.core.sample import Batch, ImageRecord, Sample
from medvlp.data.cache import Cache
from medvlp.data.collate import collate
from medvlp.data.layouts.phantom import index
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.marks import Drawn, seen
from medvlp.data.mask_files import runs_of
from medvlp.data.pipeline import Records, apply_views
from medvlp.data.prepare import prepare
from medvlp.data.views.affine import Affine
from medvlp.data.views.read import Read
from medvlp.phantom.cohort import CohortSummary

NAMES = ("boxes.effusion", "mask.effusion")


def drawn(tmp_path: Path, **columns: list[object]) -> Records:
    """Records of a picture a value, (6, 4) with one white pixel at (row 2, column 1)."""
    count = len(next(iter(columns.values())))
    pixels = np.zeros((6, 4), np.uint8)
    pixels[2, 1] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ids = [str(i) for i in range(count)]
    return Records(Manifest.of({"id": ids, "image": ["a.png"] * count, **columns}, root=tmp_path))


def test_the_planted_truth_reaches_the_batch_where_the_picture_shows_it(
    tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    manifest = index(tiny_cohort.root)
    prepared = prepare(manifest, [Read(size=96)], cache=Cache(tmp_path))
    loader = Loader(prepared, [Affine(degrees=20)], batch=8, seed=3, marks=("boxes.cardiomegaly", "mask.cardiomegaly"))
    batches = iter(loader)
    found = 0
    for _ in range(6):
        batch = next(batches)
        boxes, masks = batch["boxes.cardiomegaly"], batch["mask.cardiomegaly"]
        assert isinstance(boxes.values, torch.Tensor)
        assert isinstance(masks.values, torch.Tensor)
        assert boxes.known is not None
        assert boxes.known.nonzero().flatten().tolist() == masks.owner.tolist()
        labels = batch["label.cardiomegaly"].values
        assert isinstance(labels, torch.Tensor)
        assert bool(boxes.known[labels == 0].all()), "what is known to be absent is known"
        for row, owner in enumerate(masks.owner.tolist()):
            own, mask = boxes.values[boxes.owner == owner], masks.values[row]
            assert bool(mask.any()) == bool(len(own)) == bool(labels[owner] == 1)
            if not len(own):
                continue
            found += 1
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            x0, y0, x1, y1 = own[0].tolist()
            assert x0 - 0.5 <= int(columns.min())
            assert int(columns.max()) + 1 <= x1 + 0.5
            assert y0 - 0.5 <= int(rows.min())
            assert int(rows.max()) + 1 <= y1 + 0.5
    assert found > 3


def test_what_nobody_asks_for_is_not_read_and_not_in_the_batch(tmp_path: Path) -> None:
    records = drawn(tmp_path, **{"mask.effusion": ["nothing.png"], "boxes.effusion": [[[0, 0, 1, 1]]]})
    sample = apply_views(records.sample(0), [Read(size=8)])
    assert set(collate([sample], torch.arange(1)).columns) == {"image"}
    with pytest.raises(DataError, match=r"'mask.effusion' of '0': .*nothing.png.*check the path"):
        collate([sample], torch.arange(1), marks=NAMES)


def test_empty_is_known_and_unknown_is_missing(tmp_path: Path) -> None:
    there, nowhere = [6, 4, 8, 1, 15], [6, 4, 24]
    cases = [
        (there, 1, 1), (there, None, 1), (there, 0, 1), (nowhere, 0, 0), (nowhere, None, 0), (nowhere, 1, None),
        (None, 0, 0), (None, 1, None), (None, None, None), (None, -1, None),
    ]  # fmt: skip
    boxes = [[[1, 2, 2, 3]] if mask is there else [] if mask is nowhere else None for mask, _, _ in cases]
    columns = {"mask.effusion": [mask for mask, _, _ in cases], "boxes.effusion": boxes}
    records = drawn(tmp_path, **columns, **{"label.effusion": [label for _, label, _ in cases]})
    samples = [apply_views(records.sample(i), [Read(size=12)]) for i in range(len(cases))]
    batch = collate(samples, torch.arange(len(cases)), marks=NAMES)
    known = [i for i, (_, _, area) in enumerate(cases) if area is not None]
    assert batch["mask.effusion"].owner.tolist() == known
    assert batch["mask.effusion"].values.sum((1, 2)).tolist() == [4 * cases[i][2] for i in known]  # type: ignore[union-attr]
    column = batch["boxes.effusion"]
    assert column.known is not None
    assert column.known.nonzero().flatten().tolist() == known
    assert column.owner.tolist() == [i for i in known if cases[i][2]]
    part = batch.take(1, 4)["boxes.effusion"]
    assert part.known is not None
    assert (part.known.tolist(), part.owner.tolist()) == ([True] * 3, [0, 1])


def test_marks_are_where_the_pixels_are_through_the_padding_of_read(tmp_path: Path) -> None:
    for value in (runs_of(white()), "a.png", "a.png#255", "a.png#3,255"):
        records = drawn(tmp_path, **{"mask.effusion": [value], "boxes.effusion": [[[1, 2, 2, 3]]]})
        sample = apply_views(records.sample(0), [Read(size=12)])  # twice as large, 2 columns of padding
        image, mask, boxes = sample.fields["image"], seen(sample, "mask.effusion"), seen(sample, "boxes.effusion")
        assert isinstance(image, torch.Tensor)
        assert isinstance(mask, torch.Tensor)
        assert torch.equal(mask, image[0] > 0.5)
        assert isinstance(boxes, torch.Tensor)
        assert boxes.tolist() == [[4.0, 4.0, 6.0, 6.0]]


def white() -> np.ndarray:
    mask = np.zeros((6, 4), bool)
    mask[2, 1] = True
    return mask


def test_a_mask_of_another_size_than_its_picture_and_a_picture_without_a_record_are_one_sentence(
    tmp_path: Path,
) -> None:
    records = drawn(tmp_path, **{"mask.effusion": [[2, 2, 4, 0]]})
    sample = apply_views(records.sample(0), [Read(size=8)])
    with pytest.raises(
        DataError, match=r"'mask.effusion' of '0': the mask is \(2, 2\) and its picture \(6, 4\): bring"
    ):
        seen(sample, "mask.effusion")
    bare = Sample("a", {"image": torch.zeros(1, 2, 2), "mask": Drawn("mask", [2, 2, 4])})
    with pytest.raises(DataError, match="'mask' of 'a' lies on a picture that does not say how it was made"):
        seen(bare, "mask")
    outside = Sample("a", {"image": torch.zeros(1, 2, 2), "mask": Drawn("mask", "../b.png", tmp_path)})
    with pytest.raises(DataError, match=r"the mask '../b.png' leaves the folder"):
        seen(Sample("a", outside.fields, {"image": ImageRecord(seed=0, box=(0, 0, 2, 2))}), "mask")


def test_records_stay_with_their_rows(tmp_path: Path) -> None:
    def of(number: int) -> Sample:
        record = ImageRecord(seed=number, box=(0, 0, 2, 2))
        return Sample(str(number), {"image": torch.zeros(1, 2, 2)}, {"image": record})

    batch = collate([of(0), Sample("b", {"text": "x"}), of(2), of(3)], torch.arange(4))
    assert [record.seed for record in batch.records["image"]] == [0, 2, 3]
    assert [record.seed for record in batch.take(1, 3).records["image"]] == [2]
    assert [[r.seed for r in c.records["image"]] for _, c in batch.chunks(2)] == [[0], [2, 3]]
    assert batch.with_columns({"text": batch["text"]}).to(torch.device("cpu")).records == batch.records
    short = batch.with_columns({"image": Batch.of({"image": torch.zeros(2, 1, 2, 2)})["image"]})
    assert short.records == {}
    part = collate([of(0), Sample("b", {"image": torch.zeros(1, 2, 2)})], torch.arange(2))
    assert part.records == {}, "known of every row, or of none"
