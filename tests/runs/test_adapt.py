"""`medvlp adapt` on a table of films: what it refuses, what it leaves out, and what it makes of the rest."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from nibabel import Nifti1Image
from PIL import Image
from typer.testing import CliRunner

from medvlp.answers.asking.files import files_of, predict_files
from medvlp.answers.asking.model import load
from medvlp.cli.main import app
from medvlp.core.answers import ProbeTable
from medvlp.core.errors import UserError
from medvlp.core.processes import exclusive
from medvlp.data.manifest import Manifest
from medvlp.evaluation.results import load_result
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.models.encoders.timm import TimmEncoder
from medvlp.runs.adapt import AdaptOptions, adapt
from medvlp.runs.adapt_choice import ADAPTERS, choose_adapter, folds_of
from medvlp.runs.adapt_data import data_of, read_films
from medvlp.runs.data import open_manifest
from tests.adaptation.worlds import gaussians
from tests.messages import messages
from tests.once import made_once
from tests.serving.room_files import film

PATIENTS = 90


def films(folder: Path) -> Path:
    """Write films of which half have a bright square: 90 patients, a third of them with two films."""
    images = folder / "films"
    images.mkdir(parents=True)
    draw, rows = np.random.default_rng(0), []
    for patient in range(PATIENTS):
        for number in range(1 + (patient % 3 == 0)):
            effusion = patient % 2
            pixels = draw.integers(0, 120, size=(48, 48))
            if effusion:
                pixels[28:44, 4:20] += 100
            name = f"{patient:03d}_{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(images / name)
            mark = "-1" if patient == 7 else "" if patient == 9 else str(effusion)
            rare = "1" if patient < 2 else "0"
            rows.append([name, f"p{patient}", mark, rare, ["PA", "AP"][patient % 2], "seen in the ward"])
    (images / "004_0.png").write_bytes(b"no picture")
    write(folder / "labels.csv", rows)
    (folder / "cohort.json").write_text('{"synthetic": true}')
    tower = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1}
    model = build_model({"name": "vision", "vision": tower}, tokenizer=None)
    read = [{"name": "read", "size": 32, "preset": "dicom_voi_v1"}]
    save_bundle(folder / "bundle", Bundle(model=model.eval(), tokenizer=None, preprocessing=read))
    return folder


HEADER = ["path", "patient_id", "Pleural Effusion", "rare", "view", "note"]


def write(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "adapt-films", films)


def options(folder: Path, out: Path, **more: object) -> AdaptOptions:
    given = {"images": folder / "films", "labels": folder / "labels.csv", "model": folder / "bundle", "out": out}
    return AdaptOptions(**{**given, "adapters": ("linear", "gda"), "workers": 1, "resamples": 200, **more})


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("adapted") / "run"
    with messages() as told:
        adapt(options(folder, out, sensitivity=0.95, prevalence=0.03))
    return out, told


def test_it_says_what_it_leaves_out(run: tuple[Path, list[str]]) -> None:
    out, told = run
    text = "\n".join(told)
    assert "Not labels of 1, 0, -1 or blank, and left out: note." in text
    assert "Left out, fewer than 8 patients with or without it: rare (2 with, 87 without)." in text
    assert "1 films cannot be read; they are listed in" in text
    assert "004_0.png" in (out / "films.quarantine.csv").read_text()
    assert "linear: AUROC" in text


def test_the_bundle_answers_with_thresholds_calibration_gate_and_what_it_has_seen(
    folder: Path, run: tuple[Path, list[str]]
) -> None:
    out, _ = run
    bundle = load_bundle(out / "bundle")
    assert bundle.provenance["synthetic"] is True  # as the folder of the films is, that of its base is not known
    assert load_result(out / "results" / "adapted.json").synthetic
    assert pd.read_parquet(out / "results" / "predictions.parquet")["synthetic"].eq(1).all()
    kept = bundle.answers[0]
    assert (kept.name, list(kept.labels)) == ("adapted", ["pleural_effusion"])
    assert kept.operating_points is not None
    assert "sensitivity_0.95" in kept.operating_points["findings"]["pleural_effusion"]
    assert kept.calibration is not None
    assert kept.evidence is not None
    assert bundle.seen is not None
    model = load(out / "bundle")
    found = predict_files(model, files_of(model, [folder / "films"], root=None), recipe=None, question=None, name="x")
    scores = {Path(each["path"]).name: each["scores"]["pleural_effusion"] for each in found["results"]}
    told = [scores[f"{p:03d}_0.png"] for p in range(PATIENTS) if p != 4]
    truth = [p % 2 for p in range(PATIENTS) if p != 4]
    assert np.mean((np.array(told) > 0.5) == truth) > 0.9


@pytest.fixture(scope="module")
def doubtful(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model of synthetic CT, adapted to films in DICOM of which 24 stand there twice, under another patient."""
    root = tmp_path_factory.mktemp("doubtful")
    rows = []
    for path, patient, *rest in list(csv.reader((folder / "labels.csv").open()))[1:]:
        if path != "004_0.png":
            pixels = np.asarray(Image.open(folder / "films" / path)).astype(np.uint16)
            film(root / f"{path[:5]}.dcm", pixels)
            rows.append([f"{path[:5]}.dcm", patient, *rest])
    for path, patient, *rest in rows[:24]:
        shutil.copy(root / path, root / f"again_{path}")
        rows.append([f"again_{path}", f"again {patient}", *rest])
    write(root / "labels.csv", rows)
    told = {"synthetic": True, "leaks_allowed": False, "split_flaw": "One was known.", "modalities": ["CT"]}
    save_bundle(root / "base", replace(load_bundle(folder / "bundle"), provenance=told))
    more = {"images": root, "labels": root / "labels.csv", "model": root / "base", "adapters": ("linear",)}
    return load_bundle(adapt(options(folder, root / "run", allow_leaks=True, **more)).bundle)


