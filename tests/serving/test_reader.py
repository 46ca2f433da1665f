"""A reader says what `predict` prints, of what was read once, in words that do not mislead."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import medvlp
from medvlp.answers.asking.files import predict_files
from medvlp.core.errors import UserError
from medvlp.evaluation.results import load_result
from medvlp.io.image import Image
from medvlp.io.read import read_image
from medvlp.serving.reader import Reader

if TYPE_CHECKING:
    from medvlp.config.train import Trained


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
                assert row["sentence"].startswith(f"{row['probability']:.2f}, ")
            else:
                assert name in told["uncalibrated"]
                assert row["category"] == "uncalibrated"
    assert calibrated


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


def test_a_sentence_and_its_denial_change_places_with_the_sign(reader: Reader, films: list[Path]) -> None:
    prepared = reader.prepare(films[0])
    there, away = reader.ask(prepared, "Is there an effusion?"), reader.ask(prepared, "There is no effusion")
    assert (there["statement"], there["denial"]) == ("There is an effusion.", "There is no effusion.")
    assert (away["statement"], away["denial"]) == (there["denial"], there["statement"])
    assert there["margin"] == pytest.approx(-away["margin"], abs=1e-6)
    with pytest.raises(UserError, match=r"No rule denies 'Hello world\.'"):
        reader.ask(prepared, "hello world")


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
    compared = 0
    for row in reader.findings(reader.prepare(films[0]))["findings"]:
        evidence, name = row["evidence"], row["finding"]
        found = kept.find("auroc", name)
        assert (evidence["auroc"], evidence["low"], evidence["high"]) == (found.value, found.low, found.high)
        assert (evidence["n"], evidence["positives"], evidence["method"]) == (found.n, found.positives, found.method)
        assert evidence["data"] == {
            "hash": kept.data,
            "split": "test",
            "recipe": kept.recipe,
            "synthetic": True,
        }
        for metric in ("ppv", "npv"):
            rows = [r for r in kept.metrics if (r.metric, r.label, r.group) == (metric, name, None)]
            (own,) = [r for r in rows if r.operating_point == evidence["operating_point"]]
            assert (evidence[metric], evidence[f"{metric}_low"]) == (own.value, own.low)
            compared += own.value is not None
        if row["probability"] is not None:
            assert row["base_rate"] == found.positives / found.n
    assert compared


def test_a_bundle_without_evidence_loads_and_says_none(tiny_run: Trained, films: list[Path]) -> None:
    plain = Reader(medvlp.load(tiny_run.bundle))
    assert all(row["evidence"] is None for row in plain.findings(plain.prepare(films[0]))["findings"])
