"""NIH ChestX-ray14 on a small tree in its true layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split
from medvlp.io.read import read_image

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,57,M,PA,2682,2749,0.14300000000000002,0.14300000000000002",
    "00000001_001.png,No Finding,1,1,58,M,AP,2894,2729,0.14300000000000002,0.14300000000000002",
    "00000002_000.png,Infiltration|Pleural_Thickening,0,2,81,F,PA,2500,2048,0.171,0.171",
    "00000003_000.png,Hernia,0,3,95,F,PA,2582,2991,0.14300000000000002,0.14300000000000002",
]
BOXES = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00000001_000.png,Cardiomegaly,256,512,128,64.5
00000002_000.png,Infiltrate,10,20,30,40
00000002_000.png,Infiltrate,100,200,30,40
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    (tmp_path / "BBox_List_2017.csv").write_text(BOXES)
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n00000003_000.png")
    for folder, name, mode, side in (
        ("images_001", "00000001_000.png", "L", 512),
        ("images_001", "00000001_001.png", "L", 1024),
        ("images_002", "00000002_000.png", "RGBA", 1024),
        ("images_012", "00000003_000.png", "L", 1024),
    ):
        (tmp_path / folder / "images").mkdir(parents=True, exist_ok=True)
        picture = Image.new(mode, (side, side), 128 if mode == "L" else (64, 64, 64, 255))
        picture.save(tmp_path / folder / "images" / name)
    return tmp_path


def test_images_of_all_archives_are_found_and_every_column_is_right(root: Path) -> None:
    manifest = index_cohort("nih_chestxray14", root)
    assert manifest.column("image").tolist() == [
        "images_001/images/00000001_000.png",
        "images_001/images/00000001_001.png",
        "images_002/images/00000002_000.png",
        "images_012/images/00000003_000.png",
    ]
    first = manifest.record(0)
    assert {
        name: first[name] for name in ("id", "id.patient", "view_position", "sex", "age", "study_number", "split")
    } == {
        "id": "00000001_000.png",
        "id.patient": "1",
        "view_position": "PA",  # not the number behind the commas of the header's brackets
        "sex": "M",
        "age": 57,
        "study_number": 0,
        "split": "train",
    }
    assert manifest.column("split").tolist() == ["train", "train", "test", "test"]
    for name in ("train_val_list.txt", "test_list.txt"):  # as an editor on Windows saves them
        (root / name).write_bytes(b"\xef\xbb\xbf" + (root / name).read_bytes().replace(b"\n", b"\r\n"))
    assert index_cohort("nih_chestxray14", root).column("split").tolist() == ["train", "train", "test", "test"]
    assert check_split(manifest, images=False) == []
    assert manifest.meta["skipped"] == {}
    assert set(manifest.column("source")) == {"nih_chestxray14"}


def test_a_table_of_copies_says_where_each_image_came_from(root: Path) -> None:
    names = index_cohort("nih_chestxray14", root).column("id").tolist()
    (root / "image_sources.csv").write_text(f"Image Index,source_repository\n{names[0]},one/copy\n")
    assert index_cohort("nih_chestxray14", root).column("source").tolist() == [
        "one/copy",
        *["nih_chestxray14"] * (len(names) - 1),
    ]


def test_the_manifest_names_the_tables_that_it_was_made_of(root: Path) -> None:
    (root / "test_list.txt").unlink()
    assert index_cohort("nih_chestxray14", root).meta["tables"] == [
        "Data_Entry_2017_v2020.csv",
        "train_val_list.txt",
        "BBox_List_2017.csv",
    ]


def test_a_finding_that_is_not_named_is_absent_and_none_is_uncertain(root: Path) -> None:
    manifest = index_cohort("nih_chestxray14", root)
    assert len(manifest.names_of("label")) == 15
    assert {name for name in manifest.names_of("label") if manifest.column(name)[2] == 1} == {
        "label.infiltration",
        "label.pleural_thickening",
    }
    assert manifest.column("label.no_finding").tolist() == [0, 1, 0, 0]
    assert all(set(manifest.column(name)) <= {0.0, 1.0} for name in manifest.names_of("label"))


def test_boxes_are_corners_in_pixels_of_the_file_and_missing_where_nobody_drew(root: Path) -> None:
    manifest = index_cohort("nih_chestxray14", root)
    assert manifest.names_of("boxes") == ("boxes.cardiomegaly", "boxes.infiltration")
    # The first file is half as wide as the pictures on which the boxes were drawn.
    assert manifest.arrow("boxes.cardiomegaly").to_pylist() == [[[128, 256, 192, 288.25]], None, None, None]
    assert manifest.arrow("boxes.infiltration").to_pylist()[2] == [[10, 20, 40, 60], [100, 200, 130, 240]]
    assert not index_cohort("nih_chestxray14", root, {"boxes": False}).names_of("boxes")


def test_a_file_with_alpha_is_read_by_its_colours(root: Path) -> None:
    manifest = index_cohort("nih_chestxray14", root)
    path = manifest.path(2)
    assert path is not None
    np.testing.assert_allclose(read_image(path).pixels, 64 / 255, atol=2e-3)


def test_missing_files_are_left_out_and_listed_and_other_files_too(root: Path) -> None:
    (root / "images_012/images/00000003_000.png").rename(root / "images_012/images/99999999_000.png")
    (root / "images_002/images/00000001_000.png").write_bytes(b"")
    manifest = index_cohort("nih_chestxray14", root)
    assert len(manifest) == 3
    assert manifest.meta["skipped"] == {
        "missing_file": ["00000003_000.png"],
        "repeated": ["images_002/images/00000001_000.png"],
        "not_in_table": ["images_012/images/99999999_000.png"],
    }
    labels = index_cohort("nih_chestxray14", root, {"require_files": False})
    assert len(labels) == 4
    assert labels.path(3) is None


def test_one_view_can_be_chosen(root: Path) -> None:
    manifest = index_cohort("nih_chestxray14", root, {"views": ["PA"]})
    assert set(manifest.column("view_position")) == {"PA"}
    assert manifest.meta["skipped"] == {"other_view": ["00000001_001.png"]}
    with pytest.raises(DataError, match=r"No record of .* is left \(4 other_view\)"):
        index_cohort("nih_chestxray14", root, {"views": ["LATERAL"]})


def test_the_table_of_2017_and_copies_with_another_header_are_read(root: Path) -> None:
    (root / "Data_Entry_2017_v2020.csv").unlink()
    header = HEADER.replace("Gender", "Sex") + ","
    old = [row.replace(",57,M", ",058Y,M").replace(",95,F", ",412Y,F") + "," for row in ROWS]
    (root / "Data_Entry_2017.csv").write_text("\n".join([header, *old]) + "\n")
    manifest = index_cohort("nih_chestxray14", root)
    assert manifest.record(0)["age"] == 58
    assert "age" not in manifest.record(3)
    assert manifest.meta["implausible_ages"] == 1
    assert manifest.record(3)["sex"] == "F"


def test_without_lists_there_is_no_split_and_an_image_on_no_list_has_none(root: Path) -> None:
    (root / "test_list.txt").write_text("00000002_000.png\n")
    assert index_cohort("nih_chestxray14", root).column("split").tolist() == ["train", "train", "test", None]
    (root / "test_list.txt").unlink()
    (root / "train_val_list.txt").unlink()
    assert "split" not in index_cohort("nih_chestxray14", root)


def test_a_flat_folder_of_images_is_found_too(root: Path) -> None:
    (root / "images").mkdir()
    for path in list(root.glob("images_*/images/*.png")):
        path.rename(root / "images" / path.name)
    assert index_cohort("nih_chestxray14", root).column("image")[0] == "images/00000001_000.png"


def test_what_is_wrong_is_one_sentence(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(DataError, match=r"holds no label table of NIH ChestX-ray14 \(Data_Entry_2017_v2020.csv or"):
        index_cohort("nih_chestxray14", tmp_path_factory.mktemp("empty"))
    with pytest.raises(ConfigError, match="did you mean 'views'"):
        index_cohort("nih_chestxray14", root, {"view": ["PA"]})
    (root / "test_list.txt").write_text("00000001_000.png\n")
    with pytest.raises(DataError, match=r"images in both train_val_list.txt and test_list.txt: 1"):
        index_cohort("nih_chestxray14", root)
    (root / "test_list.txt").unlink()
    (root / "BBox_List_2017.csv").write_text(BOXES.replace("128,64.5", "128,"))
    with pytest.raises(DataError, match=r"BBox_List_2017.csv, line 2: the box .*, 128, .* is no numbers"):
        index_cohort("nih_chestxray14", root)
    (root / "BBox_List_2017.csv").write_text(BOXES.replace("Infiltrate", "Infiltrates"))
    with pytest.raises(DataError, match=r"line 3: 'Infiltrates' is no finding of the set: did you mean 'Infiltration'"):
        index_cohort("nih_chestxray14", root)
    table = root / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace("Hernia", "Hernias"))
    with pytest.raises(DataError, match=r"line 5: 'Hernias' is no finding of the set: did you mean 'Hernia'"):
        index_cohort("nih_chestxray14", root)
    for path in root.glob("images_*/images/*.png"):
        path.unlink()
    table.write_text(table.read_text().replace("Hernias", "Hernia"))
    (root / "BBox_List_2017.csv").unlink()
    with pytest.raises(
        DataError, match=r"None of the 4 files that .* the first is 00000001_000.png: .* set require_files to false"
    ):
        index_cohort("nih_chestxray14", root)