@pytest.mark.slow
def test_the_card_says_what_the_model_is_and_that_its_base_or_its_films_are_synthetic(
    run: tuple[Path, list[str]], doubtful: Bundle
) -> None:
    plain = load_bundle(run[0] / "bundle").card
    assert "zero-shot" not in plain  # it takes no words
    for card in (plain, doubtful.card):
        assert "- synthetic-data\n" in card
        assert "Trained on synthetic data: it proves the machinery and knows nothing of patients." in card


@pytest.mark.slow
def test_the_card_says_that_a_cache_holds_features_and_labels_of_the_training_films(
    folder: Path, run: tuple[Path, list[str]], tmp_path: Path
) -> None:
    assert "it holds" not in load_bundle(run[0] / "bundle").card
    bundle = load_bundle(adapt(options(folder, tmp_path / "run", adapters=("tip_tuned",), folds=2)).bundle)
    films = next(len(t) for name, t in bundle.model.state_dict().items() if name.endswith("image/adapted.keys"))
    line = bundle.card.partition("## What it is\n\n")[2].splitlines()[0]
    assert line.startswith("Tip-Adapter, tuned on the frozen features of a released model, ")
    assert f" {films} films of " in line
    assert line.endswith(" patients, whose features and labels it holds.")


@pytest.mark.slow
def test_the_bundle_tells_of_leaks_that_were_let_pass_and_of_new_modalities(
    run: tuple[Path, list[str]], doubtful: Bundle
) -> None:
    plain: Any = load_bundle(run[0] / "bundle").provenance
    assert plain["adapted"]["leaks_allowed"] is False
    assert "split_flaw" not in plain
    assert "modalities" not in plain  # of PNG files nobody knows them
    told: Any = doubtful.provenance
    assert told["adapted"]["leaks_allowed"] is True
    assert told["split_flaw"].startswith("One was known. The split leaks (")
    assert "Not known whether" not in told["split_flaw"]
    assert "## Limits\n\nOne was known. The split leaks (" in doubtful.card
    assert told["modalities"] == ["CR", "CT"]


def test_near_copies_of_what_it_was_fitted_to_are_known_again(run: tuple[Path, list[str]]) -> None:
    seen = load_bundle(run[0] / "bundle").seen
    assert seen is not None
    for name in ("train", "validate"):
        assert len(seen.hashes[f"{name}.near"]) == seen.hashes[f"{name}.image"].shape[0]


