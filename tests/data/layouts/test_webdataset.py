"""Shards: files of one name are one sample, facts come from json by their keys, nothing leads out of the folder."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.io import read_image
from medvlp.io.errors import UnreadableImage
from medvlp.io.member import member_of, open_member


def picture(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    facts = [{"subject": f"p{i}", "labels": {"effusion": i % 2}, "age": 50 + i} for i in range(3)]
    for i, told in enumerate(facts):
        files = {"000.png": picture(i), "000.txt": f"Report {i}.\n".encode(), "000.json": json.dumps(told).encode()}
        shard(tmp_path / f"films-{i:04d}.tar", {**files, "001.json": b"{}", "b/000.jpg.txt": b"odd"})
    return tmp_path


def test_files_of_one_name_are_one_sample_with_facts_by_their_keys(root: Path) -> None:
    wanted = {"patient_id": "subject", "label.effusion": "labels.effusion", "age": "age"}
    manifest = index_cohort("webdataset", root, {"columns": wanted})
    assert manifest.column("id").tolist() == [f"films-{i:04d}/000" for i in range(3)]
    assert manifest.column("id.patient").tolist() == ["p0", "p1", "p2"]
    assert manifest.column("label.effusion").tolist() == [0, 1, 0]
    assert manifest.column("age").tolist() == [50, 51, 52]
    assert manifest.column("text").tolist() == ["Report 0.", "Report 1.", "Report 2."]
    assert manifest.meta["skipped"] == {
        "nothing_to_encode": [f"films-{i:04d}/{name}" for i in range(3) for name in ("001", "b/000")]
    }
    assert round(255 * float(read_image(manifest.path(2, "image")).pixels[0, 0])) == 2
    assert sorted(path.name for path in root.iterdir()) == [f"films-{i:04d}.tar" for i in range(3)]


def test_facts_that_json_files_write_in_several_ways_are_one_column(tmp_path: Path) -> None:
    facts = [{"who": 12, "seen": 0, "age": 61, "tags": ["a", "b"]}, {"who": "12", "seen": "1", "age": "70", "tags": []}]
    for i, own in enumerate(facts):
        shard(tmp_path / f"{i}.tar", {"0.txt": b"Clear.", "0.json": json.dumps(own).encode()})
    wanted = {"patient_id": "who", "label.effusion": "seen", "age": "age", "tags": "tags"}
    manifest = index_cohort("webdataset", tmp_path, {"columns": wanted})
    assert manifest.column("id.patient").tolist() == ["12", "12"]
    assert manifest.column("label.effusion").tolist() == [0, 1]
    assert manifest.column("age").tolist() == [61, 70]
    assert manifest.column("tags").tolist() == ['["a", "b"]', "[]"]


def test_class_numbers_get_the_names_that_are_given(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {f"{i}.{end}": picture(i) if end == "png" else str(i).encode() for i in range(2)
                               for end in ("png", "cls")})  # fmt: skip
    manifest = index_cohort("webdataset", tmp_path, {"classes": ["normal", "pneumonia"]})
    assert manifest.column("label.pneumonia").tolist() == [0, 1]
    with pytest.raises(DataError, match="is '1', and classes names 1: name each class"):
        index_cohort("webdataset", tmp_path, {"classes": ["normal"]})


def test_names_beyond_ascii_are_read_from_shards_as_python_writes_them(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {"00001.png": picture(0), "müller_2.png": picture(1), "ü/mü.png": picture(2)})
    manifest = index_cohort("webdataset", tmp_path)
    assert manifest.column("id").tolist() == ["a/00001", "a/müller_2", "a/ü/mü"]
    members = [member_of(manifest.path(row, "image")) for row in range(3)]
    for at, member in enumerate(members):
        assert member is not None
        with open_member(member) as file:
            assert file.read() == picture(at)
    assert members[1] is not None
    for other in ("muller_2.png", "müllers_2.png", "müller_3.png"):
        with pytest.raises(UnreadableImage, match="no file of this name and size begins there"):
            open_member(replace(members[1], name=other))
    with pytest.raises(UnreadableImage, match="no file of this name and size begins there"):
        open_member(replace(members[1], size=members[1].size - 1))


def test_faults_are_one_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 'subjet', asked for id\.patient: did you mean 'subject'"):
        index_cohort("webdataset", root, {"columns": {"patient_id": "subjet"}})
    with pytest.raises(DataError, match="holds no shard"):
        index_cohort("webdataset", root, {"shards": "*.zip"})
    bad = tmp_path / "bad"
    bad.mkdir()
    shard(bad / "a.tar", {"../out.png": picture(0)})
    with pytest.raises(UnreadableImage, match=r"unsafe_archive|leads out"):
        index_cohort("webdataset", bad)
    assert not (tmp_path / "out.png").exists()
