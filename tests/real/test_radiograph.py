"""`medvlp inspect` and `medvlp predict` on the chest radiograph of pydicom-data (Philips CR, MONOCHROME1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.cli.main import app

CHEST = "RG1_UNCR.dcm"


def test_inspect_tells_what_the_header_says_and_what_reading_did(pydicom_file: Callable[[str], Path]) -> None:
    done = CliRunner().invoke(app, ["inspect", str(pydicom_file(CHEST)), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["kind"], found["shape"], found["spacing"]) == ("image", [1955, 1841], None)
    assert found["meta"]["BodyPartExamined"] == "CHEST"
    assert found["meta"]["ViewPosition"] == "PA"
    assert "polarity: inverted by MONOCHROME1" in found["steps"]
    assert any("WindowCenter 15000, WindowWidth 30000" in step for step in found["steps"])
    assert any("PixelSpacing 0, 0 is not a spacing" in warning for warning in found["warnings"])


def test_inspect_shows_no_name_number_or_date_of_the_patient(pydicom_file: Callable[[str], Path]) -> None:
    import pydicom

    path = pydicom_file(CHEST)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    shown = CliRunner().invoke(app, ["inspect", str(path), "--json"]).output.replace(str(path), "")
    for keyword in ("PatientName", "PatientID", "StudyDate", "StudyInstanceUID", "SOPInstanceUID"):
        value = str(header.get(keyword) or "")
        assert not value or value not in shown, keyword


def test_the_mediastinum_is_whiter_than_the_lungs_and_the_lungs_than_the_air(
    pydicom_file: Callable[[str], Path],
) -> None:
    import medvlp

    pixels = medvlp.read_image(pydicom_file(CHEST)).pixels
    height, width = pixels.shape
    band = pixels[height // 4 : height // 2]
    spine, right, left = (
        float(band[:, int(a * width) : int(b * width)].mean()) for a, b in ((0.47, 0.53), (0.2, 0.33), (0.67, 0.8))
    )
    assert spine > 1.3 * max(right, left)
    assert min(right, left) > 1.3 * float(pixels[60:110, :50].mean())


def test_the_four_codings_of_one_radiograph_get_the_same_scores(
    pydicom_file: Callable[[str], Path], model: VisionLanguageModel
) -> None:
    paths = [pydicom_file(f"RG1_{coding}.dcm") for coding in ("UNCR", "UNCI", "J2KR", "J2KI")]
    said = model.ask("zero_shot", paths)
    assert said.scores
    scores = np.stack(list(said.scores.values()), axis=1)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores[0])) == len(model.bundle.labels)
    np.testing.assert_allclose(scores[2], scores[0], atol=1e-6)  # reversible JPEG 2000: the same pixels
    # Irreversible files are other pixels, by less than the eye resolves.
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], scores.shape), atol=0.01)


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG3_J2KI.dcm"])
def test_predict_gives_a_score_a_finding_and_passes_on_what_reading_announced(
    pydicom_file: Callable[[str], Path], bundle: Path, model: VisionLanguageModel, name: str
) -> None:
    path = pydicom_file(name)
    done = CliRunner().invoke(app, ["predict", str(bundle), str(path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert set(found) == {"model", "recipe", "results"}
    (result,) = found["results"]
    assert (result["path"], result["calibrated"]) == (str(path), False)
    assert list(result["scores"]) == list(model.bundle.labels)
    assert all(0 < score < 1 for score in result["scores"].values())
    told = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).output)
    assert result["warnings"] == told["warnings"]


def test_a_heat_map_lies_over_the_models_view_of_the_radiograph(
    pydicom_file: Callable[[str], Path], model: VisionLanguageModel
) -> None:
    path = pydicom_file(CHEST)
    found = model.explain(path, "pleural effusion").resized(64)
    assert found.shape == (64, 64)
    assert np.isfinite(found).all()
    prepared = model.prepare(path)
    assert prepared.record is not None
    # The picture is taller than wide: the square view has its whole height, and black beside it.
    x0, y0, x1, y1 = prepared.record.box
    assert (y0, y1) == pytest.approx((0, 1955), abs=1)
    assert x1 - x0 == pytest.approx(y1 - y0, abs=1955 / 64)  # to a pixel of the view
    assert float(prepared.pixels[0, :, 0].abs().max()) == 0


def test_pixels_that_were_read_already_score_as_their_file(
    pydicom_file: Callable[[str], Path], model: VisionLanguageModel
) -> None:
    import medvlp
    from medvlp.core.errors import UserError

    image = medvlp.read_image(pydicom_file(CHEST))
    np.testing.assert_array_equal(model.embed_image(image.pixels), model.embed_image(pydicom_file(CHEST)))
    with pytest.raises(UserError, match=r"values in \[0, 1\], 1 white, not 0 to 4095: give the path of its file"):
        model.embed_image(np.array([[0, 4095]]))
    with pytest.raises(UserError, match=r"has the shape \(H, W\), not \(1, 2, 3\)"):
        model.embed_image(np.zeros((1, 2, 3)))
