"""Several data sets as one: whose a record is, who is the same patient, and which files it may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.grouping import patient_caveats, with_patients
from medvlp.data.joined import in_part, join_sets
from medvlp.data.label_reports import label_caveats
from medvlp.data.leakage import check_split
from medvlp.data.manifest import Manifest
from medvlp.data.splits import split_caveats
from tests.data.films import film, write


def one(root: Path, part: str, *, layout: str = "", patient: str = "7", **more: object) -> Manifest:
    columns = {
        "id": ["1"],
        "text": ["words"],
        "id.patient": [patient],
        **{name: [value] for name, value in more.items()},
    }
    return in_part(Manifest.of(columns, root=root, meta={"layout": layout}), part)


@pytest.mark.parametrize(
    ("layouts", "leaks"),
    [
        (("csv", "csv"), 1),
        (("openi", "openi"), 1),
        (("openi", "csv"), 0),
        (("openi", "vindr_cxr"), 0),
        (("mimic_cxr", "ms_cxr"), 1),  # a set made of another's images has its patients' numbers
        (("nih_chestxray14", "rsna_pneumonia"), 1),
        (("rsna_pneumonia", "chestx_det"), 1),
        (("mimic_cxr", "nih_chestxray14"), 0),
    ],
)
def test_a_number_is_one_patient_within_one_numbering(tmp_path: Path, layouts: tuple[str, str], leaks: int) -> None:
    sets = {"here": one(tmp_path, "train", layout=layouts[0]), "there": one(tmp_path, "test", layout=layouts[1])}
    joined = join_sets(sets)
    assert [leak.kind for leak in check_split(joined)] == ["patient"] * leaks
    sets["there"].meta["namespace"] = "another"
    assert check_split(join_sets(sets)) == []


def test_a_number_is_one_study_within_one_numbering_and_a_row_is_nobody_elsewhere(tmp_path: Path) -> None:
    sets = {
        name: one(tmp_path, part, layout="openi", patient=name, **{"id.study": "9"})
        for name, part in (("here", "train"), ("there", "test"))
    }
    assert [leak.kind for leak in check_split(join_sets(sets))] == ["study"]
    by_row = {name: with_patients(each.without("id.study"), "id") for name, each in sets.items()}  # both are "1"
    assert check_split(join_sets(by_row)) == []


def test_files_are_found_under_the_common_root_and_no_others(tmp_path: Path) -> None:
    for name in ("a/images", "b/deep/images"):
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path / "a/images", "f.png", film(0))
    write(tmp_path / "b/deep/images", "f.png", film(0))
    write(tmp_path / "b/deep/images", "mask.png", film(1))
    mask = {"mask.effusion": "images/mask.png#2"}
    sets = {
        "a": one(tmp_path / "a", "train", image="images/f.png", stack=["images/f.png"]),
        "b": one(tmp_path / "b/deep", "test", patient="8", image="images/f.png", stack="images/f.png", **mask),
    }
    joined = join_sets(sets)
    assert joined.root == tmp_path
    assert joined.column("image").tolist() == ["a/images/f.png", "b/deep/images/f.png"]
    assert joined.arrow("stack").to_pylist() == [["a/images/f.png"], ["b/deep/images/f.png"]]
    assert joined.column("mask.effusion").tolist() == [None, "b/deep/images/mask.png#2"]
    assert [leak.kind for leak in check_split(joined)] == ["image"]
    (tmp_path / "a/images/out.png").symlink_to(tmp_path / "b/deep/images/f.png")
    for field, value in (("image", "../b/deep/images/f.png"), ("image", "images/out.png"), ("mask.x", "../b/m.png")):
        with pytest.raises(DataError, match="leaves the folder"):
            join_sets({"a": one(tmp_path / "a", "train", **{field: value}), "b": sets["b"]})


def test_sets_in_one_store_are_joined_below_it_and_those_of_several_refused(tmp_path: Path) -> None:
    member = {"image": "s.tar/512+9/0.png", "mask.effusion": "s.tar/1536+9/0.mask.png#1"}
    places = {"a": "memory://bucket/a", "b": "memory://bucket/b/deep"}
    sets = {name: one(Path(place), "train", patient=name, **member) for name, place in places.items()}
    joined = join_sets(sets)
    assert joined.column("image").tolist() == ["a/s.tar/512+9/0.png", "b/deep/s.tar/512+9/0.png"]
    assert joined.column("mask.effusion").tolist()[1] == "b/deep/s.tar/1536+9/0.mask.png#1"
    assert [joined.path(row) for row in range(2)] == [manifest.path(0) for manifest in sets.values()]
    for other in (tmp_path, Path("memory://elsewhere/c")):
        with pytest.raises(DataError, match=r"lie in several stores \(memory://bucket and "):
            join_sets({"a": sets["a"], "c": one(other, "test", **member)})


def test_what_a_set_does_not_know_is_blank_and_types_are_brought_together(tmp_path: Path) -> None:
    first = one(tmp_path, "train", **{"label.edema": 1, "age": 40, "code": 7})
    second = one(
        tmp_path, "test", patient="8", **{"label.mass": 0, "age": 40.5, "code": "x", "boxes.mass": [[0, 0, 1, 1]]}
    )
    joined = join_sets({"a": first, "b": second})
    assert joined.record(0) == {
        "id": "a/1", "text": "words", "id.patient": ":7", "label.edema": 1.0, "age": 40.0, "code": "7",
        "split": "train", "set": "a",
    }  # fmt: skip
    assert joined.record(1) == {
        "id": "b/1", "text": "words", "id.patient": ":8", "label.mass": 0.0, "age": 40.5, "code": "x",
        "boxes.mass": [[0.0, 0.0, 1.0, 1.0]], "split": "test", "set": "b",
    }  # fmt: skip
    with pytest.raises(DataError, match=r"'mask\.x' is of other kinds in the data sets: leave it out of one"):
        join_sets(
            {"a": one(tmp_path, "test", **{"mask.x": [1, 1, 1]}), "b": one(tmp_path, "test", **{"mask.x": "f.png"})}
        )


def test_a_column_in_which_a_set_knows_nothing_is_of_the_other_sets_kind(tmp_path: Path) -> None:
    known = one(tmp_path, "train", **{"mask.x": [2, 2, 1, 3]})
    blank = one(tmp_path, "test", **{"mask.x": None})
    joined = join_sets({"a": known, "b": blank})
    assert [joined.record(i).get("mask.x") for i in (0, 1)] == [[2, 2, 1, 3], None]
    assert "mask.x" not in join_sets({"b": blank, "c": blank}).record(1)


def test_what_is_to_be_known_of_a_set_is_still_told(tmp_path: Path) -> None:
    first, second = one(tmp_path, "train"), with_patients(one(tmp_path, "test"), "id")
    first.meta["split"] = {"name": "odd", "rule": "published", "flaw": "images on two sides"}
    second.meta |= {"synthetic": True, "labels_read": "nih14"}
    joined = join_sets({"a": first, "b": second})
    assert split_caveats(joined) == ("The split 'of each data set' has a known flaw: a: images on two sides.",)
    assert patient_caveats(joined) == (
        "Patients are not known: each id of b counts as one, so intervals may be too narrow.",
    )
    assert label_caveats(joined)[0].startswith("Labels were read from reports by rules (nih14 of b): ")
    assert joined.meta["synthetic"] is True
    first.meta["slices"] = {"tower": "x"}
    with pytest.raises(DataError, match=r"Of data\.sets some hold features of slices and others do not"):
        join_sets({"a": first, "b": second})
