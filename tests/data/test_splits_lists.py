"""Splits that are kept as lists: the forms that people keep them in, and the records that they mean."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.manifest import Manifest
from medvlp.data.splits import make_split, split_hash


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Four films of three patients, as a layout would name them."""
    columns = {
        "id": ["r0", "r1", "r2", "r3"],
        "image": [f"images_001/images/0000000{p}_00{k}.png" for p, k in ((1, 0), (1, 1), (2, 0), (3, 0))],
        "id.patient": ["1", "1", "2", "3"],
        "id.study": ["50", "51", "52", "53"],
    }
    return Manifest.of(columns, root=tmp_path)


def files(root: Path, **texts: str) -> dict[str, str]:
    for part, text in texts.items():
        (root / f"{part}.txt").write_text(text)
    return {part: f"{part}.txt" for part in texts}


@pytest.mark.parametrize(
    ("train", "test", "unit"),
    [
        ("r0\nr1\nr2\n", "r3\n", "image"),
        ("00000001_000.png\n00000001_001.png\n\n00000002_000.png", "00000003_000.png", "image"),
        ("00000001_000\r\n00000001_001\r\n00000002_000\r\n", "00000003_000\r\n", "image"),
        ("images_001/images/00000001_000.png\nx/00000001_001.png\n./00000002_000.png\n", "00000003_000.png", "image"),
        ("1\n2\n", "3\n", "patient"),
        ("50\n51\n52\n", "53\n", "study"),
    ],
    ids=["ids", "file names", "stems", "paths", "patients", "studies"],
)
def test_a_list_may_name_ids_files_studies_or_patients(manifest: Manifest, train: str, test: str, unit: str) -> None:
    split = make_split(manifest, {"name": "ids", "files": files(manifest.root, train=train, test=test)})
    assert split.parts == {"train": ("r0", "r1", "r2"), "test": ("r3",)}
    assert split.unit == unit
    assert split.missing == ()


def test_names_that_are_as_many_ids_as_patients_are_ids(tmp_path: Path) -> None:
    columns = {"id": ["1", "2", "3"], "text": ["x"] * 3, "id.patient": ["2", "3", "1"]}
    split = make_split(Manifest.of(columns, root=tmp_path), {"name": "ids", "files": files(tmp_path, test="1\n2\n9\n")})
    assert (split.parts, split.unit, split.missing) == ({"test": ("1", "2")}, "image", ("9",))


def test_a_file_name_that_stands_in_several_folders_names_nothing(tmp_path: Path) -> None:
    paths = ["p1/study1/view1_frontal.jpg", "p2/study1/view1_frontal.jpg"]
    manifest = Manifest.of({"id": ["a", "b"], "image": paths}, root=tmp_path)
    with pytest.raises(DataError, match="None of 1 listed ids"):
        make_split(manifest, {"name": "ids", "files": files(tmp_path, test="view1_frontal.jpg")})
    whole = files(tmp_path, test="CheXpert-v1.0-small/p2/study1/view1_frontal.jpg")
    assert make_split(manifest, {"name": "ids", "files": whole}).parts == {"test": ("b",)}


def test_the_split_table_of_mimic_is_read_as_it_is(tmp_path: Path) -> None:
    text = "dicom_id,study_id,subject_id,split\naa-1,50,1,train\nbb-2,51,2,validate\ncc-3,52,3,test\n"
    (tmp_path / "mimic-cxr-2.0.0-split.csv.gz").write_bytes(gzip.compress(text.encode()))
    paths = ["files/p10/p1/s50/aa-1.jpg", "files/p10/p2/s51/bb-2.jpg", "files/p10/p3/s52/cc-3.jpg"]
    manifest = Manifest.of({"id": list("abc"), "image": paths}, root=tmp_path)
    split = make_split(manifest, {"name": "ids", "table": "mimic-cxr-2.0.0-split.csv"})
    assert split.parts == {"train": ("a",), "validate": ("b",), "test": ("c",)}
    assert split.name == "mimic-cxr-2"


@pytest.mark.parametrize("word", ["val", "valid", "Validation", "dev", "validate"])
def test_other_words_for_the_parts_are_understood(manifest: Manifest, word: str) -> None:
    (manifest.root / "s.csv").write_text(f"Image Index,Split\n00000001_000.png,Training\n00000003_000.png,{word}\n")
    split = make_split(manifest, {"name": "ids", "table": "s.csv"})
    assert split.parts == {"train": ("r0",), "validate": ("r3",)}


