"""Slices of synthetic volumes as rows: what they show is what the planted masks say, and their text says no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import ImageRecord, Sample, Stack
from medvlp.data.layouts.phantom import index
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.take_slice import TakeSlice
from medvlp.phantom.cohort import make_cohort

COUNT = 4


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("ct") / "ct", patients=6, modality="ct", image_size=64, workers=1).root


@pytest.fixture(scope="module")
def rows(hospital: Path) -> Manifest:
    return index(hospital, slices=COUNT)


def test_each_volume_gives_so_many_slices_with_those_that_show_its_findings_first(
    hospital: Path, rows: Manifest
) -> None:
    volumes = index(hospital)
    assert len(rows) == COUNT * len(volumes)
    assert len(set(rows.column("id"))) == len(rows)
    studies = np.array(rows.column("id.study"))
    for row in range(len(volumes)):
        record = volumes.record(row)
        own = np.flatnonzero(studies == record["id.study"])
        present = [name for name in volumes.names_of("label") if record[name] == 1]
        shown = {name for name in present for at in own if rows.record(at)[name] == 1}
        assert len(shown) >= min(len(present), COUNT), "each finding, as far as the slices go"
        numbers = [rows.record(at)["number.slice"] for at in own]
        assert numbers == sorted(set(numbers))


def test_a_label_is_what_the_mask_says_at_the_place_of_the_slice(hospital: Path, rows: Manifest) -> None:
    """Oracle: nibabel's voxels, found by the affine, not by the number of the slice."""
    findings = pq.read_table(hospital / "truth" / "findings.parquet").to_pylist()
    accessions = {row["path"]: row["accession"] for row in pq.read_table(hospital / "truth/images.parquet").to_pylist()}
    positives = 0
    for at in range(len(rows)):
        record = rows.record(at)
        path = str(record["volume"])
        stack = ReadVolume(size=32)(Sample("a", {"volume": str(hospital / path)}), torch.Generator()).fields["stack"]
        image = nibabel.load(hospital / "truth" / "ct_masks" / Path(path).relative_to("ct"))
        place = [*stack.position[int(record["number.slice"])].tolist(), 1]  # type: ignore[union-attr]
        z = round(float(np.linalg.solve(image.affine, place)[2]))
        there = set(np.unique(np.asarray(image.dataobj)[:, :, z])) - {0}
        planted = [each for each in findings if each["accession"] == accessions[path]]
        want = {each["name"] for each in planted if each["finding"] + 1 in there}
        found = {name.removeprefix("label.") for name in rows.names_of("label") if record[name] == 1}
        assert found == want
        positives += len(want)
    assert positives > 10


def test_the_text_of_a_slice_leaves_out_what_it_does_not_show(hospital: Path, rows: Manifest) -> None:
    told: dict[str, list[dict[str, str]]] = {}
    for row in pq.read_table(hospital / "truth" / "triplets.parquet").to_pylist():
        told.setdefault(row["accession"], []).append(row)
    left_out = 0
    for at in range(len(rows)):
        record = rows.record(at)
        text = str(record["text"])
        for row in told.get(str(record["id"]).partition("-")[0], []):
            if row["presence"] != "absent" and record[f"label.{row['observation']}"] == 0:
                assert row["sentence"] not in text
                left_out += 1
    assert left_out > 10
    assert len(set(rows.column("text"))) > 10


def test_the_image_of_a_row_is_its_slice_of_the_volume(rows: Manifest) -> None:
    views = [ReadVolume(size=16), TakeSlice()]
    prepared = prepare(rows.take(np.array([0, 3])), views, cache=None)
    for at, row in enumerate((0, 3)):
        record = rows.record(row)
        whole = ReadVolume(size=16)(Sample("a", {"volume": str(rows.paths(row, "volume")[0])}), torch.Generator())
        want = whole.fields["stack"].take([int(record["number.slice"])]).pixels[0]  # type: ignore[union-attr]
        sample = prepared.sample(at)
        assert torch.equal(sample.fields["image"], want)  # type: ignore[arg-type]
        assert "stack" not in sample.fields


def test_a_sample_without_a_number_keeps_its_stack_and_the_record_follows_the_pixels() -> None:
    stack = Stack(torch.rand(3, 1, 2, 2), torch.zeros(3, 3))
    record = ImageRecord(seed=0, box=(0.0, 0.0, 2.0, 2.0))
    plain = Sample("a", {"stack": stack}, {"stack": record})
    assert TakeSlice()(plain, torch.Generator()) is plain
    one = TakeSlice()(Sample("a", {"stack": stack, "number.slice": 1.0}, {"stack": record}), torch.Generator())
    assert torch.equal(one.fields["image"], stack.pixels[1])  # type: ignore[arg-type]
    assert dict(one.records) == {"image": replace(record, slices=(1,))}


def test_what_cannot_be_taken_is_one_sentence(tiny_cohort: object) -> None:
    stack = Stack(torch.rand(3, 1, 2, 2), torch.zeros(3, 3))
    with pytest.raises(DataError, match="'a' asks for slice 3 of 3: slices are counted from 0"):
        TakeSlice()(Sample("a", {"stack": stack, "number.slice": 3.0}), torch.Generator())
    with pytest.raises(ConfigError, match="take_slice makes an image of a stack and a number"):
        TakeSlice(to="stack")
    with pytest.raises(DataError, match="radiographs, which have no slices: leave slices out"):
        index(tiny_cohort.root, slices=2)  # type: ignore[attr-defined]
