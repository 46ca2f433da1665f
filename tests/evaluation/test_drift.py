"""Two presets compared on images whose display values by both are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.answers.asking.model import load
from medvlp.core.errors import DataError, UserError
from medvlp.data.manifest import Manifest
from medvlp.evaluation.drift import compare_presets, image_files
from medvlp.statistics.ranks import weighted_medians
from tests.io.conftest import dicom_writer

PAIR = ("dicom_voi_v1", "mimic_jpg_v1")
STORED = np.array([[10, 20, 30, 110]] * 2, np.uint16)
VOI = np.array([0, 0.1, 0.2, 1])  # minimum to maximum
MIMIC = np.array([0, 1 / 3, 2 / 3, 1])  # shares of the pixels above the smallest


def films(folder: Path, count: int) -> list[Path]:
    write = dicom_writer(folder)
    return [write(STORED + 7 * k) for k in range(count)]  # neither preset sees a shift


def by_name(drift):
    return {row["measure"]: row for row in drift["measures"]}


def test_measures_are_those_of_the_known_values(tmp_path):
    drift = compare_presets(films(tmp_path, 7), PAIR)
    rows = by_name(drift)
    assert rows["difference"]["median"] == pytest.approx(np.abs(VOI - MIMIC).mean(), abs=1e-6)
    # Of one-dimensional samples of one size it is the mean distance of the sorted values (here: sorted already).
    assert rows["histogram"]["median"] == pytest.approx(np.abs(VOI - MIMIC).mean(), abs=1e-6)
    centred = [x - x.mean() for x in (VOI, MIMIC)]
    expected = np.sum(centred[0] * centred[1]) / np.sqrt(np.sum(centred[0] ** 2) * np.sum(centred[1] ** 2))
    assert rows["correlation"]["median"] == pytest.approx(expected, abs=1e-5)
    for row in drift["measures"]:
        assert (row["n"], row["patients"]) == (7, 7)
        assert row["low"] == pytest.approx(row["median"]) == row["high"]  # all images are alike
    assert "cosine" not in rows


def test_below_6_patients_there_is_no_interval(tmp_path):
    paths = films(tmp_path, 8)
    five = by_name(compare_presets(paths, PAIR, patients=list("aabbccde")))["difference"]
    assert (five["n"], five["patients"], five["low"], five["high"]) == (8, 5, None, None)
    assert by_name(compare_presets(paths, PAIR, patients=list("aabbcdef")))["difference"]["low"] is not None


def test_constant_and_turned_images_leave_measures_undefined(tmp_path):
    write = dicom_writer(tmp_path)
    flat = write(np.full((2, 4), 5, np.uint8))
    lying = write(STORED, {0x00200020: ("CS", "F\\L")})  # one preset hangs it upright, the other shows it as stored
    drift = compare_presets([flat, lying], PAIR)
    assert [case["correlation"] for case in drift["cases"]] == [None, None]
    assert [case["difference"] for case in drift["cases"]] == [0.0, None]
    assert drift["cases"][1]["histogram"] == pytest.approx(np.abs(VOI - MIMIC).mean(), abs=1e-6)
    assert drift["turned"] == 1


def test_files_that_one_preset_refuses_are_left_out_with_its_reason(tmp_path):
    write = dicom_writer(tmp_path)
    good, scan = write(STORED), write(STORED, {0x00080060: ("CS", "CT")})
    (tmp_path / "notes.txt").write_text("no image")
    drift = compare_presets([scan, good, tmp_path / "notes.txt"], PAIR)
    assert [tuple(each.values()) for each in drift["left_out"]] == [
        (str(scan), "mimic_jpg_v1", "preset_mismatch"),
        (str(tmp_path / "notes.txt"), "dicom_voi_v1", "not_an_image"),
    ]
    assert [case["path"] for case in drift["cases"]] == [str(good)]
    assert drift["notes"][-1].startswith("the patients are not known of 1 images: ")


def test_nothing_to_compare_is_one_sentence(tmp_path):
    paths = films(tmp_path, 1)
    with pytest.raises(DataError, match=r"is refused by ct_lung_v1 \(preset_mismatch\): choose presets that fit"):
        compare_presets(paths, ("dicom_voi_v1", "ct_lung_v1"))
    with pytest.raises(UserError, match="Both presets are mimic_jpg_v1"):
        compare_presets(paths, ("mimic_jpg_v1", "mimic_jpg_v1"))
    with pytest.raises(UserError, match="no preprocessing preset 'x'"):
        compare_presets(paths, ("mimic_jpg_v1", "x"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="There is no image"):
        image_files([tmp_path / "empty"])


def test_files_of_folders_and_manifests(tmp_path):
    paths = films(tmp_path, 3)
    assert image_files([tmp_path]) == (sorted(paths), None)
    assert image_files(paths[:2]) == (paths[:2], None)
    Manifest.of(
        {"id": ["a", "b", "c"], "image": [paths[2].name, None, paths[0].name], "id.patient": ["p", "q", "p"]},
        root=tmp_path,
    ).save(tmp_path / "m.parquet")
    assert image_files([tmp_path / "m.parquet"]) == ([paths[2], paths[0]], ["p", "p"])


def test_images_of_unknown_patients_are_no_one_patient(tmp_path):
    columns = {"id": list("abc"), "image": [path.name for path in films(tmp_path, 3)], "id.patient": ["p", None, None]}
    Manifest.of(columns, root=tmp_path).save(tmp_path / "m.parquet")
    paths, patients = image_files([tmp_path / "m.parquet"])
    drift = compare_presets(paths, PAIR, patients=patients)
    assert {row["patients"] for row in drift["measures"]} == {3}
    assert drift["notes"][-1].startswith("the patients are not known of 2 images: each counts as one")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 4)), min_size=1, max_size=12))
def test_weighted_median_is_the_median_of_repeated_values(pairs):
    values, weights = (np.array(column, float) for column in zip(*pairs, strict=True))
    if weights.sum() == 0:
        weights[0] = 1
    expected = np.median(np.repeat(values, weights.astype(int)))
    assert weighted_medians(values, weights[:, None]).tolist() == [expected]


def test_cosine_is_that_of_the_models_embeddings_of_both_readings(tmp_path, bundle):
    model = load(bundle)
    drift = compare_presets(films(tmp_path, 2), PAIR, patients=["a", "b"], model=model)
    a, b = (model.embed_image(np.tile(values, (2, 1)).astype(np.float32))[0] for values in (VOI, MIMIC))
    expected = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    for case in drift["cases"]:
        assert case["cosine"] == pytest.approx(expected, abs=1e-5)
    assert drift["notes"] == []
    other = compare_presets(films(tmp_path, 1), ("chexpert_jpg_v1", "mimic_jpg_v1"), model=model)
    assert other["notes"][0] == "the model was trained with dicom_voi_v1, which is not compared"
    assert other["notes"][1].startswith("the patients are not known")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from medvlp.models.build import build_model
    from medvlp.models.bundle import Bundle, save_bundle
    from medvlp.text import train_wordpiece

    words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    small = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
    folder = tmp_path_factory.mktemp("model") / "bundle"
    reading = [{"name": "read", "size": 32, "preset": "dicom_voi_v1"}]
    save_bundle(folder, Bundle(small, words, preprocessing=reading))
    return folder
