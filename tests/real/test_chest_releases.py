"""Layouts of the large chest sets on their real label tables, and on the pack of NIH images.

The tables come with the package torchxrayvision. Each count that a card gives as counted on a table is counted again.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from medvlp.data.cards import load_card
from medvlp.data.layouts import index_cohort
from medvlp.data.layouts._dicom_tree import years
from medvlp.data.manifest import Manifest
from medvlp.data.text_table import read_table


@pytest.fixture
def tables() -> Path:
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package torchxrayvision is not installed, whose wheel holds the label tables")
    return Path(spec.submodule_search_locations[0]) / "data"


def counted(manifest: Manifest) -> dict[str, int]:
    """What cards count, counted on a manifest."""
    found = {"images": len(manifest), "patients": len(set(manifest.column("id.patient")))}
    if "id.study" in manifest:
        found["studies"] = len(set(manifest.column("id.study")))
    for name in manifest.names_of("label"):
        finding, values = name.removeprefix("label."), manifest.column(name)
        found |= {f"{word}:{finding}": int(np.sum(values == v)) for word, v in WORDS.items()}
    for name in manifest.names_of("boxes"):
        found[f"boxes:{name.removeprefix('boxes.')}"] = sum(len(some) for some in boxes_of(manifest, name).values())
    if manifest.names_of("boxes"):
        drawn = [boxes_of(manifest, name) for name in manifest.names_of("boxes")]
        found["boxes"] = sum(len(boxes) for some in drawn for boxes in some.values())
        found["images_with_boxes"] = len({row for some in drawn for row, boxes in some.items() if boxes})
    for column, word in (("view_position", "view"), ("sex", "sex")):
        if column in manifest:
            found |= {f"{word}:{value}": n for value, n in Counter(manifest.column(column)).items() if value}
    if "table_rows" in manifest:
        rows = [len(some.split()) for some in manifest.column("table_rows")]
        found |= {"rows": sum(rows), "images_of_several_rows": sum(n > 1 for n in rows)}
        if "label.pneumothorax" in manifest:
            found["masks"] = int(np.sum(np.array(rows)[manifest.column("label.pneumothorax") == 1]))
    return found


WORDS = {"label": 1, "absent": 0, "uncertain": -1}


def boxes_of(manifest: Manifest, name: str) -> dict[int, list[list[float]]]:
    return {row: boxes for row, boxes in enumerate(manifest.arrow(name).to_pylist()) if boxes is not None}


def check_card(name: str, manifest: Manifest, *files: str, at_least: int) -> None:
    """Every count that the card takes from the files is the manifest's."""
    found = counted(manifest)
    told = {
        count.what: count.value
        for count in load_card(name).counts
        if count.source in {f"counted on {f}" for f in files}
    }
    assert {what: found.get(what) for what in told} == told
    assert len(told) >= at_least


def test_nih_is_as_its_card_says(tables: Path, tmp_path: Path) -> None:
    for name in ("Data_Entry_2017_v2020.csv.gz", "BBox_List_2017.csv.gz"):
        (tmp_path / name).symlink_to(tables / name)
    manifest = index_cohort("nih_chestxray14", tmp_path, {"require_files": False})
    check_card(
        "nih_chestxray14", manifest, "Data_Entry_2017_v2020.csv", "BBox_List_2017.csv", at_least=6 + 15 + 2 + 8 - 1
    )
    assert manifest.meta["skipped"] == {}
    for name in manifest.names_of("boxes"):  # a box is drawn where the finding is known to be
        labels = manifest.column(f"label.{name.removeprefix('boxes.')}")
        assert all(labels[row] == 1 for row in boxes_of(manifest, name))


