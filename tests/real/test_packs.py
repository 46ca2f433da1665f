"""`medvlp inspect` and `medvlp predict` on files of the data packs: PNG, JPEG and DICOM as others wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medvlp.cli.main import app
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage.check import check_split
from medvlp.data.splits.patient import by_patient
from medvlp.io.inspection import inspect

PICTURES = {
    "nih-cxr14": ("images_001/images/*.png", 659),
    "covid-cxr": ("images/*.jpg", 96),
    "pneumonia-kermany": ("chest_xray/*/*/*.jpeg", 1500),
    "vqa-rad": ("images/*.jpg", 315),
    "dicom-structural": ("dicoms/*.dcm", 72),
}
SOME = 12


@pytest.mark.parametrize("name", list(PICTURES))
def test_pictures_of_a_pack_are_read(pack: Callable[[str], Path], name: str) -> None:
    pattern, count = PICTURES[name]
    paths = sorted(pack(name).glob(pattern))
    assert len(paths) == count
    for path in paths[:: max(1, count // SOME)]:
        found = inspect(path)
        assert found.get("kind") == "image", (path.name, found)
        assert min(found["shape"]) >= 128


def test_the_slices_of_the_brain_keep_their_spacing_and_say_that_pixels_are_not_square(
    pack: Callable[[str], Path],
) -> None:
    found = inspect(pack("dicom-structural") / "dicoms" / "N2D_0250.dcm")
    assert found["shape"] == [384, 274]
    assert found["spacing"] == pytest.approx([0.667, 0.700], abs=1e-3)
    assert any("not square" in warning for warning in found["warnings"])
    assert "Jane" not in json.dumps(found)


@pytest.mark.parametrize("name", list(PICTURES))
def test_predict_scores_pictures_of_a_pack(pack: Callable[[str], Path], bundle: Path, name: str) -> None:
    pattern, count = PICTURES[name]
    paths = [str(path) for path in sorted(pack(name).glob(pattern))[:: count // 3][:3]]
    done = CliRunner().invoke(app, ["predict", str(bundle), *paths, "--json"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.output)["results"]
    assert [result["path"] for result in results] == paths
    assert all(0 < score < 1 for result in results for score in result["scores"].values())
    assert len({json.dumps(result["scores"]) for result in results}) == len(paths)


def test_the_label_table_of_nih_is_a_csv_cohort_without_leaks(pack: Callable[[str], Path]) -> None:
    columns = {
        "image": "images_001/images/{Image Index}",
        "text": "Finding Labels",
        "patient_id": "Patient ID",
        "view_position": "View Position",
        "age": "Patient Age",
    }
    manifest = index_cohort("csv", pack("nih-cxr14"), {"table": "Data_Entry_2017_v2020.csv", "columns": columns})
    assert len(manifest) == 659
    assert len(set(manifest.column("id.patient"))) == 457
    assert all(manifest.path(i).is_file() for i in range(0, 659, 50))  # type: ignore[union-attr]
    assert check_split(by_patient(manifest).apply(manifest)) == []


def test_the_published_split_of_kermany_is_taken_from_its_table(pack: Callable[[str], Path]) -> None:
    columns = {"image": "path", "text": "{subtype} chest radiograph", "patient_id": "patient_group", "split": "split"}
    manifest = index_cohort("csv", pack("pneumonia-kermany"), {"table": "labels.csv", "columns": columns})
    splits = manifest.column("split").tolist()
    assert (splits.count("train"), splits.count("test")) == (1125, 375)
    assert check_split(manifest) == []
