"""results.json: what is written is read back, whole, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pandas as pd
import pydantic
import pytest

from medvlp.core.errors import DataError, UserError
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.results import Counts, Metric, Result, json_schema, load_result, write_result


@pytest.fixture
def result() -> Result:
    generator = np.random.default_rng(0)
    label = np.arange(40) % 2
    table = pd.DataFrame({"id": [f"S{i}" for i in range(40)], "patient_id": [f"P{i // 2}" for i in range(40)]})
    table["label:effusion"], table["score:effusion"] = label, label + generator.normal(size=40)
    table["label:edema"], table["score:edema"] = 0, 0.0
    scored = evaluate_scores(table, seed=0, resamples=20, name="zero_shot")
    return replace(scored, recipe="abc", data="def", synthetic=True)


def test_round_trip(result: Result, tmp_path) -> None:
    write_result(result, tmp_path / "results" / "zero_shot.json")
    loaded = load_result(tmp_path / "results" / "zero_shot.json")
    assert loaded == result
    pd.testing.assert_frame_equal(loaded.cases, result.cases)
    assert load_result(tmp_path / "results" / "zero_shot.json", cases=False).cases is None
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == ["zero_shot.json", "zero_shot.parquet"]


def test_the_file_has_the_documented_keys_and_follows_its_json_schema(result: Result, tmp_path) -> None:
    write_result(result, tmp_path / "r.json", cases="predictions.parquet")
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["schema"] == "medvlp.results/1"
    assert (document["recipe"], document["data"], document["synthetic"]) == ("abc", "def", True)
    assert document["cases"]["path"] == "predictions.parquet"
    for row in document["metrics"]:
        assert {
            "metric",
            "label",
            "value",
            "low",
            "high",
            "level",
            "method",
            "n",
            "positives",
            "patients",
            "split",
            "policy",
        } <= set(row)
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((resources.files("medvlp.evaluation") / "results.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**document, "unknown": 1})


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14), reason="older pydantic leaves a rule of dataclasses out"
)
def test_the_stored_json_schema_is_the_one_that_reading_checks() -> None:
    stored = (resources.files("medvlp.evaluation") / "results.schema.json").read_text()
    assert stored == json_schema()


def test_every_flipped_byte_of_the_cases_is_noticed(result: Result, tmp_path) -> None:
    write_result(result, tmp_path / "r.json")
    content = (tmp_path / "r.parquet").read_bytes()
    for place in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (tmp_path / "r.parquet").write_bytes(bytes(flipped))
        with pytest.raises(DataError, match=r"does not have the sha256 that r\.json names, it was changed or damaged"):
            load_result(tmp_path / "r.json")
    (tmp_path / "r.parquet").unlink()
    with pytest.raises(DataError, match=r"names the per-case table r\.parquet, which is missing"):
        load_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.update(schema="other/9"), "is not a results file of schema medvlp.results/1: schema"),
        (lambda d: d["metrics"][0].pop("n"), r"metrics\.0\.n: "),
        (lambda d: d["metrics"][0].update(colour="red"), r"metrics\.0\.colour: "),
        (lambda d: d["cases"].update(path="../secret.parquet"), r"cases\.path: "),
        (lambda d: d["cases"].update(path="/etc/a.parquet"), r"cases\.path: "),
    ],
)
def test_a_file_that_does_not_follow_the_schema_is_refused(result: Result, tmp_path, change, sentence: str) -> None:
    write_result(result, tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    change(document)
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=sentence):
        load_result(tmp_path / "r.json")


def test_missing_and_torn_files_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        load_result(tmp_path / "none.json")
    (tmp_path / "torn.json").write_text('{"schema": "medvlp.res')
    with pytest.raises(DataError, match="is not a results file"):
        load_result(tmp_path / "torn.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_one_is_never_written(tmp_path, value: float) -> None:
    row = Metric(metric="auroc", label="effusion", value=value, counts=Counts(n=1, patients=1))
    with pytest.raises(DataError, match=r"cannot be written to r\.json"):
        write_result(Result(name="x", metrics=(row,)), tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(result: Result, tmp_path, monkeypatch) -> None:
    write_result(result, tmp_path / "r.json")
    before = (tmp_path / "r.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="The disk is full"):
        write_result(result, tmp_path / "r.json")
    assert (tmp_path / "r.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json", "r.parquet"]


def test_asking_for_a_row_that_is_not_there_names_what_is(result: Result) -> None:
    with pytest.raises(
        DataError, match=r"has 0 rows of 'auroc' for 'mass' .* auroc/edema, auroc/effusion, auroc/macro"
    ):
        result.find("auroc", "mass")
