"""What each verb prints and writes."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import medvlp
from medvlp.answers.asking.model import load
from medvlp.config.tree import DataConfig
from medvlp.core.table import FeatureTable
from medvlp.data.layouts.phantom import index
from medvlp.data.manifest import Manifest
from medvlp.models.card import SYNTHETIC
from medvlp.pages.record import DataFacts, ModelFacts, Record
from medvlp.runs.data import open_split
from medvlp.training.journal import read_journal
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

Cli = Callable[..., Any]
VERBS = (
    "quickstart",
    "phantom",
    "data",
    "inspect",
    "train",
    "embed",
    "predict",
    "evaluate",
    "demo",
    "gate",
    "report",
    "score",
    "compare",
    "cache",
    "doctor",
)
PREFIX: list[dict[str, object]] = [{"name": "read", "size": 32}]
HEAVY = ("numpy", "pandas", "pydicom", "torch", "monai", "transformers", "timm", "sklearn", "matplotlib", "pyarrow")


def one_document(text: str) -> Any:
    """Parse what must be one JSON document and nothing else."""
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return json.loads(text)


@pytest.fixture
def film(tiny_cohort: CohortSummary) -> Path:
    record = index(tiny_cohort.root).where({"view_position": ["PA"]}).record(0)
    return tiny_cohort.root / str(record["image"])


@pytest.fixture
def config(tiny_cohort: CohortSummary, tmp_path: Path) -> Path:
    return write_tree(tmp_path / "c.yaml", tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache"))


# light ---------------------------------------------------------------------------------------------------------------


_LIGHT = """
import sys, medvlp
told = {"import": [name for name in HEAVY if name in sys.modules]}
from medvlp.cli.main import main
for words in (["--help"], *([verb, "--help"] for verb in VERBS)):
    sys.argv = ["medvlp", *words]
    try: main()
    except SystemExit: pass
    told[" ".join(words)] = [name for name in HEAVY if name in sys.modules]
