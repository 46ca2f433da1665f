"""Parquet files of the hub: parts by name, pictures inside, classes by the names that the file tells."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.splits import make_split
from medvlp.io import read_image


def picture(value: int) -> dict[str, object]:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    features = {"diagnosis": {"names": ["Normal", "Bacterial pneumonia"], "_type": "ClassLabel"}}
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    (tmp_path / "data").mkdir()
    for part, values in (("train", [0, 7]), ("validation", [7]), ("test", [9])):
        columns = {"image": [picture(v) for v in values], "caption": [f"Film {v}." for v in values]}
        columns |= {"diagnosis": [v % 2 for v in values], "subject": [str(v) for v in values]}
        table = pa.table(columns).replace_schema_metadata(told)
        pq.write_table(table, tmp_path / "data" / f"{part}-00000-of-00001.parquet")
    return tmp_path


WANTED = {"image": "image", "text": "caption", "label": "diagnosis", "patient_id": "subject"}


def test_rows_have_part_picture_words_and_a_label_a_class(root: Path) -> None:
    manifest = index_cohort("hugging_face", root, {"columns": WANTED})
    assert manifest.column("split").tolist() == ["test", "train", "train", "validate"]
    assert manifest.column("label.bacterial_pneumonia").tolist() == [1, 0, 1, 1]
    assert manifest.column("label.normal").tolist() == [0, 1, 0, 0]
    assert manifest.record(0)["text"] == "Film 9."
    assert manifest.column("id.patient").tolist() == ["9", "0", "7", "7"]
    pictures = manifest.column("image").tolist()
    assert pictures[2] == pictures[3]  # the same bytes are one file
    assert [round(255 * float(read_image(manifest.root / path).pixels[0, 0])) for path in pictures] == [9, 0, 7, 7]


def test_a_class_of_minus_one_is_no_label(root: Path) -> None:
    path = root / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("diagnosis")
    pq.write_table(table.set_column(place, "diagnosis", pa.array([-1])), path)
    manifest = index_cohort("hugging_face", root, {"columns": WANTED})
    for name in ("label.normal", "label.bacterial_pneumonia"):
        assert np.isnan(manifest.column(name)).tolist() == [True, False, False, False]


def test_dates_lists_and_numbers_beside_words_are_words(tmp_path: Path) -> None:
    """A shard whose patients are numbers and one whose patients are words are one column, and a day is a day."""
    for part, who, day in (("train", [7], 1), ("test", ["7b"], 2)):
        columns = {"report": ["Clear."], "who": who, "when": [datetime(2020, 3, day)], "tags": [["pa", "lateral"]]}
        pq.write_table(pa.table(columns), tmp_path / f"{part}-00000.parquet")
    wanted = {"text": "report", "patient_id": "who", "date": "when", "tags": "tags"}
    manifest = index_cohort("hugging_face", tmp_path, {"columns": wanted})
    assert manifest.column("id.patient").tolist() == ["7b", "7"]
    assert manifest.column("tags").tolist() == ['["pa", "lateral"]'] * 2
    split = make_split(manifest, {"name": "time", "column": "date", "cuts": {"test": "2020-03-02"}})
    assert split.parts == {"train": ("train-00000/000000",), "test": ("test-00000/000000",)}


def test_faults_are_one_sentence(root: Path) -> None:
    with pytest.raises(DataError, match="has no column 'captoin': did you mean 'caption'"):
        index_cohort("hugging_face", root, {"columns": {"image": "image", "text": "captoin"}})
    with pytest.raises(DataError, match="does not name the classes of 'subject'"):
        index_cohort("hugging_face", root, {"columns": {"image": "image", "label": "subject"}})
    features = {"diagnosis": {"names": ["Normal", "Mass"]}, "several": [{"names": ["Normal", "Mass"]}]}
    told = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"caption": ["Film."], "diagnosis": ["Mass"], "several": [[0, 1]]}).replace_schema_metadata(told)
    pq.write_table(table, root / "data" / "a.parquet")
    for column, sentence in (("diagnosis", "holds 'Mass', no class's number"), ("several", "does not name")):
        with pytest.raises(DataError, match=sentence):
            index_cohort("hugging_face", root, {"columns": {"text": "caption", "label": column}})
    (root / "data" / "a.parquet").unlink()
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "a/1.png"}]}), root / "data" / "train.parquet")
    with pytest.raises(DataError, match=r"names pictures of 'image' and does not hold them: embed their bytes"):
        index_cohort("hugging_face", root, {"columns": {"image": "image"}})
    with pytest.raises(DataError, match="holds no Parquet file"):
        index_cohort("hugging_face", root, {"columns": WANTED, "subset": "other"})