def test_chexpert_is_as_its_card_says(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv.gz").symlink_to(tables / "chexpert_train.csv.gz")
    manifest = index_cohort("chexpert", tmp_path, {"require_files": False})
    check_card("chexpert", manifest, "train.csv", at_least=10 + 40)
    assert set(manifest.column("split")) == {"train"}
    assert manifest.meta["ages_of_0_as_missing"] == np.isnan(manifest.column("age")).sum() == 3
    assert np.nanmax(manifest.column("age")) == 90
    assert Counter(manifest.column("sex"))[None] == 1


def test_rsna_is_as_its_card_says(tables: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tables / "kaggle_stage_2_train_labels.csv.zip") as archive:
        archive.extract("stage_2_train_labels.csv", tmp_path)
    manifest = index_cohort("rsna_pneumonia", tmp_path, {"require_files": False})
    check_card("rsna_pneumonia", manifest, "stage_2_train_labels.csv", at_least=4)
    boxes = boxes_of(manifest, "boxes.pneumonia")
    assert len(boxes) == len(manifest)  # all were looked at
    labels = manifest.column("label.pneumonia")
    assert all(bool(some) == labels[row] for row, some in boxes.items())
    assert max(max(box) for some in boxes.values() for box in some) <= 1024


def test_the_headers_of_rsna_are_as_its_card_says(tables: Path) -> None:
    table = read_table(tables / "kaggle_stage_2_train_images_dicom_headers.csv.gz")
    found = {f"view:{value}": n for value, n in Counter(table.column("ViewPosition")).items()}
    found |= {f"sex:{value}": n for value, n in Counter(table.column("PatientSex")).items()}
    told = {c.what: c.value for c in load_card("rsna_pneumonia").counts if c.what.startswith(("view:", "sex:"))}
    assert found == told
    ages = table.column("PatientAge")
    assert all(age.isdecimal() for age in ages)  # no unit, against the rule of DICOM
    assert sum(years(age) is None for age in ages) == sum(int(age) > 120 for age in ages) > 0


def test_siim_is_as_its_card_says_and_its_masks_are_those_of_the_official_decoder(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "train-rle.csv.gz").symlink_to(tables / "siim-pneumothorax-train-rle.csv.gz")
    manifest = index_cohort("siim_pneumothorax", tmp_path, {"require_files": False})
    check_card("siim_pneumothorax", manifest, "train-rle.csv", at_least=5)
    with gzip.open(tables / "siim-pneumothorax-train-rle.csv.gz", "rt", newline="") as handle:
        cells = [row[1] for row in csv.reader(handle)][1:]
    runs, rows = manifest.arrow("mask.pneumothorax"), manifest.column("table_rows")
    several = [row for row in range(len(manifest)) if len(rows[row].split()) > 1]
    assert len(several) == 624
    positive = np.flatnonzero(manifest.column("label.pneumothorax") == 1)
    for row in [*several[::40], *positive[::200].tolist()]:
        expected = np.zeros(1024 * 1024, dtype=bool)
        for number in rows[row].split():
            at = 0
            pairs = np.array(cells[int(number)].split(), dtype=int).reshape(-1, 2)
            for offset, length in pairs:
                at += offset
                expected[at : at + length] = True
                at += length
        height, width, *lengths = runs[row].as_py()
        found = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        assert (height, width) == (1024, 1024)
        np.testing.assert_array_equal(found, expected)


def test_the_flaw_that_the_card_states_of_the_row_split_is_there(tables: Path, tmp_path: Path) -> None:
    (tmp_path / "train-rle.csv.gz").symlink_to(tables / "siim-pneumothorax-train-rle.csv.gz")
    manifest = index_cohort("siim_pneumothorax", tmp_path, {"require_files": False})
    rows = [
        (int(row), name)
        for name, some in zip(*map(manifest.column, ("id", "table_rows")), strict=True)
        for row in some.split()
    ]
    names = [name for _, name in sorted(rows)]  # the table's rows, in its order
    train, rest = train_test_split(names, test_size=0.3, random_state=0)
    test, _ = train_test_split(rest, test_size=0.5, random_state=0)
    positive = set(manifest.column("id")[manifest.column("label.pneumothorax") == 1])
    tested = set(test) & positive
    told = f"{len(tested & set(train))} of {len(tested)} positive test images"
    assert told in " ".join(load_card("siim_pneumothorax").splits["gloria"].flaw.split())


# the images of the pack ---------------------------------------------------------------------------------------------


def test_the_nih_pack_is_read_row_for_row(pack: Callable[[str], Path]) -> None:
    root = pack("nih-cxr14")
    manifest = index_cohort("nih_chestxray14", root)
    with open(root / "Data_Entry_2017_v2020.csv", newline="") as handle:
        rows = list(csv.reader(handle))[1:]
    assert (len(manifest), len(set(manifest.column("id.patient")))) == (659, 457)
    lists = {split: set((root / name).read_text().split()) for split, name in LISTS.items()}
    words = load_card("nih_chestxray14").labels
    for row, cells in enumerate(rows):
        record = manifest.record(row)
        assert record["id"] == cells[0]
        assert record["image"] == f"images_001/images/{cells[0]}"
        assert {words[key] for key in words if record[f"label.{key}"] == 1} == set(cells[1].split("|"))
        assert (record["id.patient"], record["age"], record["sex"], record["view_position"]) == (
            cells[3],
            int(cells[4]),
            cells[5],
            cells[6],
        )
        assert cells[0] in lists[str(record["split"])]
    assert Counter(manifest.column("split")) == {"train": 494, "test": 165}
    assert manifest.meta["skipped"] == {}
    assert manifest.path(658).is_file()  # type: ignore[union-attr]


LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


def test_the_boxes_of_the_nih_pack_are_in_pixels_of_its_smaller_files(pack: Callable[[str], Path]) -> None:
    from PIL import Image

    root = pack("nih-cxr14")
    manifest = index_cohort("nih_chestxray14", root)
    with open(root / "BBox_List_2017.csv", newline="") as handle:
        drawn = list(csv.reader(handle))[1:]
    assert (len(drawn), len({cells[0] for cells in drawn})) == (30, 26)
    at = {name: row for row, name in enumerate(manifest.column("id"))}
    keys = {"Pneumonia": "pneumonia", "Infiltrate": "infiltration", "Mass": "mass", "Effusion": "effusion"}
    for name, word, *cells in drawn:
        path = manifest.path(at[name])
        assert path is not None
        with Image.open(path) as image:
            scale = image.width / 1024
        x, y, width, height = (float(cell) * scale for cell in cells[:4])
        boxes = manifest.arrow(f"boxes.{keys[word]}")[at[name]].as_py()
        assert any(np.allclose(box, [x, y, x + width, y + height], atol=1e-2) for box in boxes)
    assert counted(manifest)["boxes"] == 30