print("\\n", told)
"""


def test_nothing_heavy_is_loaded_to_import_or_to_be_helped() -> None:
    code = f"HEAVY, VERBS = {HEAVY!r}, {VERBS!r}\n{_LIGHT}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = ast.literal_eval(ran.stdout.splitlines()[-1].strip())
    assert told == {word: [] for word in ("import", "--help", *(f"{verb} --help" for verb in VERBS))}


def test_on_windows_the_package_says_where_it_runs() -> None:
    """There is no fcntl, no os.pwrite, and no file is replaced while somebody reads it."""
    code = "import sys; sys.platform = 'win32'; from medvlp.cli.main import main"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    sentence = "medvlp runs on Linux and macOS: on Windows, use it in the Subsystem for Linux (WSL)."
    assert ran.stderr.splitlines()[-1] == f"ImportError: {sentence}"


def test_help_names_every_verb(cli: Cli) -> None:
    told = cli("--help")
    assert told.code == 0
    assert all(f"  {verb} " in told.out for verb in VERBS)
    for words in ((), ("train",), ("data", "split")):
        assert cli(*words, "-h").out == cli(*words, "--help").out


def test_no_line_of_a_list_of_commands_is_cut(cli: Cli) -> None:
    """Lists are whole at 80 columns, and no wider; what is cut ends with three dots."""
    for words in ((), ("data",), ("cache",)):
        assert not re.search(r"[^]]\.\.\.$", cli(*words, "--help").out, re.MULTILINE)


def test_version_is_that_of_the_package(cli: Cli) -> None:
    """As of any command, also beside a verb, and where the command is called as a module."""
    said = f"medvlp {medvlp.__version__}\n"
    for words in (["--version"], ["--version", "train"]):
        shown = cli(*words)
        assert (shown.code, shown.out, shown.err) == (0, said, "")
    asked = [sys.executable, "-m", "medvlp", "--version"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == said


# files ---------------------------------------------------------------------------------------------------------------


def test_inspect_tells_one_document(cli: Cli, film: Path, tmp_path: Path) -> None:
    found = one_document(cli("inspect", film, "--json").out)
    assert {"path", "kind", "shape", "spacing", "steps", "warnings", "meta"} <= found.keys()
    assert (found["path"], found["kind"], len(found["shape"])) == (str(film), "image", 2)
    plain = cli("inspect", film, "--png", tmp_path / "a.png")
    assert plain.code == 0
    assert "kind     image" in plain.out
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    told = cli("inspect", film, "--png", tmp_path / "a.jpg").refused()
    assert told.endswith("a.jpg is written as PNG: give --png a file name that ends in .png.")
    assert "give a single file to medvlp inspect" in cli("inspect", film.parent).refused()


def test_inspect_draws_no_picture_over_what_it_reads(cli: Cli, film: Path, tmp_path: Path) -> None:
    series = tmp_path / "series"
    series.mkdir()
    slice_ = Path(shutil.copy(film, series / "1.dcm"))
    before = film.read_bytes()
    for source, place in ((film, film), (series, slice_)):
        told = cli("inspect", source, "--png", place).refused()
        assert f"{place} is read by this command and would be written over" in told
    assert film.read_bytes() == slice_.read_bytes() == before


def test_inspect_of_an_archive_tells_of_the_member_that_is_named(cli: Cli, film: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        archive.write(film, "in/a.dcm")
        archive.writestr("b.png", b"none")
    found = one_document(cli("inspect", tmp_path / "films.zip", "--member", "in/a.dcm", "--json").out)
    alone = one_document(cli("inspect", film, "--json").out)
    assert found == {**alone, "path": str(tmp_path / "films.zip")}
    for options, sentence in (((), "the archive holds 2 files"), (("--member", "c.dcm"), "include no such member")):
        assert sentence in cli("inspect", tmp_path / "films.zip", *options).refused()


def test_a_file_whose_name_begins_with_a_dash_is_told_how_to_be_named(
    cli: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(film, "-a.dcm")
    told = cli("inspect", "-a.dcm")
    sentence = "medvlp: -a.dcm was taken for options: write ./-a.dcm for the file, or -- before."
    assert (told.code, told.err.splitlines()[-1]) == (2, sentence)
    assert cli("inspect", "./-a.dcm").code == cli("inspect", "--", "-a.dcm").code == 0


def test_inspect_of_what_cannot_be_read_exits_2_in_both_forms(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("hello")
    ran = cli("inspect", path, "--json")
    found = one_document(ran.out)
    assert (ran.code, ran.err) == (2, "")
    assert (found["path"], found["unreadable"]) == (str(path), "not_an_image")
    assert found["hint"]
    assert f"{path} cannot be read (not_an_image): " in cli("inspect", path).refused()


def test_predict_tells_one_document(cli: Cli, tiny_run: Trained, film: Path) -> None:
    found = one_document(cli("predict", tiny_run.bundle, film, film, "--json").out)
    assert set(found) == {"model", "recipe", "results"}
    assert (found["model"], found["recipe"], len(found["results"])) == (str(tiny_run.bundle), "zero_shot", 2)
    for result in found["results"]:
        assert set(result) == {"path", "scores", "calibrated", "warnings"}
        assert result["calibrated"] is False
        assert all(0 <= score <= 1 for score in result["scores"].values())
    plain = cli("predict", tiny_run.bundle, film)
    assert plain.out.splitlines()[0] == str(film)
    assert SYNTHETIC in plain.out.splitlines()
    assert plain.out.endswith("Scores are not calibrated.\n")


# data ----------------------------------------------------------------------------------------------------------------


def test_data_index_writes_the_manifest_and_check_finds_it_clean(
    cli: Cli, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    out = tmp_path / "m.parquet"
    told = cli("data", "index", "phantom", tiny_cohort.root, "--out", out)
    assert told.code == 0
    assert told.out.startswith(f"{out}: {tiny_cohort.images} records, columns id, ")
    saved, rows = Manifest.load(out), index(tiny_cohort.root)
    assert saved.names == (*rows.names, "sha256")
    assert all(saved.arrow(name).equals(rows.arrow(name)) for name in rows.names)
    checked = cli("data", "check", out, "--json")
    assert (checked.code, one_document(checked.out)) == (0, [])
    assert cli("data", "check", out).out.splitlines()[-1].startswith("0 leaks in ")


def test_embed_writes_unit_rows_of_both_kinds(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    told = cli("embed", tiny_run.bundle, tiny_run.run / "manifest.parquet", "--out", out, "--workers", "1")
    assert told.code == 0
    table = FeatureTable.load(out)
    assert sorted(table.ids) == sorted(tiny_run.manifest.column("id"))
    for key in ("image/embedding", "text/embedding"):
        np.testing.assert_allclose(np.linalg.norm(table[key], axis=1), 1, atol=1e-5)
    assert table.meta["data"] == tiny_run.manifest.hash


# training ------------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_the_plan_and_changes_nothing(
    cli: Cli, config: Path, tiny_run: Trained, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    told = cli("train", config, "--dry-run")
    assert told.code == 0
    assert "Plan of the first phase (view: parts)\n  image: embedding\n  text: embedding\n" in told.out
    assert "nothing was changed." in told.out
    parts = re.search(r"^Parts: train (.*), validate (.*), test (.*)\.$", told.out, re.M)
    assert parts is not None
    assert all(re.fullmatch(r"\d+ records of \d+ patients", part) for part in parts.groups())
    told = cli("train", config, "--dry-run", "data.layout={name: hospital}")  # tables lie there too
    assert re.search(r"^Parts: train .* patients\. \d+ files or rows listed apart \(\d+ not dicom\)\.$", told.out, re.M)
    assert not (config.parent / "run").exists()
    before = tree_hashes(tiny_run.run)
    assert cli("train", "--resume", tiny_run.run, "--dry-run").code == 0
    assert tree_hashes(tiny_run.run) == before


def test_train_tells_its_choices_and_writes_the_run(cli: Cli, config: Path) -> None:
    run = config.parent / "run"
    told = cli("train", config, "phases.0.until=16", "training.validate_every=8")
    assert told.code == 0
    assert told.err == ""
    assert "Device " in told.out
    assert f"Released {run / 'bundle'} after 16 samples.\n" in told.out
    written = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "data.json",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "bundle",
    } <= written
    environment = json.loads((run / "environment.json").read_text())
    assert {"medvlp", "code", "python", "packages"} <= environment.keys()
    said = f"Device {environment['device']}: .* Towers in torch\\.{environment['precision']}: "
    assert re.search(said, told.out)
    data = json.loads((run / "data.json").read_text())
    assert {"manifest", "split", "records", "quarantined"} <= data.keys()


def test_a_finished_run_started_again_is_told_to_be_complete_and_stays_as_it_is(
    cli: Cli, config: Path, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    words = ("train", config, "phases.0.until=16")
    assert cli(*words).code == 0
    kept = {n: h for n, h in tree_hashes(config.parent / "run").items() if not n.startswith("tensorboard")}
    for again in (words, ("train", "--resume", config.parent / "run")):
        told = cli(*again)
        assert (told.code, told.out.splitlines()[-2]) == (
            0, f"{config.parent / 'run'} is complete, 16 samples; nothing was done.",
        )  # fmt: skip
        found = {n: h for n, h in tree_hashes(config.parent / "run").items() if not n.startswith("tensorboard")}
        assert found == kept
    # What is no part of the recipe may be asked for anew, and a bundle that was lost is made again.
    released = f"Released {config.parent / 'run' / 'bundle'} after 16 samples."
    assert cli(*words, "evaluation.calibration=isotonic").out.splitlines()[-2] == released
    shutil.rmtree(config.parent / "run" / "bundle")
    assert cli(*words, "evaluation.calibration=isotonic").out.splitlines()[-2] == released
    told = cli("train", "--resume", config.parent / "run", config).refused()
    assert f"goes on with its own configuration: leave {config} out" in told


# judging -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_and_report_write_results_and_pages(
    cli: Cli, tiny_run: Trained, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    out = tmp_path / "judged"
    words = [f"model={tiny_run.bundle}", f"out={out}", f"data.root={tiny_cohort.root}", "workers=1"]
    words += [
        "evaluation.resamples=100",
        "evaluation.gallery=2",
        "evaluation.min_positives=1",
        "evaluation.split=train",
        "data.allow_leaks=true",
    ]
    # Of an evaluation of other data that went to the same folder.
    (out / "results").mkdir(parents=True)
    (out / "results" / "linear_probe.json").write_text("{}")
    Record(model=ModelFacts(name="b"), data=DataFacts(manifest="d"), results=("linear_probe",)).write(
        out / "evaluation.json"
    )
    told = cli("evaluate", "evaluate/phantom.yaml", *words, "evaluation.measures.probes=null")
    assert told.code == 0, told.err
    assert not (out / "results" / "linear_probe.json").exists()
    results = json.loads((out / "results" / "zero_shot.json").read_text())
    assert {"schema", "recipe", "data", "metrics", "cases"} <= results.keys()
    assert (out / "results" / results["cases"]["path"]).is_file()
    assert "<html" in (out / "report.html").read_text()
    record = (out / "evaluation.json").read_text()
    assert json.loads(record)["data"]["manifest"] == results["data"]
    assert str(tmp_path) not in record
    assert str(tiny_cohort.root) not in record
    shown = {item["chosen"] for item in json.loads((out / "results" / "gallery.json").read_text())["gallery"]}
    assert shown == {"", "hit", "miss", "false_alarm", "unsure"}
    told = cli("report", out, "--out", tmp_path / "page.html")
    assert told.out == f"Open {tmp_path / 'page.html'}\n"
    assert "<html" in (tmp_path / "page.html").read_text()


def test_a_run_is_judged_on_its_own_test_patients(cli: Cli, tiny_run: Trained, tmp_path: Path) -> None:
    kept = tiny_run.run / "manifest.parquet"  # it says where the images lie
    words = [f"model={tiny_run.bundle}", f"out={tmp_path}", f"data.manifest={kept}"]
    words += ["evaluation.resamples=100", "evaluation.gallery=0", "evaluation.measures.probes=null"]
    gone = cli("evaluate", "evaluate/run.yaml", *words, f"data.root={tmp_path / 'gone'}").refused()
    assert gone.endswith(f"Images of {kept} lie in {tmp_path / 'gone'}, which is no folder: give data.root.")
    told = cli("evaluate", "evaluate/run.yaml", *words)
    assert told.code == 0, told.err
    page, results = tmp_path / "report.html", tmp_path / "results"
    assert told.out.splitlines()[-1] == f"Open {page}; the numbers are in {results}."
    assert page.is_file()
    assert len([*results.glob("*.json")]) > 1
    cases = pq.read_table(tmp_path / "results" / "predictions.parquet").to_pandas()
    manifest = Manifest.load(kept)
    test = np.array(manifest.column("id"))[np.array(manifest.column("split")) == "test"]
    assert set(cases["id"][cases["split"] == "test"]) == set(test)


def test_a_page_is_written_over_no_file_of_the_run_that_it_shows(
    cli: Cli, tmp_path: Path, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    run = tmp_path / "run"
    for name in ("config.yaml", "log.jsonl", "results/zero_shot.json", "bundle/card.md", "report.html"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    before = tree_hashes(run)
    for words in (("--out", run / "config.yaml"), ("--card", run / "bundle/card.md"), ("--sheet", run / "log.jsonl")):
        assert "is read by this command and would be written over" in cli("report", run, *words).refused()
    told = cli("report", run, "--sheet", tmp_path / "a.jpg").refused()
    assert told.endswith("a.jpg are written as PNG: give --sheet a file name that ends in .png.")
    assert tree_hashes(run) == before
    # An older page may: what stops this one is that there is nothing in the results.
    assert "is not a results file" in cli("report", run, "--out", run / "report.html").refused()


# the machine ---------------------------------------------------------------------------------------------------------


def test_doctor_shows_versions_decoders_and_a_private_cache(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDVLP_CACHE", str(tmp_path / "cache"))
    told = cli("doctor").out
    for word in ("medvlp", "python", "torch", "device", "precision", "JPEG", "cache is private        yes"):
        assert word in told
    for coding in ("JPEG", "JPEG, lossless", "JPEG-LS", "JPEG 2000", "JPEG 2000, high speed", "RLE"):
        assert f"{coding:24}is read" in told
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_doctor_plans_a_training_and_writes_nothing(cli: Cli, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    path = write_tree(tmp_path / "run.yaml", tree)
    found = json.loads(cli("doctor", "--plan", path, "training.device=cpu", "--gpus", 4, "--json").out)
    assert found["sizes"] == [2, 4, 8]
    assert [(each["processes"], each["samples"]) for each in found["shares"]] == [(1, 8), (2, 4), (4, 2)]
    memory = [each["memory"] for each in found["shares"]]
    assert memory[1] > memory[2] > 3 * found["gradients"]  # weights and both moments at least
    assert all(each["hours"] == pytest.approx(8 * each["seconds"] / 3600) for each in found["shares"])  # 8 steps
    assert not (tmp_path / "run").exists()
    assert "belong to --plan CONFIG" in cli("doctor", "--gpus", 2).refused()
    told = cli("doctor", "--plan", path, "--gpus", 3).refused()
    assert "training.batch 8 cannot be shared equally by 3 processes: give --gpus one that divides it" in told


def test_cache_clear_deletes_prepared_pixels_but_those_in_use(
    cli: Cli, tiny_cohort: CohortSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "own"
    monkeypatch.setenv("MEDVLP_CACHE", str(cache))
    prepared = open_split(index(tiny_cohort.root), "test", prefix=PREFIX, data=DataConfig(root="."), workers=0)
    size = sum(path.stat().st_size for path in cache.rglob("*.bin"))
    assert size == len(prepared) * 32 * 32
    told = cli("cache", "clear")
    assert told.code == 0
    assert f"Deleted 0.0 MB in {cache}. 0.0 MB are in use by a running process and stay." in told.out
    assert prepared.sample(0)
    del prepared
    assert cli("cache", "clear").out == f"Deleted 0.0 MB in {cache}.\n"
    assert not any(path.is_file() for path in cache.rglob("*.bin"))


def test_phantom_writes_a_hospital(cli: Cli, tmp_path: Path) -> None:
    told = cli("phantom", tmp_path / "h", "--patients", "2", "--image-size", "64", "--workers", "1")
    assert told.code == 0
    assert told.out.startswith(f"{tmp_path / 'h'}: 2 patients, ")
    assert len(index(tmp_path / "h")) > 0


@pytest.mark.slow
def test_the_quick_start_writes_a_page_and_a_second_one_goes_on_where_it_stopped(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "quick start: 1"
    words = [f"phases.{i}.until={until}" for i, until in enumerate((16, 48, 64))]
    words += ["training.batch=16", "training.validate_every=32", "evaluation.resamples=100"]
    words += ["model.vision.options.channels=[8, 8, 16, 16]", "model.text.width=16", "tokenizer.vocab_size=512"]
    words += ["evaluation.gallery=2", "evaluation.min_positives=1", "optimiser.warmup=16"]
    told = cli("quickstart", "--out", out, "--patients", "16", *words)
    assert told.code == 0, told.err
    assert [line[:3] for line in told.out.splitlines() if line[1:2] == "/"] == ["1/3", "2/3", "3/3"]
    assert told.out.splitlines()[-1] == f"Open {out / 'run' / 'report.html'}"
    page = (out / "run" / "report.html").read_text()
    assert "synthetic" in page.lower()
    log = (out / "run" / "log.jsonl").read_text()
    again = cli("quickstart", "--out", out, "--patients", "16", *words)
    assert again.code == 0, again.err
    assert (out / "run" / "log.jsonl").read_text() == log


@pytest.mark.slow
@pytest.mark.pool
def test_torchrun_trains_as_one_process_does(cli: Cli, tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    """GroupNorm and no dropout: losses and embeddings may differ by rounding only.

    Weights may differ more: where a gradient is nothing but rounding (a bias that attention cancels), AdamW's steps are
    its signs.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "medvlp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    losses, embeddings = {}, {}
    for name in ("one", "two"):
        tree = tiny_tree(tmp_path / name, tiny_cohort.root, tmp_path / "cache")
        tree["phases"][0]["until"] = 32
        tree["training"]["precision"] = (
            "float32"  # bfloat16, which a CPU with units for it takes, rounds at 1 part in 256
        )
        config = write_tree(tmp_path / f"{name}.yaml", tree)
        if name == "one":
            told = cli("train", config)
            code, out, err = told.code, told.out, told.err
        else:
            ran = subprocess.run([*launcher, "train", str(config)], env=environment, capture_output=True, text=True)
            code, out, err = ran.returncode, ran.stdout, ran.stderr
        assert code == 0, err
        assert [out.count(words) for words in ("Released ", "Judge it: ")] == [1, 1]
        losses[name] = [row["loss"] for row in read_journal(tmp_path / name / "log.jsonl") if row["kind"] == "train"]
        embeddings[name] = load(tmp_path / name / "bundle").embed_text(["left effusion", "no effusion", "clear lungs"])
    assert len(losses["one"]) == 4
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-4)
    np.testing.assert_allclose(embeddings["two"], embeddings["one"], atol=1e-4)
