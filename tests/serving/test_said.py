"""Drafts and relations are those that `predict` prints, only with what an evaluation found of them, in no export."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from PIL import Image

import medvlp
from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.answers.boxes import Boxes
from medvlp.answers.report import Report
from medvlp.answers.segmentation import Segmentation
from medvlp.core.errors import UserError
from medvlp.core.predictions import Mask
from medvlp.evaluation.detection import CaseBoxes, ap_rows
from medvlp.evaluation.evidence import measured_of
from medvlp.evaluation.results import Result, load_result
from medvlp.io.read import read_image
from medvlp.models.bundle import StoredAnswer, load_bundle, save_bundle
from medvlp.models.card import SYNTHETIC
from medvlp.serving.audit import AuditLog
from medvlp.serving.exporting import shown_of
from medvlp.serving.exports.kinds import KINDS, export
from medvlp.serving.reader import Reader
from medvlp.serving.room import Room
from medvlp.serving.said import said_of
from medvlp.serving.sessions import Sessions
from medvlp.serving.studies import read_study
from tests.serving import room_files
from tests.serving.conftest import into_bundle

if TYPE_CHECKING:
    from medvlp.models.bundle import Bundle


@pytest.fixture(scope="module")
def bundle(written: Path) -> Bundle:
    return load_bundle(written / "bundle")


def test_a_draft_and_relations_are_those_that_predict_prints(proven: Reader, films: list[Path]) -> None:
    drafts = set()
    for film in films[:4]:
        told = predict_files(proven.model, [film])["results"][0]
        report, relations = json.loads(json.dumps(proven.findings(proven.prepare(film))["said"]))
        assert (report["title"], report["text"], report["places"]) == ("Report", told["text"], None)
        assert (relations["title"], relations["text"]) == ("Relations", None)
        said = [(each["words"], each["score"]) for each in relations["places"]]
        assert said == [(each["triplet"], each["score"]) for each in told["relations"][:5]]  # as many as were judged
        for place, each in zip(relations["places"], told["relations"], strict=False):
            sides = {each["triplet"][0]: each["boxes"][:4], each["triplet"][2]: each["boxes"][4:]}
            for box in place["boxes"]:
                assert box["finding"] in ("effusion", "right_pleural_space")  # of whose boxes there is a number
                assert box["hit"] == "Box overlap@0.5 0.40 (0.30 to 0.50), n 40"
            names = [box["finding"] for box in place["boxes"]]
            assert names == [n for n in each["triplet"][::2] if n in ("effusion", "right_pleural_space")]
            if len(sides) == 2:
                assert all(sides[box["finding"]] == box["box"] for box in place["boxes"])
        drafts.add(report["text"])
    assert any(drafts)


def test_they_stand_beside_the_numbers_of_the_evaluation(written: Path, films: list[Path]) -> None:
    reader = Reader(medvlp.load(written / "bundle"))
    for entry, metric, label in zip(
        reader.findings(reader.prepare(films[0]))["said"], ("f1", "recall@5"), ("micro", "all"), strict=True
    ):
        result = load_result(written / "results" / f"{entry['answer']}.json")
        row = result.find(metric, label)
        ends = "no interval" if row.interval.low is None else f"{row.interval.low:.2f} to {row.interval.high:.2f}"
        told = f" {row.value:.2f} ({ends}), on {row.counts.n} pictures of {row.counts.patients} synthetic patients."
        assert entry["measured"].endswith(told)
        name, at, which = metric.partition("@")
        rows = [each for each in result.metrics if each.metric == f"{name}_difference{at}{which}"]
        controls = [load_result(written / "results" / f"{entry['answer']}_{each.label}.json") for each in rows]
        assert len(rows) == len(entry["over"]) >= 1
        for said, each, control in zip(entry["over"], rows, controls, strict=True):
            assert said["beaten"] == (each.interval.low is not None and each.interval.low > 0)
            assert said["sentence"].startswith("Better than" if said["beaten"] else "Not shown to be better than")
            assert f"{control.title.removeprefix('Control: ')}: difference {each.value:.2f} (" in said["sentence"]


def test_what_nobody_measured_is_not_shown(bundle: Bundle, films: list[Path]) -> None:
    bare = replace(bundle, answers=tuple(replace(each, measured=None) for each in bundle.answers))
    model = VisionLanguageModel(bare)
    reader = Reader(model)
    said = reader.findings(reader.prepare(films[0]))["said"]
    for each in said:
        assert re.fullmatch(r"Nobody has measured .*: evaluate it with into_bundle=true .*\.", each["why"])
        assert (each["text"], each["places"]) == (None, None)
    told = predict_files(model, [films[0]])["results"][0]
    assert told["text"] not in json.dumps(said)
    assert [each["answer"] for each in said] == ["report", "relations"]


_ROW = {"metric": "f1", "label": "micro", "value": 0.4, "low": 0.3, "high": 0.5, "n": 40, "patients": 30}
_MEASURED = {"title": "Reports", "rows": [_ROW], "over": [{**_ROW, "control": "c"}], "labels": {"effusion": _ROW}}


@pytest.mark.parametrize(
    "other",
    [
        *({key: each} for key in _MEASURED.keys() - {"title"} for each in (None, 5, "<b>", [3], {"a": 1})),
        *(
            {"rows": [{**_ROW, key: each}]}
            for key in ("metric", "value", "low", "high")
            for each in ("<b>", [], 10**400)
        ),
        {"rows": []},
        {"rows": [{**_ROW, "metric": "recall@\N{SUPERSCRIPT TWO}"}]},
        {"data": {}},
    ],
)
def test_numbers_that_are_none_take_only_what_they_are_of_away(other: dict[str, Any]) -> None:
    """Somebody's own edit of ``bundle.yaml``: findings beside it stay."""
    answers, result = {"report": Report(), "again": Report()}, {"text": "Edema."}
    measured = {**_MEASURED, "data": {"synthetic": 10**12}}
    stored = [
        StoredAnswer(n, "report", measured=each)
        for n, each in zip(answers, ({**measured, **other}, measured), strict=True)
    ]
    torn, sound = said_of(result, answers, stored)
    if torn["why"] is None:  # words where a name stands are words
        assert set(map(type, (torn["measured"], *torn["over"][0].values()))) <= {str, bool}
    else:
        assert torn["why"].startswith("What this bundle says was measured of this cannot be read")
        assert torn["text"] is None
    assert sound["measured"] == "Reports: F1 0.40 (0.30 to 0.50), on 40 pictures of 30 synthetic patients."