def test_the_page_and_the_results_are_of_test_patients_alone(run: tuple[Path, list[str]]) -> None:
    out, _ = run
    result = load_result(out / "results" / "adapted.json")
    row = result.find("auroc", "pleural_effusion")
    assert row.split == "test"
    assert row.interval.low is not None
    assert row.value is not None
    assert row.value > 0.9
    assert {each.counts.prevalence for each in result.metrics if each.metric.startswith("ppv@")} == {0.03}
    manifest = Manifest.load(out / "films.parquet")
    assert row.counts.n < 0.35 * len(manifest)
    assert "Linear probe" in (out / "report.html").read_text(encoding="utf-8")  # stands beside what was chosen
    tried = json.loads((out / "adapters.json").read_text())
    assert [each["name"] for each in tried["tried"]] == ["linear", "gda"]
    assert tried["chosen"] == max(tried["tried"], key=lambda each: each["macro"])["name"]


def test_what_was_tried_is_kept_and_another_run_is_refused(folder: Path, run: tuple[Path, list[str]]) -> None:
    out, _ = run
    files = {path: path.stat().st_mtime_ns for path in (out / "adapters").iterdir()}
    assert len(files) == 2
    adapt(options(folder, out, sensitivity=0.95, prevalence=0.03))
    assert {path: path.stat().st_mtime_ns for path in (out / "adapters").iterdir()} == files
    with pytest.raises(UserError, match="holds a run of other films, another model or other options"):
        adapt(options(folder, out, folds=4))


@pytest.mark.slow
def test_each_film_goes_through_the_network_once(folder: Path, tmp_path: Path) -> None:
    shown: list[int] = []

    def count(module: torch.nn.Module, given: tuple[torch.Tensor, ...], made: object) -> None:
        if isinstance(module, TimmEncoder) and not given[0].requires_grad:  # maps of single films ask for the gradient
            shown.append(len(given[0]))

    hook = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        adapt(options(folder, tmp_path / "run", adapters=("linear",)))
    finally:
        hook.remove()
    assert sum(shown) == len(Manifest.load(tmp_path / "run" / "films.parquet"))


@pytest.mark.slow
def test_two_tables_train_here_and_test_there(folder: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((folder / "labels.csv").open()))[1:]
    here, there = ([row for row in rows if (int(row[1][1:]) < 60) == first] for first in (True, False))
    write(tmp_path / "here.csv", here)
    write(tmp_path / "there.csv", there)
    made = adapt(
        options(folder, tmp_path / "run", labels=tmp_path / "here.csv", test_labels=tmp_path / "there.csv", folds=3)
    )
    row = load_result(tmp_path / "run" / "results" / "adapted.json").find("auroc", "pleural_effusion")
    assert row.counts.n == len(there)
    assert made.bundle.is_dir()


def test_refusals_are_one_sentence_and_exit_2(folder: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((folder / "labels.csv").open()))[1:]

    def refused(table: Path, *more: str) -> str:
        words = ["adapt", "--images", str(folder / "films"), "--labels", str(table), "--model", str(folder / "bundle")]
        done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / table.stem), *more])
        assert isinstance(done.exception, UserError)
        assert done.exception.exit_code == 2
        return str(done.exception)

    nobody = tmp_path / "nobody.csv"
    write(nobody, [[row[0], row[2]] for row in rows], ["path", "effusion"])
    assert "has no column patient_id" in refused(nobody)
    assert "--one-patient-per-image" in refused(nobody)
    named = folder / "labels.csv"
    assert "has a column patient_id, and --one-patient-per-image says otherwise" in refused(
        named, "--one-patient-per-image"
    )
    write(nobody, [[row[0], "" if at < 2 else row[1], row[2]] for at, row in enumerate(rows)], ["path", *HEADER[1:3]])
    told = refused(nobody)
    assert told.startswith(f"{nobody} has 2 rows with a film and without a patient_id, ")
    assert told.endswith(": fill it in, or leave those rows out.")
    blank = tmp_path / "blank.csv"
    write(blank, [[row[0], row[1], row[5]] for row in rows], ["path", "patient_id", "note"])
    assert "has no column of labels: write 1, 0, -1 (uncertain) or blank" in refused(blank)
    few = tmp_path / "few.csv"
    write(few, [[row[0], row[1], row[3]] for row in rows], ["path", "patient_id", "rare"])
    assert "No finding of" in refused(few)
    assert "--sensitivity 1.5 is no share between 0 and 1" in refused(named, "--sensitivity", "1.5")
    for name in ("knn", "release", "linaer"):
        told = refused(tmp_path / "no.csv", "--adapter", name)
        assert told.startswith(f"--adapter '{name}' is no adapter: ")
        known = "ensemble, gda, grip, linear, residual, tip, tip_tuned"
        assert told.endswith(f"(allowed: {known})." if "did you mean" in told else f": allowed are {known}.")
    told = refused(tmp_path / "no.csv", "--adapter", "ensemble", "--adapter", "grip")
    assert told == (
        "None of the adapters asked for can be fitted: they start from words, and the model does not tell every "
        "finding by words. Name others, such as --adapter linear."
    )
    assert not (tmp_path / "no").exists(), "these are told before any table or film is read"
    for names, told in (
        (["effusion", "effusion"], "names the column 'effusion' twice: rename or drop one"),
        (["Pleural effusion", "pleural-effusion"], "has two columns of the finding 'pleural-effusion': rename or drop"),
    ):
        twice = tmp_path / "twice.csv"
        write(twice, [[row[0], row[1], row[2], row[3]] for row in rows], ["path", "patient_id", *names])
        assert told in refused(twice)
    again = tmp_path / "again.csv"  # one reader says so, the other not
    for name in (rows[3][0], f"./{rows[3][0]}", str(folder / "films" / rows[3][0])):
        write(again, [*rows, [name, rows[3][1], "0" if rows[3][2] == "1" else "1", *rows[3][3:]]])
        told = refused(again)
        assert told == f"{again} names the file {rows[3][0]} in 2 rows, and would count it so often: leave one row."
    other = tmp_path / "other.csv"
    write(other, [[row[0], row[1], row[2]] for row in rows], ["file", "patient_id", "effusion"])
    assert "has no column path (there: file, patient_id, effusion)" in refused(other)
    told = refused(named, "--images", str(tmp_path))
    assert told.endswith(
        f"the first is {tmp_path / rows[0][0]}: check the folder of the files and what the table calls them."
    )


