"""``medvlp score`` and ``medvlp compare``: what they write, print and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medvlp.evaluation.results import load_result
from medvlp.evaluation.scoring.options import ScoreOptions

Cli = Callable[..., Any]


def _write(path: Path, seed: int = 0, rows: int = 240, **columns: object) -> Path:
    generator = np.random.default_rng(seed)
    patient = np.arange(rows) // 2
    table = pd.DataFrame({"id": range(rows), "patient_id": patient, "split": np.where(patient % 3, "test", "validate")})
    for at, finding in enumerate(("effusion", "nodule")):
        label = (np.random.default_rng(at).random(rows) < 0.35).astype(int)
        table[f"label:{finding}"] = label
        table[f"score:{finding}"] = 1 / (1 + np.exp(-(label + generator.normal(size=rows))))
    table.assign(**columns).to_csv(path, index=False)
    return path


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return _write(tmp_path / "model.csv")


def test_score_writes_numbers_cases_page_and_tables(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    ran = cli("score", predictions, "--out", tmp_path / "r.json", "--resamples", 40, "--table", tmp_path / "t.tex")
    assert (ran.code, ran.out.splitlines()[-1]) == (0, f"Open {tmp_path / 'r.html'}")
    result = load_result(tmp_path / "r.json")
    assert result.find("f1", "effusion", split="test", operating_point="max_f1").interval.low is not None
    assert {"platt", "temperature"} <= set(result.fitted["nodule"]["calibration"])
    page = (tmp_path / "r.html").read_text()
    for words in ("Operating points", "Calibration and decisions", "When the model should not answer"):
        assert f"<h2>{words}</h2>" in page
    assert "<script" not in page
    assert r"\begin{tabular}" in (tmp_path / "t.tex").read_text()


def test_predictions_of_synthetic_data_say_so_whoever_scores_them_again(
    cli: Cli, predictions: Path, tmp_path: Path
) -> None:
    for file in (predictions, _write(tmp_path / "marked.csv", synthetic=1), tmp_path / "of_marked.parquet"):
        out = tmp_path / f"of_{file.stem}.json"
        assert cli("score", file, "--out", out, "--resamples", 20, "--no-page").code == 0
        assert load_result(out).synthetic is (file is not predictions)


def test_a_table_of_a_spreadsheet_on_windows_is_read_in_its_encoding(
    cli: Cli, predictions: Path, tmp_path: Path
) -> None:
    table = tmp_path / "export.csv"
    table.write_bytes(predictions.read_text().replace("effusion", "Erguß").encode("cp1252"))
    words = ("score", table, "--out", tmp_path / "r.json", "--resamples", 20, "--no-page")
    assert "is not in the encoding utf-8-sig" in cli(*words).refused()
    assert cli(*words, "--encoding", "cp1252").code == 0
    assert load_result(tmp_path / "r.json").find("auroc", "Erguß", split="test").value is not None


def test_a_result_is_made_again_from_itself(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    cli("score", predictions, "--out", tmp_path / "r.json", "--resamples", 30, "--no-page")
    assert cli("score", tmp_path / "r.json", "--out", tmp_path / "again.json", "--no-page").code == 0
    first, again = (json.loads((tmp_path / name).read_text()) for name in ("r.json", "again.json"))
    assert again == {**first, "cases": {**first["cases"], "path": "again.parquet"}}
    told = cli("score", tmp_path / "r.json", "--out", tmp_path / "x.json", "--seed", 3).refused()
    assert "is made again as it was made, so no options go with it" in told


def test_options_of_labels_intervals_and_averages_do_what_they_say(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    table = pd.read_csv(predictions)
    table.loc[::10, "label:nodule"] = -1
    table.assign(**{"label:rare": (table["id"] < 12).astype(int), "score:rare": table["score:nodule"]}).to_csv(
        predictions, index=False
    )
    test = table[table["split"] == "test"]["label:nodule"]

    def scored(*options: object) -> dict[str, Any]:
        told = cli("score", predictions, "--out", tmp_path / "r.json", "--resamples", 100, "--no-page", *options)
        assert told.code == 0, told.err
        result = load_result(tmp_path / "r.json")
        rows = {label: result.find("auroc", label, split="test") for label in ("nodule", "macro")}
        return {"synthetic": result.synthetic, **rows}

    usual, most = scored(), scored("--policy", "u_ones", "--level", 0.5, "--interval", "percentile", "--synthetic")
    fewer = scored("--policy", "u_zeros", "--min-positives", 9)
    counts = [(found["nodule"].counts.n, found["nodule"].counts.positives) for found in (usual, most, fewer)]
    certain, ones = int((test != -1).sum()), int((test == 1).sum())
    assert counts == [(certain, ones), (len(test), ones + len(test) - certain), (len(test), ones)]
    assert [found["macro"].counts.labels_used for found in (usual, fewer)] == [3, 2]
    assert [found["nodule"].interval.level for found in (usual, most)] == [0.95, 0.5]
    assert [found["nodule"].interval.form for found in (usual, most)] == ["logit", "percentile"]
    assert [found["synthetic"] for found in (usual, most)] == [False, True]
    for option, value, sentence in (
        ("--policy", "u_none", "There is no policy 'u_none'"),
        ("--interval", "normal", "There is no interval 'normal'"),
        ("--level", 95, "The level 95 is no share between 0 and 1"),
    ):
        assert sentence in cli("score", predictions, "--out", tmp_path / "x.json", option, value).refused()


def test_flags_are_told(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    table = pd.read_csv(predictions)
    table["group:site"] = np.where(table["id"] % 2, "north", "south")
    table["score:nodule"] = (table["score:nodule"] + 0.4 * (table["id"] % 2)) / 1.4
    table.to_csv(predictions, index=False)
    ran = cli("score", predictions, "--out", tmp_path / "r.json", "--resamples", 20, "--no-page")
    (told,) = [line for line in ran.out.splitlines() if line.startswith("Flag: ")]
    assert told.startswith("Flag: The score of nodule knows site north: without nodule it tells these from ")
    assert [f"Flag: {flag.sentence}" for flag in load_result(tmp_path / "r.json").flags] == [told]
    few = cli("score", predictions, "--out", tmp_path / "r.json", "--resamples", 20, "--no-page", "--min-group", 200)
    assert "Flag: " not in few.out


def test_scores_that_may_be_percentages_are_told_to_be_log_odds(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    """A score of 50 is 0.5 to who writes percentages, and certain to a calibration."""
    table = pd.read_csv(predictions)
    said = "The scores of nodule are taken for log-odds: of percentages, give the hundredth part."
    words = ("--out", tmp_path / "r.json", "--resamples", 0, "--no-page")
    assert said not in cli("score", predictions, *words).out.splitlines()
    table.assign(**{"score:nodule": 100 * table["score:nodule"]}).to_csv(tmp_path / "p.csv", index=False)
    assert said in cli("score", tmp_path / "p.csv", *words).out.splitlines()
    table.assign(**{"score:nodule": 9 * table["score:nodule"] - 4}).to_csv(tmp_path / "p.csv", index=False)
    assert said not in cli("score", tmp_path / "p.csv", *words).out.splitlines()


def test_one_patient_under_two_names_and_none_with_a_name_are_told(cli: Cli, tmp_path: Path) -> None:
    """A split by patient is none where 01 and 1 are one, and an interval over patients counts NA once."""
    who = ["NA", "NA", "01", "1", *(str(number // 2) for number in range(4, 40))]
    out = tmp_path / "r.json"
    table = _write(tmp_path / "m.csv", rows=40, patient_id=who, split=["test"] * 3 + ["validate"] * 17 + ["test"] * 20)
    ran = cli("score", table, "--out", out, "--resamples", 0)
    several, blank = load_result(out).caveats
    assert several.startswith("Patients under several names that differ in blanks, case, Unicode form, leading zeros")
    assert blank.startswith("Rows that name a patient 'NA', which looks like a blank: 2")
    assert {several, blank} <= {*ran.out.splitlines()}
    assert "looks like a blank" in out.with_suffix(".html").read_text()


def test_options_that_say_nothing_of_the_table_are_refused(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "r.json", "--resamples", 20)
    both = cli("score", predictions, *out, "--no-page", "--page", tmp_path / "p.html").refused()
    assert "--page and --no-page exclude each other" in both
    words = ("--no-page", "--vocabulary", "padchest")
    assert "holds no reports, of which alone --vocabulary says" in cli("score", predictions, *out, *words).refused()
    cli("score", predictions, *out, "--no-page")
    again = cli("score", tmp_path / "r.json", "--out", tmp_path / "again.json", *words).refused()
    assert "is made again as it was made, so no options go with it" in again


def test_without_validation_it_says_that_nothing_was_chosen(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    pd.read_csv(predictions).drop(columns="split").to_csv(predictions, index=False)
    ran = cli("score", predictions, "--out", tmp_path / "r.json", "--resamples", 20)
    assert "There are no validation rows" in ran.out
    assert "<h2>Tuned on the test cases</h2>" in (tmp_path / "r.html").read_text()
    assert "<h2>Operating points</h2>" not in (tmp_path / "r.html").read_text()


def test_validation_in_a_file_of_its_own(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    table = pd.read_csv(predictions)
    for split in ("test", "validate"):
        table[table["split"] == split].drop(columns="split").to_csv(tmp_path / f"{split}.csv", index=False)
    cli("score", predictions, "--out", tmp_path / "a.json", "--resamples", 20, "--no-page")
    fit = ("--fit", tmp_path / "validate.csv")
    cli("score", tmp_path / "test.csv", *fit, "--out", tmp_path / "b.json", "--resamples", 20, "--no-page")
    one, other = (load_result(tmp_path / f"{name}.json") for name in "ab")
    assert one.fitted == other.fitted
    assert set(one.metrics) == set(other.metrics)


def test_compare_prints_a_table_and_writes_the_differences(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    other = _write(tmp_path / "other.csv", seed=9)
    for path in (predictions, other):
        cli("score", path, "--out", path.with_suffix(".json"), "--resamples", 20, "--no-page")
    files = (predictions.with_suffix(".json"), other.with_suffix(".json"))
    ran = cli("compare", *files, "--out", tmp_path / "d.json", "--resamples", 40, "--table", tmp_path / "d.md")
    assert ran.code == 0
    assert ran.out.startswith("**auroc: other against model**")
    assert ran.out == (tmp_path / "d.md").read_text()
    assert load_result(tmp_path / "d.json").find("auroc_difference", "macro").test.p is not None
    document = json.loads(cli("compare", *files, "--resamples", 20, "--json").out)
    assert document["name"] == "comparison"
    half = json.loads(cli("compare", *files, "--resamples", 20, "--json", "--split", "validate", "--level", 0.5).out)
    assert {(row["split"], row["level"]) for row in half["metrics"]} == {("validate", 0.5)}
    assert "has no cases of split 'train'" in cli("compare", *files, "--split", "train").refused()
    assert cli("report", tmp_path / "d.json", "--out", tmp_path / "d.html").code == 0
    assert "<h2>Differences</h2>" in (tmp_path / "d.html").read_text()


def test_what_is_read_is_never_written_over(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    parquet = tmp_path / "p.parquet"
    pd.read_csv(predictions).to_parquet(parquet)
    kept = {path: path.read_bytes() for path in (predictions, parquet)}
    told = "is read by this command and would be written over"
    # The cases of p.json are p.parquet.
    assert told in cli("score", parquet, "--out", tmp_path / "p.json").refused()
    out = ("--out", tmp_path / "r.json")
    assert told in cli("score", predictions, *out, "--table", predictions).refused()
    assert told in cli("score", predictions, *out, "--page", predictions).refused()
    page = ("--page", tmp_path / "r.json")
    assert "would be written twice by this command" in cli("score", predictions, *out, *page).refused()
    assert "is a folder: name a file to write" in cli("score", predictions, *out, "--page", tmp_path).refused()
    assert {path: path.read_bytes() for path in kept} == kept
    cli("score", predictions, *out, "--resamples", 0, "--no-page")
    result = (tmp_path / "r.json").read_bytes()
    assert told in cli("score", tmp_path / "r.json", *out).refused()
    assert told in cli("compare", tmp_path / "r.json", tmp_path / "r.json", *out).refused()
    assert (tmp_path / "r.json").read_bytes() == result


def test_a_table_of_no_known_form_is_refused_before_the_work(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "r.json")
    assert "ending that says no form" in cli("score", predictions, *out, "--table", tmp_path / "t.docx").refused()
    assert not (tmp_path / "r.json").exists()
    cli("score", predictions, *out, "--resamples", 0, "--no-page")
    both = ("compare", tmp_path / "r.json", tmp_path / "r.json", "--resamples", 0)
    assert "ending that says no form" in cli(*both, "--table", tmp_path / "t.docx").refused()
    # The differences are there although there is no such table of them.
    assert "has no 'dice'" in cli(*both, "--metric", "dice", "--out", tmp_path / "d.json").refused()
    assert load_result(tmp_path / "d.json").metrics


def test_mistakes_are_told_in_one_sentence(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "r.json")
    assert "does not exist" in cli("score", tmp_path / "none.csv", *out).refused()
    assert "ends in .json" in cli("score", predictions, "--out", tmp_path / "r.csv").refused()
    assert "There is no rule 'best'" in cli("score", predictions, *out, "--point", "best").refused()
    _write(predictions, **{"score:nodule": np.nan})
    assert "is blank, NaN or infinite in 160 of 160 rows" in cli("score", predictions, *out).refused()
    _write(predictions, **{"score:nodule": 7.0})
    assert "they are scores" in cli("score", predictions, *out, "--probabilities").refused()
    table = pd.read_csv(_write(predictions))
    table["score:nodule"] = (table["score:nodule"] - 0.5) * 1e200
    table.to_csv(predictions, index=False)
    told = cli("score", predictions, *out).refused()
    assert "score:nodule, validation rows: The scores reach" in told
    table[table["split"] == "validate"].to_csv(predictions, index=False)
    assert "hold the splits 'validate' and no other" in cli("score", predictions, *out).refused()
    assert not (tmp_path / "r.json").exists()
    assert "does not exist: run `medvlp evaluate`" in cli("compare", tmp_path / "a.json", tmp_path / "b.json").refused()


def test_a_misspelt_field_is_no_field_that_is_left_aside(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    pd.read_csv(predictions).rename(columns={"split": "fold"}).to_csv(predictions, index=False)
    out = ("--out", tmp_path / "r.json", "--resamples", 0, "--no-page")
    # Left aside, validation rows would be judged as test rows.
    told = cli("score", predictions, *out, "--column", "spilt=fold").refused()
    assert "--column spilt=fold is of no use here: did you mean 'split'?" in told
    assert not (tmp_path / "r.json").exists()


def test_one_column_may_name_image_and_patient(cli: Cli, predictions: Path, tmp_path: Path) -> None:
    pd.read_csv(predictions).drop(columns="patient_id").rename(columns={"id": "Film"}).to_csv(predictions, index=False)
    out = ("--out", tmp_path / "r.json", "--resamples", 0, "--no-page")
    assert cli("score", predictions, *out, "--column", "id=Film", "--column", "patient_id=Film").code == 0
    counts = load_result(tmp_path / "r.json").find("auroc", "nodule", split="test").counts
    assert counts.n == counts.patients


def _reports(path: Path, **columns: object) -> Path:
    table = pd.DataFrame({
        "id": ["a", "b", "c"],
        "patient_id": ["p", "q", "q"],
        "reference": ["Small left pleural effusion.", "No pneumothorax.", "Moderate right pneumothorax,\nno effusion."],
        "written": ["Small right pleural effusion.", "Pneumothorax.", "Moderate right pneumothorax, no effusion."],
    })  # fmt: skip
    table.assign(**columns).to_csv(path, index=False)
    return path


def test_reports_are_judged_by_what_they_say(cli: Cli, tmp_path: Path) -> None:
    ran = cli("score", _reports(tmp_path / "r.csv"), "--out", tmp_path / "r.json", "--resamples", 20)
    assert ran.code == 0
    assert "oracle_" not in ran.out
    result = load_result(tmp_path / "r.json")
    # One effusion of one; of pneumothoraces one right and one invented: 2 tp / (2 tp + fp + fn) = 2 / 3.
    assert result.find("f1", "effusion").value == 1.0
    assert result.find("f1", "pneumothorax").value == pytest.approx(2 / 3)
    # Of two findings that both place, the effusion is on the other side.
    assert result.find("side_error", "reports").value == 0.5
    assert "<script" not in (tmp_path / "r.html").read_text()


def test_the_help_says_what_is_chosen_unasked(cli: Cli) -> None:
    said, usual = " ".join(cli("score", "--help").out.split()), ScoreOptions()
    for words in (usual.points, usual.prevalences, [usual.interval]):
        assert f"Default: {', '.join(map(str, words))}." in said


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ({"id": ["a", "a", "b"]}, [], "repeat the id in 1 of 3 rows"),
        ({"written": ["x", "", "y"]}, [], "lack 'written' in 1 of 3 rows"),
        ({"split": ["train", "test", "test"]}, [], "reports of several splits, which would be judged as one"),
        ({"has_prior": [1, 0, 7]}, [], "has_prior is neither 1 nor 0"),
        ({}, ["--point", "youden"], "only --seed and --resamples"),
    ],
)
def test_odd_tables_of_reports_get_one_sentence(
    cli: Cli, tmp_path: Path, columns: dict[str, object], options: list[str], sentence: str
) -> None:
    ran = cli("score", _reports(tmp_path / "r.csv", **columns), "--out", tmp_path / "r.json", *options)
    assert ran.code == 2
    assert sentence in ran.err.replace("\n", " ")
    assert not (tmp_path / "r.json").exists()
