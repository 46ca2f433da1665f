"""The planted truth of a synthetic hospital stands in columns as it stands in its tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from medvlp.core.errors import DataError
from medvlp.core.predictions import Mask
from medvlp.data.collate import collate
from medvlp.data.layouts._phantom_truth import PlantedTruth
from medvlp.data.layouts.phantom import index
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import mask_of
from medvlp.data.pipeline import Records, apply_views
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.sample_slices import SampleSlices
from medvlp.data.views.take_slice import TakeSlice
from medvlp.io.volume_read import read_volume
from medvlp.phantom.cohort import CohortSummary, make_cohort
from medvlp.phantom.write_study import write_nifti
from tests.phantom.planted import read_planted


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("ct") / "hospital", patients=4, image_size=64, modality="ct").root


def rows(manifest: Manifest) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yield (number, record, finding) over all findings of all rows."""
    for at in range(len(manifest)):
        record = manifest.record(at)
        for name in manifest.names_of("label"):
            yield at, record, name.removeprefix("label.")


def test_sides_sizes_sentences_boxes_and_masks_are_the_planted_ones(tiny_cohort: CohortSummary) -> None:
    root = tiny_cohort.root
    planted = read_planted(root)
    assert planted is not None
    boxes = pq.read_table(root / "truth" / "boxes.parquet").to_pylist()
    shapes = {
        r["path"]: (r["rows"], r["columns"]) for r in pq.read_table(root / "truth" / "images.parquet").to_pylist()
    }
    drawn = 0
    for _, record, finding in rows(index(root)):
        here = [f for f in planted.findings.get(record["id.study"], ()) if f.name == finding]
        sides = {f.side for f in here}
        want = "both" if "bilateral" in sides or sides == {"left", "right"} else next(iter(sides), None)
        assert record.get(f"side.{finding}") == (want if want in ("left", "right", "both") else None)
        assert record.get(f"size.{finding}", 0.0) == pytest.approx(max((f.size for f in here), default=0.0))
        assert record.get(f"sentence.{finding}") == planted.sentences.get((record["id.study"], finding))
        severities = [f.severity for f in here if f.severity]
        assert record.get(f"severity.{finding}") in (severities or [None])
        own = [b for b in boxes if b["path"] == record["image"] and b["name"] == finding]
        assert record.get(f"boxes.{finding}", []) == [[b["x0"], b["y0"], b["x1"], b["y1"]] for b in own]
        assert (f"mask.{finding}" in record) == bool(own)
        if own:
            drawn += 1
            union = np.any([Mask(shapes[b["path"]], np.array(b["mask"])).array() for b in own], axis=0)
            np.testing.assert_array_equal(mask_of(record[f"mask.{finding}"], root).pixels, union)
    assert drawn > 10


def test_findings_of_volumes_are_their_voxels(volumes: Path) -> None:
    truth = pq.read_table(volumes / "truth" / "findings.parquet").to_pylist()
    manifest = index(volumes)
    drawn = 0
    for _, record, finding in rows(manifest):
        path = volumes / "truth" / "ct_masks" / Path(record["volume"]).relative_to("ct")
        voxels = read_volume(path).voxels
        accession = record["id"].rpartition("-")[0]
        own = [row["finding"] + 1 for row in truth if row["accession"] == accession and row["name"] == finding]
        where = np.isin(voxels, own)
        assert (f"mask.{finding}" in record) == bool(where.any())
        if where.any():
            drawn += 1
            np.testing.assert_array_equal(mask_of(record[f"mask.{finding}"], volumes).pixels, where)
            around = [np.argwhere(voxels == value)[:, ::-1] for value in own]
            tight = [[*some.min(0), *(some.max(0) + 1)] for some in around if len(some)]
            assert record[f"boxes.{finding}"] == tight
    assert drawn > 3


def test_masks_that_were_made_again_are_read_again(tmp_path: Path) -> None:
    planted = {"accession": "a", "name": "nodule", "side": "left", "lobe": "", "severity": "", "size_mm": 1.0}
    truth = PlantedTruth(tmp_path, [planted], [], [])
    file = tmp_path / "truth" / "ct_masks" / "p" / "a.nii.gz"
    file.parent.mkdir(parents=True)
    for at in (2, 4):
        voxels = np.zeros((8, 8, 8), np.uint8)
        voxels[at, at, at] = 1
        write_nifti(file, voxels, np.eye(4))
        found = truth.columns({"accession": "a", "view": "CT", "path": "ct/p/a.nii.gz"}, {"label.nodule": 1})
        assert found["boxes.nodule"] == [[at, at, at, at + 1, at + 1, at + 1]]


def test_stacks_and_slices_of_volumes_show_their_findings(volumes: Path) -> None:
    manifest = index(volumes)
    at, _, finding = next(row for row in rows(manifest) if f"mask.{row[2]}" in row[1])
    mask, boxes = f"mask.{finding}", f"boxes.{finding}"
    views = [ReadVolume(size=32), SampleSlices(count=6)]
    samples = [apply_views(Records(manifest).sample(i), views) for i in range(len(manifest))]
    batch = collate(samples, torch.arange(len(samples)), marks=(mask, boxes))
    masks, column = batch[mask], batch[boxes]
    assert isinstance(masks.values, torch.Tensor)
    assert isinstance(column.values, torch.Tensor)
    assert masks.mask is not None
    assert masks.values.shape[1:] == (6, 32, 32)
    row = masks.owner.tolist().index(at)
    own = column.values[column.owner == at]
    there = masks.values[row].nonzero().flip(1)
    assert len(own)
    assert bool((own[:, :3].amin(0) <= there.amin(0) + 0.5).all())
    assert bool((own[:, 3:].amax(0) >= there.amax(0) + 0.5).all())
    sliced = index(volumes, slices=4)
    for i, record, name in rows(sliced):
        shown = record[f"label.{name}"] == 1
        assert shown or not any(f"{fact}.{name}" in record for fact in ("side", "size", "boxes", "mask", "sentence"))
        if shown:
            one = apply_views(Records(sliced).sample(i), [ReadVolume(size=32), TakeSlice()])
            found = collate([one], torch.arange(1), marks=(f"mask.{name}", f"boxes.{name}"))
            assert found[f"mask.{name}"].values.shape == (1, 32, 32)  # type: ignore[union-attr]
            assert found[f"boxes.{name}"].values.shape[1] == 4  # type: ignore[union-attr]
            assert len(found[f"boxes.{name}"].owner) > 0


def test_a_side_that_is_none_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"side.effusion is 'bilateral': write left, right, both or leave it blank"):
        Manifest.of({"id": ["a"], "text": ["x"], "side.effusion": ["bilateral"]}, root=Path())
    with pytest.raises(DataError, match=r"'sides.effusion' is of no known kind: did you mean 'side'"):
        Manifest.of({"id": ["a"], "text": ["x"], "sides.effusion": ["left"]}, root=Path())