def test_the_annotation_of_r2gen_is_read_as_it_is(manifest: Manifest) -> None:
    entries = {"train": [{"id": "r0", "report": "x"}], "val": [{"id": "r2"}], "test": [{"id": "r3"}]}
    (manifest.root / "annotation.json").write_text(json.dumps(entries))
    split = make_split(manifest, {"name": "ids", "table": "annotation.json"})
    assert split.parts == {"train": ("r0",), "validate": ("r2",), "test": ("r3",)}
    (manifest.root / "annotation.json").write_text('{"train": [{"report": "x"}]}')
    with pytest.raises(DataError, match="'train' is no list of ids, or of records with an id"):
        make_split(manifest, {"name": "ids", "table": "annotation.json"})


def test_what_is_listed_and_not_there_and_what_is_there_and_not_listed_are_told(manifest: Manifest) -> None:
    split = make_split(manifest, {"name": "ids", "files": files(manifest.root, train="r0\nr9\nr8", test="r3")})
    assert split.missing == ("r8", "r9")
    assert split.caveats(manifest) == (
        "Listed ids that are not in the manifest: 2.",
        "2 of 4 records are on no list and stand in no part.",
    )
    assert split.apply(manifest).column("split").tolist() == ["train", None, None, "test"]


def test_an_id_on_two_lists_is_refused_or_repeated_with_its_part(manifest: Manifest) -> None:
    lists = files(manifest.root, train="r0\nr1\nr2", test="r2\nr3")
    with pytest.raises(DataError, match="1 ids stand on several lists, the first is 'r2' in train and test"):
        make_split(manifest, {"name": "ids", "files": lists})
    split = make_split(manifest, {"name": "ids", "files": lists, "repeat": True})
    placed = split.apply(manifest)
    assert placed.column("id").tolist() == ["r0", "r1", "r2", "r2@test", "r3"]
    assert placed.column("split").tolist() == ["train", "train", "train", "test", "test"]
    assert placed.column("image")[2] == placed.column("image")[3]
    assert split_hash(placed) == split.hash
    assert split.caveats(manifest) == ("Records in more than one part, repeated as in the original: 1.",)


def test_lists_are_written_for_other_programs_too(manifest: Manifest) -> None:
    split = make_split(manifest, {"name": "ids", "files": files(manifest.root, train="r0\nr1", test="r2\nr3")})
    split.save(manifest.root / "out.csv")
    assert (manifest.root / "out.csv").read_bytes() == b"id,split\nr0,train\nr1,train\nr2,test\nr3,test\n"
    assert make_split(manifest, {"name": "ids", "table": "out.csv"}).hash == split.hash


def test_files_that_cannot_be_lists_are_refused(manifest: Manifest) -> None:
    root = manifest.root
    (root / "a.csv").write_text("name,part\nr0,train\n")
    (root / "b.csv").write_text("id,split\nr0,\n")
    (root / "c.csv").write_text("")
    (root / "d.txt").write_bytes(b"\xff\xfe\x00r")
    (root / "e.txt").write_text("\n\n")
    (root / "f.csv").write_text("id,split\nr0,train,\n")  # the first value is no index
    for spec, told in (
        ({"table": "a.csv"}, "has no column 'split': "),
        ({"table": "a.csv", "split_column": "part"}, "has no column of ids by a usual name: set column to one of name"),
        ({"table": "a.csv", "split_column": "part", "column": "nam"}, "did you mean 'name'"),
        ({"table": "b.csv"}, "The column 'split' of .* is blank"),
        ({"table": "c.csv"}, "has no rows: export the table again"),
        ({"table": "f.csv"}, "line 2: 3 values under 2 columns"),
        ({"files": {"test": "d.txt"}}, "is not UTF-8 text"),
        ({"files": {"test": "e.txt"}}, "lists nothing"),
        ({"files": {"test": "nowhere.txt"}}, "is neither in the working folder nor in"),
        ({"stored": "nowhere.json"}, "is neither in the working folder nor in"),
        ({"files": {"test": "a.csv"}, "column": "name", "by": "id.patient"}, r"is in the column id\.patient of"),
    ):
        with pytest.raises(DataError, match=told):
            make_split(manifest, {"name": "ids", **spec})
    with pytest.raises(ConfigError, match="stored, table or files: name exactly one"):
        make_split(manifest, "ids")
