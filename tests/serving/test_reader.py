"""A reader says what `predict` prints, of what was read once, in words that do not mislead."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

import medvlp
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.maps import maps_of_findings
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.cli.main import app
from medvlp.core.errors import ConfigError, UserError
from medvlp.data.layouts.phantom import index
from medvlp.evaluation.results import load_result
from medvlp.io.image import Image
from medvlp.io.read import read_image
from medvlp.serving.findings import finding_rows, in_words
from medvlp.serving.reader import Reader

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


def test_the_numbers_are_those_that_predict_prints(reader: Reader, films: list[Path]) -> None:
    calibrated = 0
    for film in films:
        told = predict_files(reader.model, [film])["results"][0]
        said = json.loads(json.dumps(reader.findings(reader.prepare(film))))
        assert (said["refused"] is not None) == told["abstained"]
        assert {row["finding"] for row in said["findings"]} == set(told["scores"])
        for row in said["findings"] if said["refused"] is None else ():
            name = row["finding"]
            assert row["score"] == told.get("raw_scores", told["scores"])[name]
            if row["probability"] is not None:
                calibrated += 1
                assert row["probability"] == told["scores"][name]
                assert row["category"] == told["category"][name]
                written = row["sentence"].partition(",")[0]
                assert written == f"{row['probability']:.{max(2, len(written) - 2)}f}"
            else:
                assert name in told["uncalibrated"]
                assert row["category"] == "uncalibrated"
    assert calibrated


@pytest.mark.parametrize(
    ("category", "number", "words"),
    [
        ("indeterminate", 0.2300, "0.2300, between its thresholds 0.2296 and 0.2311"),
        ("present", 0.2341, "0.234, above its threshold 0.231"),
        ("present", 0.2311, "0.23, at its threshold 0.23"),
        ("absent", 0.2288, "0.229, below its threshold 0.230"),
        ("absent", 0.1, "0.10, below its threshold 0.23"),
    ],
)
def test_a_number_and_its_thresholds_are_written_with_the_digits_that_tell_them_apart(
    category: str, number: float, words: str
) -> None:
    assert in_words(category, number, None, {"absent_to": 0.2296, "present_from": 0.2311}) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (None, 0.29, "0.12, below its threshold 0.29, too few cases to call it absent"),
        (0.05, None, "0.12, above its threshold 0.05, too few cases to call it present"),
        (None, None, "0.12, too few cases for a threshold"),
    ],
)
def test_a_threshold_that_is_known_is_said_where_the_other_has_too_few_cases(
    low: float | None, high: float | None, words: str
) -> None:
    assert in_words("indeterminate", 0.12, None, {"absent_to": low, "present_from": high}) == words


def test_what_was_read_once_is_not_read_again(reader: Reader, films: list[Path]) -> None:
    read = read_image(films[0], preset=reader.describe()["preset"])
    assert isinstance(read, Image)
    of_path, of_image = (reader.findings(reader.prepare(each)) for each in (films[0], read))
    assert of_path["findings"] == of_image["findings"]
    assert of_path["refused"] == of_image["refused"]


def test_an_unlike_picture_is_held_back_without_a_number(reader: Reader) -> None:
    said = reader.findings(reader.prepare(np.zeros((64, 64), np.float32)))
    assert said["refused"]["reason"] == "blank"
    assert said["refused"]["sentence"].endswith("the picture is blank.") or "; " in said["refused"]["sentence"]
    for row in said["findings"]:
        assert (row["category"], row["probability"], row["score"]) == ("not_for_this_picture", None, None)
        assert row["map"] is False
    blank = reader.prepare(np.zeros((64, 64), np.float32))
    for asked in (
        lambda: reader.where(blank, "effusion"),
        lambda: reader.ask(blank, "Left effusion."),
        lambda: reader.check_report(blank, "Left effusion."),
    ):
        with pytest.raises(UserError, match=r"unlike those of the training: .*Nothing is said of it"):
            asked()


def test_a_file_of_another_modality_is_held_back_by_what_it_says(reader: Reader, films: list[Path]) -> None:
    assert reader.model.bundle.provenance["modalities"] == ["CR", "DX"]
    read = read_image(films[0])
    other = dataclasses.replace(read, meta={**read.meta, "Modality": "CT"})
    said = reader.findings(reader.prepare(other))
    assert said["refused"]["reason"] == "modality"
    assert "another modality than the training pictures" in said["refused"]["sentence"]
    assert predict_files(reader.model, [reader.prepare(other)])["results"][0]["abstained"] is True
    assert reader.findings(reader.prepare(read))["refused"] is None


def test_a_sentence_and_its_denial_change_places_with_the_sign(reader: Reader, films: list[Path]) -> None:
    prepared = reader.prepare(films[0])
    there, away = reader.ask(prepared, "Is there an effusion?"), reader.ask(prepared, "There is no effusion")
    assert (there["statement"], there["denial"]) == ("There is an effusion.", "There is no effusion.")
    assert (away["statement"], away["denial"]) == (there["denial"], there["statement"])
    assert there["margin"] == pytest.approx(-away["margin"], abs=1e-6)
    for words, said in (("hello world", r"Hello world\."), (None, r"\.")):
        with pytest.raises(UserError, match=f"No rule denies '{said}'"):
            reader.ask(prepared, words)  # type: ignore[arg-type]


def test_a_map_lies_in_the_pixels_of_the_source(reader: Reader, films: list[Path]) -> None:
    found = reader.where(reader.prepare(films[0]), "effusion")
    values = np.frombuffer(base64.b64decode(found["values"]), np.uint8)
    assert len(values) == found["rows"] * found["columns"]
    height, width = read_image(films[0]).pixels.shape
    x0, y0, x1, y1 = found["box"]
    assert x0 <= 0 <= width <= x1
    assert y0 <= 0 <= height <= y1


def test_evidence_is_the_rows_of_the_results(reader: Reader, judged: Path, films: list[Path]) -> None:
    kept = load_result(judged / "results" / "zero_shot.json")
    points = next(each for each in reader.model.bundle.answers if each.name == "zero_shot").operating_points["findings"]
    compared = 0
    for row in reader.findings(reader.prepare(films[0]))["findings"]:
        evidence, name = row["evidence"], row["finding"]
        found = kept.find("auroc", name)
        assert (evidence["auroc"], evidence["low"], evidence["high"]) == (
            found.value,
            found.interval.low,
            found.interval.high,
        )
        assert (evidence["n"], evidence["positives"], evidence["method"]) == (
            found.counts.n,
            found.counts.positives,
            found.interval.method,
        )
        assert evidence["data"] == {"hash": kept.data, "split": "test", "recipe": kept.recipe, "synthetic": True}
        for metric in ("ppv", "npv"):
            if name not in points:  # the bundle calls nothing of it
                assert (evidence[metric], evidence["operating_point"]) == (None, None)
                continue
            rows = [r for r in kept.metrics if (r.metric, r.label, r.group) == (metric, name, None)]
            (own,) = [r for r in rows if r.operating_point == evidence["operating_point"]]
            assert (evidence[metric], evidence[f"{metric}_low"]) == (own.value, own.interval.low)
            compared += own.value is not None
        if row["probability"] is not None:
            fitted = kept.fitted[name]["calibration"]["platt"]
            assert row["base_rate"] == fitted["positives"] / fitted["n"]
            assert evidence["base_rate"] == found.counts.positives / found.counts.n
    assert compared


def test_scores_come_with_what_predict_says_of_the_whole_model(
    reader: Reader, judged: Path, tiny_run: Trained, films: list[Path]
) -> None:
    synthetic = "Trained on synthetic data: it proves the machinery and knows nothing of patients."
    open_to_all = "This model has no gate: pictures unlike those that it was trained on are scored too."
    gated, ungated = reader, Reader(medvlp.load(tiny_run.bundle))
    for asked, bundle, said in ((gated, judged / "bundle", 1), (ungated, tiny_run.bundle, 2)):
        whole = [synthetic, open_to_all][:said]
        assert asked.findings(asked.prepare(films[0]))["warnings"][-said:] == whole
        printed = CliRunner().invoke(app, ["predict", str(bundle), str(films[0])]).output
        assert [each for each in (synthetic, open_to_all) if each in printed] == whole


def test_a_bundle_without_evidence_loads_and_says_none(tiny_run: Trained, films: list[Path]) -> None:
    plain = Reader(medvlp.load(tiny_run.bundle))
    assert all(row["evidence"] is None for row in plain.findings(plain.prepare(films[0]))["findings"])


def test_a_map_is_offered_exactly_where_its_gain_over_the_middle_lies_above_0(
    reader: Reader, judged: Path, films: list[Path]
) -> None:
    kept = reader.model.bundle.answers[0].maps
    assert kept is not None
    measured, centre = (load_result(judged / "results" / f"grounding_{n}.json") for n in ("hires_cam", "centre"))
    prepared = reader.prepare(films[0])
    for row in reader.findings(prepared)["findings"]:
        name = row["finding"]
        rate = row["hit_rate"]
        if rate is None:
            assert (name in kept["hits"], row["map"]) == (False, False)
            continue
        found, middle = (each.find("pointing_game", name) for each in (measured, centre))
        assert (rate["value"], rate["low"], rate["centre"]) == (
            found.value,
            found.interval.low,
            pytest.approx(middle.value),
        )
        assert rate["gain"] == pytest.approx(found.value - middle.value)
        assert row["map"] == (rate["gain_low"] > 0)
        assert reader.where(prepared, name)["hit_rate"] == rate
    assert kept["default"] == "hires_cam"


def test_a_map_of_another_method_is_that_methods_own(reader: Reader, films: list[Path]) -> None:
    prepared = reader.prepare(films[0])
    assert (found := reader.where(prepared, "effusion", "occlusion"))["rows"] == found["columns"] == 14
    assert (found["method"], found["hit_rate"]) == ("occlusion", None)
    of_words = reader.where(prepared, "Is there a left effusion?", "grad_cam")
    assert of_words["method"] == "grad_cam"
    with pytest.raises(ConfigError, match="no features/maps component named 'grad_camm'"):
        reader.where(prepared, "effusion", "grad_camm")


def test_each_finding_has_the_map_that_hit_it_best(reader: Reader, films: list[Path]) -> None:
    bundle, sample = reader.model.bundle, reader.prepare(films[0]).sample
    first = bundle.answers[0]
    assert first.maps is not None
    methods = {name: {"name": name} for name in ("hires_cam", "occlusion")}
    maps = {**first.maps, "methods": methods, "default": "hires_cam", "best": {"effusion": "occlusion"}}
    model = VisionLanguageModel(replace(bundle, answers=(replace(first, maps=maps), *bundle.answers[1:])))
    asked = [("edema", ""), ("effusion", ""), ("nodule", "")]
    answer = model.answers[first.name]
    found = maps_of_findings(model, first.name, answer, sample, asked)
    assert found is not None
    assert [each.method for each in found] == ["hires_cam", "occlusion", "hires_cam"]
    for each, one in zip(found, asked, strict=True):
        (own,) = maps_of_findings(model, first.name, answer, sample, [one], each.method) or ()
        assert np.allclose(each.values, own.values, atol=1e-6)


def test_each_sentence_of_a_report_is_judged_as_the_measure_judges_it(
    reader: Reader, judged: Path, wide_cohort: CohortSummary
) -> None:
    kept = load_result(judged / "results" / "sentence_check.json")
    assert kept.cases is not None
    assert reader.model.bundle.sentences is not None
    evidence = reader.model.bundle.sentences["evidence"]
    for label in ("sentence_calibrated", "sentence_prior", "sentence_alike"):
        row = kept.find("auroc", label)
        assert (evidence[label]["value"], evidence[label]["low"]) == (row.value, row.interval.low)
    wrong = kept.find("false_supported", "sentence_verdict", group="kind=side")
    assert (evidence["false_supported/side"]["value"], evidence["false_supported/side"]["n"]) == (
        wrong.value,
        wrong.counts.n,
    )
    true = kept.cases[kept.cases["label:sentence_calibrated"] == 1]
    manifest = index(wide_cohort.root).where({"view_position": ["PA", "AP"]})
    patient = str(true["patient_id"].iloc[0])
    rows = [i for i in range(len(manifest)) if manifest.record(i)["id.patient"] == patient]
    record = manifest.record(rows[0])  # the measure takes the first picture of a study
    said = reader.check_report(reader.prepare(wide_cohort.root / str(record["image"])), str(record["text"]))
    assert said["evidence"]["auroc"] | said["evidence"]["errors"] == evidence
    assert next(iter(said["evidence"]["auroc"])) == "sentence_alike"
    assert set(said["evidence"]["errors"]) >= {"true_contradicted", "false_supported"}
    facts = [fact for each in said["sentences"] for fact in each["facts"] if fact["probability"] is not None]
    assert facts
    own = true[true["patient_id"] == patient]
    for fact in facts:
        same = own[(own["group:kind"] == fact["kind"]) & (own["finding"] == fact["finding"])]
        near = np.abs(same["score:sentence_calibrated"] - fact["probability"]).min()
        assert near < 1e-3 or len(set(manifest.column("id.study")[rows])) > 1
    verdicts = {each["text"]: each["verdict"] for each in said["sentences"]}
    assert set(verdicts.values()) <= {"supported", "contradicted", "undecided", "not_judged"}
    assert all(text in " ".join(str(record["text"]).split()) for text in verdicts)


def test_a_denial_is_judged_as_a_denial(reader: Reader, films: list[Path]) -> None:
    prepared = reader.prepare(films[0])
    (denied,) = reader.check_report(prepared, "No pneumothorax is seen.")["sentences"]
    (stated,) = reader.check_report(prepared, "A pneumothorax is seen.")["sentences"]
    assert denied["facts"][0]["said"] == "absent"
    assert stated["facts"][0]["said"] == "present"
    assert denied["facts"][0]["seen"] == pytest.approx(-stated["facts"][0]["seen"], abs=2e-6)
    both = reader.check_report(prepared, "No pneumothorax or pleural effusion.")["sentences"][0]["facts"]
    assert {(fact["finding"], fact["said"]) for fact in both} == {("pneumothorax", "absent"), ("effusion", "absent")}
    (other,) = reader.check_report(prepared, "The patient was informed.")["sentences"]
    assert (other["verdict"], other["why"]) == ("not_judged", "no rule states its contrary")


def test_a_bundle_that_calibrated_no_sentences_judges_none(tiny_run: Trained, films: list[Path]) -> None:
    plain = Reader(medvlp.load(tiny_run.bundle))
    said = plain.check_report(plain.prepare(films[0]), "No effusion. Left nodule.")
    assert [each["verdict"] for each in said["sentences"]] == ["not_judged"] * 2
    assert said["sentences"][0]["why"] == plain.describe()["cannot"]["check_report"]
    assert "measure `sentences`" in said["sentences"][0]["why"]
    assert plain.describe()["cannot"]["similar"].startswith("No index of cases is loaded")


def test_a_volume_that_was_prepared_may_be_gone_when_it_is_asked(
    of_volumes: Reader, ct_hospital: Path, tmp_path: Path
) -> None:
    path = sorted((ct_hospital / "ct").rglob("*.nii.gz"))[0]
    copy = tmp_path / "volume.nii.gz"
    shutil.copy(path, copy)
    kept, gone = of_volumes.prepare(path), of_volumes.prepare(copy)
    copy.unlink()
    assert of_volumes.findings(gone) == of_volumes.findings(kept)
    assert of_volumes.slices(gone) == of_volumes.slices(kept)


def test_a_finding_lies_where_the_pair_of_its_word_does() -> None:
    """Pairs are named by the words of the matrix, findings by their keys; a word that several share places none."""
    scores = dict.fromkeys(("lung_opacity", "effusion", "pericardial_effusion", "chest_tube", "nodule"), 0.9)
    places = {"opacity": "left_lower_lung", "effusion": "right_pleural", "tube": "trachea"}
    pairs = [{"observation": word, "anatomy": place, "score": 0.8} for word, place in places.items()]
    rows = {row["finding"]: row for row in finding_rows({"scores": scores, "pairs": pairs}, [], ["existence"], None)}
    found = {name: (row["side"], row["place"]) for name, row in rows.items()}
    assert found == {
        "lung_opacity": ("left", "left_lower_lung"),
        "effusion": ("right", "right_pleural"),
        "pericardial_effusion": (None, None),
        "chest_tube": (None, None),
        "nodule": (None, None),
    }