def test_findings_of_a_table_may_be_of_any_language(folder: Path, tmp_path: Path) -> None:
    rows = [["001_0.png", "a", "1", "0"], ["002_0.png", "b", "0", "1"]]
    write(tmp_path / "t.csv", rows, ["path", "patient_id", "肺炎", "气胸"])
    given: dict[str, Any] = {"one_patient_per_image": False, "workers": 1}
    films = read_films(folder / "films", tmp_path / "t.csv", tmp_path / "films.parquet", **given)
    assert films.findings == {"肺炎": (1, 1), "气胸": (1, 1)}


def test_a_table_of_a_spreadsheet_on_windows_is_read_in_its_encoding(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes("path;patient_id;Pleuraerguß\n001_0.png;a;1\n002_0.png;b;0\n".encode("cp1252"))
    given: dict[str, Any] = {"one_patient_per_image": False, "workers": 1}
    with pytest.raises(UserError, match=r"is not in the encoding utf-8-sig: .*\(--encoding cp1252;"):
        read_films(folder / "films", table, tmp_path / "films.parquet", **given)
    films = read_films(folder / "films", table, tmp_path / "films.parquet", **given, encoding="cp1252")
    assert films.findings == {"pleuraerguß": (1, 1)}


def parted(folder: Path, table: Path, parts: dict[int, str]) -> None:
    """Write the films with a column split: the part of each patient by the last digit of his number."""
    rows = list(csv.reader((folder / "labels.csv").open()))[1:]
    rows = [[*row[:3], parts[int(row[1][1:]) % 10]] for row in rows if row[0] != "004_0.png"]
    write(table, rows, ["path", "patient_id", "effusion", "split"])


def test_of_a_table_that_is_split_only_train_and_validate_stand_beside_a_table_that_is_judged(
    folder: Path, tmp_path: Path
) -> None:
    three = (
        dict.fromkeys(range(4), "train") | dict.fromkeys(range(4, 7), "validate") | dict.fromkeys(range(7, 9), "test")
    )
    parted(folder, tmp_path / "here.csv", three | {9: ""})
    write(
        tmp_path / "there.csv",
        [["004_0.png", "other", "1"], ["000_0.png", "another", "0"]],
        ["path", "patient_id", "effusion"],
    )
    films, test = (
        read_films(
            folder / "films",
            tmp_path / f"{name}.csv",
            tmp_path / f"{name}.parquet",
            one_patient_per_image=False,
            workers=1,
        )
        for name in ("here", "there")
    )
    data = data_of(
        folder / "films", films, test=(folder / "films", test), labels=["effusion"], seed=0, allow_leaks=True
    )
    found = open_manifest(data)
    assert set(zip(found.column("set"), found.column("split"), strict=True)) == {
        ("train", "train"),
        ("train", "validate"),
        ("test", "test"),
    }


def test_a_table_without_validation_films_is_refused_before_anything_is_fitted(folder: Path, tmp_path: Path) -> None:
    parted(folder, tmp_path / "labels.csv", dict.fromkeys(range(7), "train") | dict.fromkeys(range(7, 10), "test"))
    with pytest.raises(UserError, match="No film is in the part validate, which chooses thresholds: name some"):
        adapt(options(folder, tmp_path / "run", labels=tmp_path / "labels.csv"))
    assert not (tmp_path / "run" / "adapters").exists()


def test_a_finding_that_training_patients_do_not_have_is_told_of(folder: Path, tmp_path: Path) -> None:
    rows = [
        [f"{at:03d}_0.png", f"p{at}", str(at % 2), str(int(part == "test" and at % 2)), part]
        for at, part in ((at, ("train", "validate", "test")[at % 4 // 2 + (at % 8 == 7)]) for at in range(5, PATIENTS))
    ]
    write(tmp_path / "labels.csv", rows, ["path", "patient_id", "effusion", "mass", "split"])
    with messages() as told:
        made = adapt(options(folder, tmp_path / "run", labels=tmp_path / "labels.csv"))
    assert "The bundle gives no score of mass: no positives in training." in told
    assert "No probe of mass: no positives in training." in made.page.read_text()


def test_training_films_too_few_for_the_folds_are_told_of_with_what_the_command_takes(tmp_path: Path) -> None:
    values = {"id": list("abcd"), "id.patient": list("pqrr"), "label.effusion": [1.0, 0.0, 1.0, 1.0]}
    train = Manifest.of({**values, "text": ["x"] * 4}, root=tmp_path)
    assert len(set(folds_of(train, 2, seed=0))) == 2
    with pytest.raises(UserError) as told:
        folds_of(train, 3, seed=0)
    assert str(told.value) == (
        "No finding has more than 2 training patients with it, and 3 folds need one each: take fewer by --folds, or "
        "name more films train in the column split."
    )


def test_rows_that_name_no_file_are_left_out_and_logged_and_so_is_a_patient_of_two_names(
    folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    rows = [["001_0.png", "7", "1"], ["", "b", "0"], ["002_0.png", "07", "0"]]
    write(table, rows, ["path", "patient_id", "effusion"])
    with messages() as logged:
        films = read_films(folder / "films", table, tmp_path / "films.parquet", one_patient_per_image=False, workers=1)
    assert films.findings == {"effusion": (1, 1)}
    assert Manifest.load(films.manifest).column("id.patient").tolist() == ["7", "07"]
    assert f"Rows of {table} that name no file, and are left out: 1." in logged
    assert [each for each in logged if each.startswith("Patients under several names")]


def test_a_blank_that_is_written_out_is_a_blank(folder: Path, tmp_path: Path) -> None:
    rows = [["001_0.png", "a", "1"], ["002_0.png", "b", "0"], ["003_0.png", "c", "NaN"]]
    write(tmp_path / "t.csv", rows, ["path", "patient_id", "effusion"])
    given: dict[str, Any] = {"one_patient_per_image": False, "workers": 1}
    films = read_films(folder / "films", tmp_path / "t.csv", tmp_path / "films.parquet", **given)
    assert films.findings == {"effusion": (1, 1)}


def test_a_call_with_a_mistake_keeps_its_folder_for_the_mended_one(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    with pytest.raises(UserError, match="does not exist"):
        adapt(options(folder, tmp_path / "run", labels=tmp_path / "lables.csv"))
    table.write_text("path,effusion\n")
    with pytest.raises(UserError, match="has no rows"):  # and not: a run of other films
        adapt(options(folder, tmp_path / "run", labels=table))


def test_a_folder_with_a_bundle_of_another_run_is_not_taken(folder: Path) -> None:
    released = (folder / "bundle" / "MANIFEST.sha256").read_bytes()
    with pytest.raises(UserError, match="holds a run of other films, another model or other options"):
        adapt(options(folder, folder))
    assert (folder / "bundle" / "MANIFEST.sha256").read_bytes() == released


def test_two_adaptations_do_not_write_one_folder(folder: Path, tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "run", what="adaptation", otherwise="", lock=".adaptation.lock"),
        pytest.raises(
            UserError, match=r"^Another adaptation is at work in .*run: wait for it, or choose another --out"
        ),
    ):
        adapt(options(folder, tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".adaptation.lock"]


def test_over_the_minutes_the_first_is_still_tried_and_equal_ones_go_to_the_cheapest(tmp_path: Path) -> None:
    table: ProbeTable = gaussians(0, rows=90, apart=40.0)
    with messages() as told:
        chosen, tried = choose_adapter(table, np.arange(90) % 3, {}, folder=tmp_path, until=0.0)
    assert [each.name for each in tried] == ["linear"] == [chosen.name]
    assert [line for line in told if "the minutes are over" in line] == [
        f"{name}: not tried, the minutes are over." for name in ADAPTERS if name not in ("linear", "ensemble")
    ]
    assert "ensemble: not tried, it starts from words, by which the model does not tell every finding." in told
    with pytest.raises(UserError, match="None of the adapters asked for can be fitted: they start from words"):
        choose_adapter(table, np.arange(90) % 3, {}, folder=tmp_path, names=("ensemble", "grip"))
    chosen, tried = choose_adapter(table, np.arange(90) % 3, {}, folder=tmp_path, names=("gda", "linear"))
    assert {each.macro for each in tried} == {1.0}
    assert chosen.name == "gda"


def test_an_adapter_that_is_found_again_is_to_the_bit_the_one_that_was_tried(tmp_path: Path) -> None:
    table: ProbeTable = gaussians(0, rows=90)
    names = ("linear", "gda", "tip", "residual")
    new, found = (
        choose_adapter(table, np.arange(90) % 3, {}, names=names, folder=tmp_path / "adapters")[1] for _ in range(2)
    )
    for before, after in zip(new, found, strict=True):
        first, again = before.folded, after.folded
        assert (before.name, before.macro, before.seconds) == (after.name, after.macro, after.seconds)
        assert (first.answer.labels, first.answer.title) == (again.answer.labels, again.answer.title)
        for one, two in ((first.scores, again.scores), (first.answer.tensors, again.answer.tensors)):
            assert {name: one[name].tolist() for name in one} == {name: two[name].tolist() for name in one}
            assert one.keys() == two.keys()


def test_folds_part_no_patient(run: tuple[Path, list[str]]) -> None:
    manifest = Manifest.load(run[0] / "films.parquet")
    folds = folds_of(manifest, 5, seed=0)
    patients = manifest.column("id.patient")
    assert len({(who, fold) for who, fold in zip(patients, folds, strict=True)}) == len(set(patients))
    assert set(folds) == set(range(5))


@pytest.mark.slow
def test_a_bundle_of_volumes_is_adapted_to_volumes(tmp_path: Path) -> None:
    """Fluid lies at the back of every second chest of air: in the middle slice of three."""
    (tmp_path / "films").mkdir()
    draw, rows = np.random.default_rng(0), []
    for patient in range(40):
        air = draw.integers(-1000, -700, size=(16, 16, 3)).astype(np.int16)
        air[4:12, 1:6, 1] += 700 * (patient % 2)
        Nifti1Image(air, np.diag([10.0, 10.0, 20.0, 1.0])).to_filename(tmp_path / "films" / f"{patient}.nii.gz")
        rows.append([f"{patient}.nii.gz", f"p{patient}", str(patient % 2)])
    write(tmp_path / "labels.csv", rows, ["path", "patient_id", "effusion"])
    tower = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1}
    model = build_model({"name": "vision", "vision": {"name": "slices", "slice": tower}}, tokenizer=None)
    read = [{"name": "read_volume", "size": 32, "windows": ["ct_lung_v1"]}]
    save_bundle(tmp_path / "bundle", Bundle(model=model.eval(), tokenizer=None, preprocessing=read))
    made = adapt(options(tmp_path, tmp_path / "run", adapters=("linear",), folds=2))
    volumes = [tmp_path / "films" / f"{patient}.nii.gz" for patient in range(40)]
    said = predict_files(loaded := load(made.bundle), files_of(loaded, volumes))["results"]
    scores = [each["scores"]["effusion"] for each in said]
    assert min(scores[1::2]) > max(scores[::2])