def test_nothing_is_said_of_a_picture_that_is_held_back(written: Path, films: list[Path]) -> None:
    reader, read = Reader(medvlp.load(written / "bundle")), read_image(films[0])
    told = reader.findings(reader.prepare(replace(read, meta={**read.meta, "Modality": "CT"})))
    assert told["refused"]["reason"] == "modality"
    assert told["said"] == []


def test_of_two_answers_in_words_each_has_its_own(bundle: Bundle, films: list[Path]) -> None:
    report = next(each for each in bundle.answers if each.name == "report")
    brief = replace(report, name="brief", options={**report.options, "longest": 1})
    reader = Reader(VisionLanguageModel(replace(bundle, answers=(report, brief))))
    whole, one = (each["text"] for each in reader.findings(reader.prepare(films[0]))["said"])
    assert whole.startswith(one)
    assert len(one.split()) <= 1 < len(whole.split())


def test_boxes_are_drawn_of_findings_whose_boxes_were_judged() -> None:
    """By no answer's name: the AP of a finding stands behind its boxes, as overlap does behind those of relations."""
    judged = CaseBoxes()
    for case in range(6):
        truth = np.array([[0.0, 0.0, 9.0, 9.0]])
        judged.add(case, str(case), truth, truth, np.array([0.9]), iou=0.5)
    rows = tuple(ap_rows({"nodule": judged}, iou=0.5, seed=0, resamples=20))
    kept = measured_of({"found": Result(name="found", title="Boxes against drawn ones", metrics=rows)}, "found")
    told = {"boxes": [{"finding": name, "score": 0.5, "box": [0, 0, 9, 9]} for name in ("nodule", "edema")]}
    stored = StoredAnswer("found", "boxes", measured=kept)
    (entry,) = said_of(told, {"found": Boxes(labels=["nodule", "edema"])}, [stored])
    assert entry["measured"].startswith("Boxes against drawn ones: AP@0.5 1.00 (")
    assert [(each["words"], len(each["boxes"])) for each in entry["places"]] == [(["nodule"], 1), (["edema"], 0)]


@pytest.fixture(scope="module")
def draws(drawing: Path) -> Reader:
    return Reader(medvlp.load(drawing / "bundle"))


