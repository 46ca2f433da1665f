"""The explorer: what its tables, curves and maps show is what the files say; the page is served by the room's rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom import dcmread

from medvlp.core.errors import DataError, UserError
from medvlp.core.table import FeatureTable
from medvlp.data.manifest import Manifest
from medvlp.evaluation.compare import compare_results
from medvlp.evaluation.results import Counts, Metric, Result, load_result, write_result
from medvlp.io import read_image
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, save_bundle
from medvlp.serving.browse.embedding import colour_columns, feature_columns, map_svg, project
from medvlp.serving.browse.errors import cards, error_table, findings_of, wrongness
from medvlp.serving.browse.playground import Asked, Playground, answers_html
from medvlp.serving.browse.results import SYNTHETIC, compared, metric_names, metric_table, notes_of
from medvlp.serving.browse.runs import curve_names, curves, quarantine, run_table
from medvlp.serving.browse.shelf import Shelf, result_of
from medvlp.serving.browse.tabs_models import parts_tab, playground_tab
from medvlp.serving.browse.tabs_runs import errors_tab
from medvlp.serving.browse.thumbnails import Album, small
from tests.models.words import VIT
from tests.serving.room_files import ct_slices, nifti


@pytest.fixture(scope="module")
def shelf(runs_folder):
    return Shelf(runs_folder)


@pytest.fixture(scope="module")
def result(runs_folder):
    return load_result(runs_folder / "tiny" / "results" / "zero_shot.json")


def test_all_is_found_by_what_it_is(shelf):
    assert {kind: shelf.names(kind) for kind in ("run", "manifest", "table", "bundle")} == {
        "run": ["live", "tiny"],
        "manifest": ["tiny/manifest.parquet"],
        "table": ["features.parquet"],
        "bundle": ["bundle", "tiny/bundle"],
    }
    with pytest.raises(UserError, match="choose one of the list"):
        shelf.path("run", "../tiny")
    with pytest.raises(UserError, match="is no folder"):
        Shelf(shelf.folder / "nowhere")
    with pytest.raises(UserError, match=r"nowhere is no folder: name the one of the pictures, or leave --root out"):
        Shelf(shelf.folder, root=shelf.folder / "nowhere")


def test_what_was_taken_away_is_told_and_stops_nothing_else(runs_folder, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for kept in ("manifest.parquet", "config.yaml", "log.jsonl"):
            shutil.copy(runs_folder / "tiny" / kept, tmp_path / name)
    shelf = Shelf(tmp_path)
    known = shelf.manifest("b/manifest.parquet").column("id").tolist()[:2]
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(UserError, match=r"There is no manifest a/manifest\.parquet below .*: choose one of the list\."):
        shelf.manifest("a/manifest.parquet")
    assert shelf.manifest_of(known).hash == shelf.manifest("b/manifest.parquet").hash
    assert run_table(shelf)["run"].tolist() == ["b"]


def silent_for(seconds, runs_folder):
    """A moment: so long after the last line of the training that is running, however long the tests before took."""
    return (runs_folder / "live" / "log.jsonl").stat().st_mtime + seconds


def test_a_run_says_what_its_log_checkpoint_and_results_say(shelf, runs_folder, result):
    rows = {row["run"]: row for row in run_table(shelf, now=silent_for(599, runs_folder)).to_dict("records")}
    log = [json.loads(line) for line in (runs_folder / "tiny" / "log.jsonl").read_text().splitlines()]
    cached = json.loads((runs_folder / "tiny/checkpoints/best/trainer.json").read_text())
    macro = next(row for row in result.metrics if (row.metric, row.label, row.split) == ("auroc", "macro", "test"))
    tiny, live = rows["tiny"], rows["live"]
    assert (tiny["state"], tiny["samples"], tiny["of"]) == ("finished", log[-1]["samples_seen"], 64)
    assert (tiny["best"], tiny["recipe"]) == (f"{cached['best_value']:.3f}", cached["recipe"][:8])
    chosen = [row[tiny["chosen by"]] for row in log if tiny["chosen by"] in row]
    assert cached["best_value"] == max(chosen)
    interval = "" if macro.interval.low is None else f" ({macro.interval.low:.3f}-{macro.interval.high:.3f})"
    assert tiny["macro AUROC"] == f"{macro.value:.3f}{interval}"
    assert (tiny["n"], tiny["data"], tiny["learns"]) == (str(macro.counts.n), "synthetic", "clip")
    assert (live["state"], live["samples"], live["macro AUROC"]) == ("running", log[1]["samples_seen"], "")


@pytest.mark.parametrize("value", [0.8, None])
def test_the_macro_auroc_of_a_run_is_of_what_was_judged_first_though_it_is_not_defined(tmp_path, value):
    for name, macro in (("laterality", 0.3), ("zero_shot", value)):
        row = Metric(metric="auroc", label="macro", value=macro, counts=Counts(n=40, patients=30), split="test")
        write_result(Result(name=name, recipe="", data="", metrics=(row,)), tmp_path / f"run/results/{name}.json")
    (tmp_path / "run" / "evaluation.json").write_text('{"results": ["zero_shot", "laterality"]}')
    assert run_table(Shelf(tmp_path))["macro AUROC"].tolist() == ["0.800" if value else "-"]


def test_the_metric_that_chose_is_the_checkpoints_though_another_has_the_same_value(tmp_path):
    rows = [{"zero_shot/auroc/edema": 1.0, "zero_shot/auroc/macro": macro} for macro in (0.9, 1.0)]
    log = [json.dumps({"kind": "validate", "samples_seen": 64 * at, **row}) for at, row in enumerate(rows, 1)]
    best = tmp_path / "run" / "checkpoints" / "best"
    best.mkdir(parents=True)
    (best / "trainer.json").write_text('{"best_value": 1.0, "choose": "zero_shot/auroc/macro"}')
    (tmp_path / "run" / "log.jsonl").write_text("\n".join(log) + "\n")
    assert run_table(Shelf(tmp_path))["chosen by"].tolist() == ["zero_shot/auroc/macro"]


def test_a_training_that_fell_silent_is_called_stopped(shelf, runs_folder):
    table = run_table(shelf, now=silent_for(601, runs_folder))
    later = dict(zip(*table[["run", "state"]].to_numpy().T, strict=True))
    assert later == {"live": "stopped", "tiny": "finished"}


def test_points_of_a_curve_are_the_logs(shelf, runs_folder):
    log = [json.loads(line) for line in (runs_folder / "tiny" / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "rate", "zero_shot/auroc/macro"):
        shown = curves(shelf, ["tiny"], name)
        assert shown[["samples", "value"]].to_numpy().tolist() == [
            [row["samples_seen"], row[name]] for row in log if name in row
        ]
    assert len(curves(shelf, ["tiny", "live"], "loss")) == len(curves(shelf, ["tiny"], "loss")) + 2
    assert curve_names(shelf, ["tiny"])[:2] == ["loss", "zero_shot/auroc/macro"]
    none = curves(shelf, [], "")
    assert (str(none["value"].dtype), str(none["samples"].dtype)) == ("float64", "int64")


def test_numbers_are_those_of_results_json_and_say_that_they_are_synthetic(runs_folder, result):
    stored = json.loads((runs_folder / "tiny" / "results" / "zero_shot.json").read_text())["metrics"]
    assert metric_names(result)[:2] == ["auroc", "average_precision"]
    shown = metric_table(result, "auroc").to_dict("records")
    rows = [row for row in stored if row["metric"] == "auroc" and "group" not in row]
    assert len(shown) == len(rows)
    for one, row in zip(shown, rows, strict=True):
        for key in ("value", "low", "high"):
            assert one[key] == ("" if row[key] is None else f"{row[key]:.3f}")
        assert (one["n"], one["patients"], one["split"]) == (row["n"], row["patients"], row["split"])
        assert one["remark"] == row.get("reason", "").replace("_", " ")
    means = {row["label"]: row["labels_used"] for row in rows if "labels_used" in row}
    named = {one["finding"] for one in shown if " of " in one["finding"]}
    assert named == {f"{name} of {many}" for name, many in means.items()} != set()
    everybody, grouped = (metric_table(result, "auroc", groups=each) for each in (False, True))
    assert len(grouped) == len([row for row in stored if row["metric"] == "auroc"]) > len(everybody)
    assert SYNTHETIC in notes_of(result)


def test_a_paired_difference_is_the_commands(result):
    noise = np.random.default_rng(5).uniform(size=len(result.cases))
    moved = {name: 0.8 * result.cases[name] + 0.2 * noise for name in result.cases if name.startswith("score:")}
    other = replace(result, title="Another", cases=result.cases.assign(**moved))
    shown, notes = compared(result, other, "auroc")
    found = [row for row in compare_results(result, other).metrics if row.metric == "auroc_difference"]
    assert len(shown) == len(found)
    for one, row in zip(shown.to_dict("records"), found, strict=True):
        words = f"{row.value:.3f}" + (
            "" if row.interval.low is None else f" ({row.interval.low:.3f} to {row.interval.high:.3f})"
        )
        assert one["difference"].rstrip("*") == words
        assert one["n"] == row.counts.n
    assert SYNTHETIC in notes
    assert "paired, patients resampled together" in notes
    shown, notes = compared(result, replace(other, title=result.title), "auroc")
    assert [f"{result.title} ({side})" for side in ("first", "second")] == [*shown.columns[4:6]]
    assert re.search(r"^\\\*", notes, re.MULTILINE)  # a bare star is Markdown's
    assert not re.search(r"(?<![\\*])\*(?!\*)", notes)


def test_how_wrong_cases_are_is_on_average_what_the_auroc_lacks(result):
    finding = findings_of(result)[0]
    test = next(
        row for row in result.metrics
        if (row.metric, row.label, row.split, row.group) == ("auroc", finding, "test", None)
    )  # fmt: skip
    table = error_table(result, finding)
    for kind in ("missed", "false alarms"):
        assert error_table(result, finding, kind=kind)["wrong"].mean() == pytest.approx(1 - test.value)
    assert len(table) == test.counts.n
    assert table["wrong"].is_monotonic_decreasing
    generator = np.random.default_rng(3)
    labels, scores = generator.integers(0, 2, 40).astype(float), generator.integers(0, 9, 40).astype(float)
    for at, wrong in enumerate(wrongness(labels, scores)):
        rivals = scores[labels != labels[at]]
        sign = 1 if labels[at] == 1 else -1
        lost = (sign * (rivals - scores[at]) > 0).mean() + (rivals == scores[at]).mean() / 2
        assert wrong == pytest.approx(lost)


def test_an_uncertain_case_is_called_so_and_what_the_policy_counts_it_as():
    columns = {"id": ["a", "b", "c"], "label:edema": [1.0, 0.0, -1.0], "score:edema": [0.9, 0.2, 0.1]}
    for policy in ("u_ones", "u_zeros", "u_ignore"):
        judged = Result(name="r", metrics=(), options={"policy": policy}, cases=pd.DataFrame(columns))
        html = cards(error_table(judged, "edema"), Album(None), "edema")
        assert ("edema uncertain, counted as present" in html) == (policy == "u_ones")
        assert ("edema uncertain, counted as absent" in html) == (policy == "u_zeros")
        assert html.count("edema present") == html.count("edema absent") == 1


@pytest.mark.parametrize(("truth", "rivals"), [(1.0, "without"), (0.0, "with")])
def test_among_cases_of_one_class_none_is_on_the_wrong_side_of_others(truth, rivals):
    cases = pd.DataFrame({"id": ["a", "b"], "label:edema": [truth] * 2, "score:edema": [0.9, 0.2]})
    table = error_table(Result(name="r", metrics=(), cases=cases), "edema")
    assert table["wrong"].isna().all()
    html = cards(table, Album(None), "edema")
    assert html.count(f"there are none {rivals} it") == 2
    assert "%" not in html


def test_a_case_is_shown_as_its_file_asks_beside_allow_listed_facts(shelf, runs_folder, result):
    finding = findings_of(result)[0]
    table = error_table(result, finding).head(2)
    album = Album(shelf.manifest_of(table["id"].tolist(), "tiny"))
    html = cards(table, album, finding)
    assert html.count("<img ") == 2
    assert 'title="DX, PA' in html or 'title="DX, AP' in html
    patients = set(result.cases["patient_id"]) | {"PatientName"}
    assert not [name for name in patients if name in html.replace("data:image", "")[:400]]
    path = album.path(table["id"][0])
    pixels = read_image(path).pixels
    shown = small(pixels)
    assert max(shown.shape) == min(256, max(pixels.shape))
    assert abs(float(shown.mean()) - 255 * float(pixels.mean())) < 1
    elsewhere = Album(Shelf(runs_folder, root=runs_folder).manifest_of(table["id"].tolist()))
    assert "give the folder of the data with --root" in elsewhere.html(table["id"][0])
    assert "No manifest" in Album(None).html("A1")


def test_pictures_are_of_the_cohort_that_a_result_is_of_though_another_numbers_its_cases_alike(tmp_path):
    made = [Manifest.of({"id": ["S0000001"], "image": [f"{name}.png"]}, root=tmp_path) for name in "ab"]
    for name, manifest in zip("ab", made, strict=True):
        (tmp_path / name).mkdir()
        manifest.save(tmp_path / name / "manifest.parquet")
    found = Shelf(tmp_path)
    for near in ("", "a", "b"):
        for manifest in made:
            assert found.manifest_of(["S0000001"], near, data=manifest.hash).hash == manifest.hash
    assert found.manifest_of(["S0000001"], "b", data="of neither").hash == made[1].hash
    assert found.manifest_of(["S0000002"], data=made[0].hash) is None


def test_a_volume_is_shown_in_a_window_that_fits_it_or_by_its_percentiles(tmp_path):
    nifti(tmp_path / "ct.nii", to_left=True)
    images = ct_slices(tmp_path / "pet")
    for path in images.iterdir():
        header = dcmread(path)
        header.Modality = "PT"
        header.save_as(path)
    album = Album(Manifest.of({"id": ["a", "b"], "volume": ["ct.nii", "pet"]}, root=tmp_path))
    assert "<img " in album.html("a")  # NIfTI names no modality
    assert "<img " in album.html("b")


def test_the_map_holds_the_variance_that_its_two_components_hold(shelf):
    table = FeatureTable.load(shelf.path("table", "features.parquet"))
    assert feature_columns(table) == ["image/embedding"]
    shown = project(table, "image/embedding")
    values = table["image/embedding"].astype(float)
    spectrum = np.linalg.eigvalsh(np.cov(values.T))[::-1]
    assert shown.share == pytest.approx(tuple(spectrum[:2] / spectrum.sum()), abs=1e-6)
    assert np.abs(shown.points.var(axis=0, ddof=1) - spectrum[:2]).max() < 1e-6
    assert len(project(table, "image/embedding", most=7).ids) == 7


def test_the_map_of_a_tall_table_is_that_of_its_svd_in_a_fraction_of_the_memory():
    draws = np.random.default_rng(0)
    values = draws.normal(size=(4000, 100)) * np.linspace(2, 1, 100) + 0.5
    tracemalloc.start()
    shown = project(FeatureTable(range(4000), {"x/raw": values}), "x/raw")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    assert np.abs(np.abs(shown.points) - np.abs(u[:, :2] * s[:2])).max() < 1e-9
    assert held < 3 * values.nbytes


def test_points_are_coloured_by_what_the_manifest_says_of_their_case(shelf):
    table = FeatureTable.load(shelf.path("table", "features.parquet"))
    manifest = shelf.manifest_of(table.ids)
    colours = colour_columns(table, manifest)
    assert "split" in colours
    assert not {"id", "id.patient", "text", "image", "sentence.effusion"} & set(colours)
    backwards = FeatureTable(table.ids[::-1], {"image/embedding": table["image/embedding"]})
    assert colour_columns(backwards, manifest)["split"] == colours["split"][::-1]
    svg = map_svg(project(table, "image/embedding"), colours["split"], "split")
    for split in set(colours["split"]):
        assert f"{split} ({colours['split'].count(split)})" in svg
    assert svg.count(" data-row=") == len(table)
    # A group has a shape of its own, the one of its words in the legend: colours are not all that tells them apart.
    shapes = dict(re.findall(r'<path d="([^"]+)" fill="[^"]+"/></svg>(\w+) \(', svg))
    assert sorted(shapes.values()) == sorted(set(colours["split"]))
    drawn = re.findall(r'<path d="([^"]+)" transform="[^"]+" fill="[^"]+" data-row="(\d+)"', svg)
    assert [shapes[shape] for shape, _ in drawn] == colours["split"]
    ages = map_svg(project(table, "image/embedding"), colours["age"], "age")
    assert sum(int(count) for count in pd.Series(ages).str.extractall(r"\] \((\d+)\)<")[0]) == len(table)


def test_a_bundle_that_was_replaced_is_asked_as_it_is_now(tmp_path):
    model = build_model({"name": "vision", "vision": VIT}, tokenizer=None)
    bundle = Bundle(model, None, preprocessing=[{"name": "read", "size": 64}], provenance={"seed": 3})
    save_bundle(tmp_path / "bundle", bundle)
    play = Playground(Shelf(tmp_path))
    before = play.reader("bundle")
    assert play.reader("bundle") is before
    save_bundle(tmp_path / "bundle", replace(bundle, provenance={"seed": 7}))
    assert play.reader("bundle").model.bundle.provenance["seed"] == 7


def test_a_sentence_gets_the_readers_answer(shelf, reader, tmp_path):
    play = Playground(shelf)
    files = play.files_of("tiny/manifest.parquet", "bundle", split="test", count=3, seed=0)
    assert files == play.files_of("tiny/manifest.parquet", "bundle", split="test", count=3, seed=0)
    asked = play.ask_files("bundle", files, "Left pleural effusion.\n\nGood morning.")
    for (name, path), each in zip(files, asked, strict=True):
        assert each.name == name
        assert each.said[0]["margin"] == pytest.approx(
            reader.ask(reader.prepare(path), "Left pleural effusion.")["margin"]
        )
        assert "No rule denies" in each.said[1]["error"]
    shown = answers_html(asked)
    assert shown.count("<img ") == 3
    # One that cannot be read and one that is held back, on top of the files: the others are asked all the same.
    (tmp_path / "text.dcm").write_text("a note")
    Image.new("L", (64, 64)).save(tmp_path / "blank.png")
    odd = [("text", tmp_path / "text.dcm"), ("blank", tmp_path / "blank.png")]
    beside = play.ask_files("bundle", [*odd, *files], "Left pleural effusion.\n\nGood morning.")
    assert [each.said for each in beside[2:]] == [each.said for each in asked]
    assert [beside[k].said[0]["error"].partition(":")[0] for k in (0, 1)] == [
        "it is text; give a DICOM, NIfTI, PNG, JPEG or TIFF file.", "This picture is unlike those of the training",
    ]  # fmt: skip
    head = answers_html(beside).partition("</thead>")[0]
    assert head == shown.partition("</thead>")[0]
    assert "Left pleural effusion.<br><span>against: No left pleural effusion.</span>" in head
    with pytest.raises(UserError, match="Type 1 to 6 sentences"):
        play.ask_files("bundle", files, " \n")


def test_pictures_of_a_calibrated_sentence_stand_by_the_probability_that_is_shown():
    said = {"statement": "A.", "denial": "No a.", "prior": 0.3}
    told = [("low", 0.9, 0.2), ("high", -0.9, 0.4), ("middle", 0.5, 0.3)]
    asked = [Asked(name, None, ({**said, "margin": margin, "probability": p},)) for name, margin, p in told]
    asked.append(Asked("odd", None, ({"statement": "A.", "error": "it is text"},)))
    assert re.findall(r'class="fine">(\w+)</span></td>', answers_html(asked)) == ["high", "middle", "low", "odd"]


def test_what_a_run_could_not_read_is_listed(shelf):
    assert quarantine(shelf.path("run", "live")).to_dict("records") == [
        {"id": "A1", "split": "train", "reason": "truncated", "hint": "copy it again"}
    ]


def test_a_quarantine_says_how_many_were_left_out_though_none_was_and_who_does_not_say(shelf):
    gradio = pytest.importorskip("gradio", reason="the explorer's page, in the extra `demo`")
    with gradio.Blocks() as page:
        parts_tab(shelf)
    left_out = next(each.fn for each in page.fns.values() if each.name == "left_out")
    assert [left_out(run).label for run in ("live", "tiny")] == ["1 left out", "0 left out"]
    with pytest.raises(DataError, match="does not say what it could not read"):
        quarantine(shelf.folder)


def test_cases_are_shown_from_the_first_where_one_before_it_is_asked_for(shelf):
    gradio = pytest.importorskip("gradio", reason="the explorer's page, in the extra `demo`")
    with gradio.Blocks() as page:
        errors_tab(page, shelf)
    start = next(each for each in page.blocks.values() if isinstance(each, gradio.Number))
    show = next(each.fn for each in page.fns.values() if each.name == "show")
    assert show("tiny: zero_shot", "effusion", "all", start.preprocess(-5))[0].endswith("; shown from 1.")


def test_a_result_is_read_again_when_its_file_has_changed(runs_folder, tmp_path):
    for name in ("zero_shot.json", "predictions.parquet"):
        shutil.copy(runs_folder / "tiny" / "results" / name, tmp_path)
    path = tmp_path / "zero_shot.json"
    assert result_of(path).title != "Another"
    path.write_text(path.read_text().replace(json.dumps(result_of(path).title), '"Another"'))
    os.utime(path, (1, 1))
    assert result_of(path).title == "Another"


def test_an_uploaded_file_is_read_in_the_folder_of_the_server(tmp_path):
    """Elsewhere a server that is killed on the way would leave it lying: its own folder is removed by the next one."""
    gradio = pytest.importorskip("gradio", reason="the explorer's page, in the extra `demo`")
    seen = []

    class Asked(Playground):
        def ask_files(self, bundle, files, text):
            seen.extend((name, path, path.read_bytes()) for name, path in files)
            return []

    file = tmp_path / "server" / "hash" / "DOE^JANE.dcm"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"pixels")
    with gradio.Blocks() as page:
        playground_tab(page, Shelf(tmp_path), Asked(Shelf(tmp_path)))
    next(each.fn for each in page.fns.values() if each.name == "ask_own")("", "", [str(file)])
    ((name, place, content),) = seen
    assert (name, content) == ("file 1", b"pixels")
    assert place.is_relative_to(tmp_path / "server")
    assert list(file.parent.iterdir()) == []
