"""`medvlp data drift`."""

from __future__ import annotations

import json

import numpy as np

from tests.io.conftest import dicom_writer


def test_drift_prints_one_document_or_a_table(cli, tmp_path):
    film = dicom_writer(tmp_path)(np.array([[10, 20, 30, 110]], np.uint16))
    ran = cli("data", "drift", film, "--presets", "dicom_voi_v1", "mimic_jpg_v1", "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert [row["measure"] for row in found["measures"]] == ["difference", "correlation", "histogram"]
    assert found["cases"][0]["path"] == str(film)
    table = cli("data", "drift", film, "--presets", "dicom_voi_v1", "mimic_jpg_v1").out
    assert table.splitlines()[0] == "difference  median 0.1750  95 % - to -  1 images, 1 patients"


def test_a_preset_that_fits_no_image_exits_2_with_one_sentence(cli, tmp_path):
    film = dicom_writer(tmp_path)(np.zeros((2, 2), np.uint16))
    said = cli("data", "drift", film, "--presets", "ct_lung_v1", "ct_bone_v1").refused()
    assert "is refused by ct_lung_v1 (preset_mismatch)" in said