def test_masks_are_those_that_predict_writes_beside_the_dice_of_their_finding(
    draws: Reader, drawing: Path, squares: Path, tmp_path: Path
) -> None:
    result = load_result(drawing / "results" / "segmentation.json")
    for path in (squares / "71.png", squares / "72.png"):
        told = predict_files(draws.model, [path], out=tmp_path)["results"][0]["masks"]
        (entry,) = json.loads(json.dumps(draws.findings(draws.prepare(path))["said"]))
        assert [each["words"] for each in entry["places"]] == [["square"], ["corner"]]
        for each in entry["places"]:
            (finding,), (place,) = each["words"], each["boxes"]
            drawn = np.asarray(Image.open(told[finding]["path"])) > 0
            mask = Mask(tuple(place["shape"]), np.array(place["runs"])).array()
            np.testing.assert_array_equal(mask, drawn)
            assert mask.shape == (60, 90)
            row, less = result.find("dice", finding), result.find("dice_difference", f"constant_mask/{finding}")
            assert (
                each["hit"]
                == f"Dice {row.value:.2f} ({row.interval.low:.2f} to {row.interval.high:.2f}), n {row.counts.n}"
            )
            (over,) = each["over"]
            assert over["beaten"] == (less.interval.low > 0) == (finding == "square")
            assert f"one training mask a finding: difference {less.value:.2f} (" in over["sentence"]


def test_a_mask_whose_finding_nobody_judged_is_not_handed_out(drawing: Path, squares: Path) -> None:
    bundle = load_bundle(drawing / "bundle")
    kept = bundle.answers[0].measured
    assert kept is not None
    for measured, found in (
        (None, None),
        ({**kept, "labels": {"square": kept["labels"]["square"]}}, [1, 0]),
        ({**kept, "labels": {"square": 5}}, None),
    ):
        answers = (replace(bundle.answers[0], measured=measured), *bundle.answers[1:])
        reader = Reader(VisionLanguageModel(replace(bundle, answers=answers)))
        (entry,) = reader.findings(reader.prepare(squares / "71.png"))["said"]
        assert found == (entry["places"] and [len(each["boxes"]) for each in entry["places"]])
        assert json.dumps(entry).count("runs") == (found is not None)


def test_masks_of_volumes_and_empty_ones_are_words() -> None:
    """The page lays one picture over another: a volume's mask is told and not drawn."""
    row = {**_ROW, "metric": "dice"}
    kept = {**_MEASURED, "rows": [row], "over": [], "labels": {"liver": row, "lung": row}, "data": {"synthetic": False}}
    masks = {"liver": {"pixels": 5, "shape": [2, 3, 4]}, "lung": {"pixels": 0, "shape": [2, 2], "runs": [4]}}
    stored = [StoredAnswer("drawn", "segmentation", measured=kept)]
    (entry,) = said_of({"masks": masks}, {"drawn": Segmentation(labels=["liver", "lung"])}, stored)
    assert [(each["words"], each["boxes"], each["hit"]) for each in entry["places"]] == [
        (["liver"], [], "of a volume: medvlp predict --out writes it"),
        (["lung"], [], "nothing drawn"),
    ]


@pytest.mark.parametrize("orientation", [["R", "F"], ["L", "H"], ["F", "L"]])
def test_a_mask_lies_on_the_film_as_it_hangs(draws: Reader, tmp_path: Path, orientation: list[str]) -> None:
    pixels = np.full((60, 90), 100, np.uint16)
    pixels[8:30, 60:82] = 3000
    path = room_files.film(tmp_path / "a", pixels, PatientOrientation=orientation)
    room = Room((draws,), Sessions(), samples=None, audit=AuditLog(None), folder=tmp_path)
    token = room.sessions.start()
    key = room.sessions.add(token, study := read_study([path], presets=room.presets))
    (entry,) = room.findings(token, key, 0, 0)["said"]
    (square,) = (each["boxes"][0] for each in entry["places"] if each["words"] == ["square"])
    mask = Mask(tuple(square["shape"]), np.array(square["runs"])).array()
    bright = study.series[0].content[0].values > 2000
    assert mask.shape == bright.shape
    assert (mask & bright).sum() > 0.8 * mask.sum() > 0


def test_a_question_is_answered_as_predict_does_beside_what_was_measured(
    draws: Reader, drawing: Path, squares: Path
) -> None:
    result = load_result(drawing / "results" / "question.json")
    for question, reply in (("is there a square ?", "yes"), ("is there a circle ?", "no")):
        told = predict_files(draws.model, [squares / "71.png"], question=question)["results"][0]
        answered = json.loads(json.dumps(draws.question(draws.prepare(squares / "71.png"), question)))
        (entry,) = answered["said"]
        assert (answered["question"], entry["text"], told["text"]) == (question, reply, reply)
        row, less = result.find("accuracy", "all"), result.find("accuracy_difference", "usual")
        assert entry["measured"].startswith(f"Questions: Accuracy {row.value:.2f} (")
        assert entry["measured"].endswith(f", on {row.counts.n} questions of {row.counts.patients} patients.")
        ends = f"({less.interval.low:.2f} to {less.interval.high:.2f}) from {row.value - less.value:.2f}."
        assert entry["over"][0]["sentence"].endswith(f"most frequent answers: difference {less.value:.2f} {ends}")
        assert [each["name"] for each in entry["rows"]] == [
            "Accuracy, closed",
            "Accuracy, closed, less most frequent answers",
        ]


def test_an_answer_to_questions_alone_is_judged_into_its_bundle(drawing: Path, tmp_path: Path) -> None:
    """Of a closed list it also gives scores, of which nobody chooses a threshold."""
    bundle = load_bundle(drawing / "bundle")
    (asked,) = (replace(each, measured=None) for each in bundle.answers if each.name == "question")
    save_bundle(tmp_path / "bundle", replace(bundle, answers=(asked,)))
    into_bundle(tmp_path, yaml.safe_load((drawing / "config.yaml").read_text()), {})
    (kept,) = load_bundle(tmp_path / "bundle").answers
    assert kept.measured is not None
    assert (
        kept.measured["rows"][0]["value"]
        == load_result(tmp_path / "results" / "question.json").find("accuracy", "all").value
    )


def test_no_question_is_taken_where_nobody_measured_the_answers(draws: Reader, drawing: Path, squares: Path) -> None:
    bundle = load_bundle(drawing / "bundle")
    bare = replace(bundle, answers=tuple(replace(each, measured=None) for each in bundle.answers))
    reader = Reader(VisionLanguageModel(bare))
    assert draws.describe()["cannot"]["question"] is None
    why = reader.describe()["cannot"]["question"]
    assert re.fullmatch(r"This model answers no question, or nobody measured how well: evaluate it with .*\.", why)
    with pytest.raises(UserError, match=r"^This model answers no question, or nobody measured how well"):
        reader.question(reader.prepare(squares / "71.png"), "is there a square ?")


def test_a_question_is_bounded_and_neither_logged_nor_kept_nor_exported(
    draws: Reader, squares: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    audit = AuditLog(tmp_path / "audit")
    room = Room((draws,), Sessions(), samples=None, audit=audit, folder=tmp_path / "private")
    token = room.sessions.start()
    key = room.sessions.add(token, read_study([squares / "71.png"], presets=room.presets))
    before = room.export(token, key, 0, 0, "png", {"frame": 0}, send=False)
    with pytest.raises(UserError, match=r"^The text has 10000 characters, more than 400: send a part of it\.$"):
        room.question(token, key, 0, 0, "x" * 10_000)
    with pytest.raises(UserError, match=r"^Nothing was written: "):
        room.question(token, key, 0, 0, " ")
    asked = "is Jane Doe's square large ?"
    assert room.question(token, key, 0, 0, asked)["said"][0]["text"] in ("yes", "no")
    assert room.export(token, key, 0, 0, "png", {"frame": 0}, send=False)["data"] == before["data"]
    room.sessions.leave(token)
    assert '"event": "question"' in (tmp_path / "audit").read_text()
    assert "Jane" not in (tmp_path / "audit").read_text()
    assert "Jane" not in repr(draws.model._begun.keys())
    audit.close()


def test_no_export_holds_a_draft(reader: Reader, proven: Reader, films: list[Path]) -> None:
    series = read_study([films[0]]).series[0]
    said = proven.findings(proven.prepare(films[0]))["said"]
    found = reader.findings(reader.prepare(films[0]))
    model: dict[str, Any] = reader.describe()
    alone, beside = (
        shown_of(series, frame=0, window=None, model=model, found=each, mapped=None)
        for each in ({**found, "said": []}, {**found, "said": said})
    )
    assert alone.findings == beside.findings
    for kind in KINDS.keys() - {"seg"}:
        data = export(beside, kind).data
        assert said[0]["text"].encode() not in data
        assert kind != "png" or data == export(alone, kind).data


def test_an_export_carries_the_warnings_that_the_page_shows(reader: Reader, films: list[Path]) -> None:
    found = reader.findings(reader.prepare(films[0]).warned(["The burnt-in text may identify a patient."]))
    series, model = read_study([films[0]]).series[0], reader.describe()
    shown = shown_of(series, frame=0, window=None, model=model, found=found, mapped=None)
    assert {*shown.warnings} == {*found["warnings"]} - {SYNTHETIC}
    assert shown.warnings
    assert sum("synthetic" in line for line in shown.made_by) == 1  # said of the model
    assert all(each in json.loads(export(shown, "fhir").data)["text"]["div"] for each in shown.warnings)
