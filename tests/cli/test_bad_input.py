"""What a user can get wrong is one sentence on standard error, exit 2, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import read_json
from medvlp.core.table import FeatureTable
from medvlp.data.layouts.phantom import index
from medvlp.data.text_table import read_table
from medvlp.evaluation.results import load_result
from medvlp.training.checkpoints import latest
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

Cli = Callable[..., Any]


@pytest.fixture
def config(tiny_cohort: CohortSummary, tmp_path: Path) -> Path:
    return write_tree(tmp_path / "c.yaml", tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache"))


@pytest.fixture
def finished(tiny_run: Trained, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may spoil."""
    return Path(shutil.copytree(tiny_run.run, tmp_path / "finished", symlinks=True))


def hospital_with_damage(cohort: CohortSummary, tmp_path: Path, split: str = "train") -> tuple[Path, str]:
    """Copy the hospital and cut one image of a split short; returns its root and the record's id."""
    root = Path(shutil.copytree(cohort.root, tmp_path / "hospital"))
    manifest = index(root)
    frontal = manifest.where({"split": split, "view_position": ["PA", "AP"]})
    record = frontal.record(0)
    path = root / str(record["image"])
    path.write_bytes(path.read_bytes()[:-5000])
    return root, str(record["id"])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("verb", ["predict", "embed", "slices", "evaluate", "suite", "adapt", "demo", "drift"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(
    verb: str, cli: Cli, tiny_run: Trained, tmp_path: Path
) -> None:
    if verb == "demo":
        pytest.importorskip("gradio")
    bundle, nowhere, out, film = tiny_run.bundle, tmp_path / "x", tmp_path / "out", tiny_run.manifest.path(0)
    words: dict[str, list[object]] = {
        "predict": ["predict", bundle, film],
        "embed": ["embed", bundle, tiny_run.run / "manifest.parquet", "--out", tmp_path / "e.parquet"],
        "slices": ["embed", bundle, tiny_run.run / "manifest.parquet", "--slices", out],
        "evaluate": ["evaluate", "evaluate/phantom.yaml", f"model={bundle}", f"out={out}", f"data.root={nowhere}"],
        "suite": ["evaluate", "evaluate/suites/cxr.yaml", f"model={bundle}", f"out={out}"],
        "adapt": ["adapt", "--images", nowhere, "--labels", nowhere, "--model", bundle, "--out", out],
        "demo": ["demo", bundle, "--port", 0],
        "drift": ["data", "drift", film, "--presets", "dicom_voi_v1", "mimic_jpg_v1", "--model", bundle],
    }
    told = cli(*words[verb], "--device", "cuda:77").refused()
    assert "device is 'cuda:77', but torch sees none: choose one of auto, " in told
    assert not list(out.glob("**/*.json"))


# configuration -------------------------------------------------------------------------------------------------------


def alpha(value: str) -> str:
    """Return an override with an objective that has a number which may be a ramp."""
    return f"phases.0.objectives=[{{name: lightclip, alpha: {value}}}]"


def later(words: str) -> str:
    """Return an override with a second phase that has these words."""
    return f"phases=[{{until: 8, objectives: [clip]}}, {{until: 16, objectives: [clip], {words}}}]"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trainning.batch=4"], "trainning is not a known key: did you mean 'training'?"),
        (["training.btach=4"], "training.btach is not a known key: did you mean 'batch'?"),
        (["phases.0.untill=4"], "phases[0].untill is not a known key: did you mean 'until'?"),
        (["training.batch=many"], "training.batch is 'many': input should be a valid integer"),
        (["training.batch=0"], "training.batch is 0: input should be greater than 0"),
        (["data.split={train: 1, tset: 0}"], "data.split.tset"),
        (["phases.0.until=true"], "phases[0].until is True: input should be a number, not true or false."),
        (["phases.0.objectives=[{name: clip, weight: {start: 0, end: 1, until: true}}]"], "'until': True}: give a"),
        (["answers.maccap={tries: true}"], "answers.maccap.tries is True: input should be a number"),
        (["evaluation.split=tset"], "evaluation.split is 'tset', of which is no record: did you mean 'test'?"),
        (["evaluation.fit=valdate"], "evaluation.fit is 'valdate', of which is no record: did you mean 'validate'?"),
        (["phases=[]"], "phases is []: list should have at least 1 item"),
        (["phases.0.objectives=[{name: clpi}]"], "no objectives component named 'clpi': did you mean 'clip'?"),
        (["phases.0.objectives=[{name: clip, positivs: own}]"], "positivs is not a known key: did you mean 'posi"),
        (["phases.0.objectives=[{name: clip, weight: heavy}]"], "weight is 'heavy': give a finite number or a ramp"),
        (["phases.0.objectives=[{name: clip, weight: -.inf}]"], "weight is -inf: give a finite number or a ramp"),
        (
            ["phases.0.objectives=[{name: clip, weight: {start: 0, end: .nan, until: 8}}]"],
            "weight is {'start': 0, 'end': nan, 'until': 8}: give a finite number or a ramp",
        ),
        (
            [
                "phases.0.objectives=[{name: classify, labels: [effusion], blank: 0}]",
                "phases.0.batch_views=[{name: mixup}]",
            ],
            "phases[0].batch_views: blank or uncertain of an objective fills what mixup leaves",
        ),
        (["phases.0.objectives=[{name: clip, as: a.b}]"], "objectives[0].as is 'a.b': use letters"),
        (["phases.0.objectives=[{name: clip, as: train}]"], "torch's modules have a 'train' of their own: give anoth"),
        (["phases.0.objectives=[{name: clip}, {name: clip}]"], "has two objectives named 'clip': give one"),
        (["phases.0.trainable=[model.tower.*]"], "'model.tower.*', which matches no parameter"),
        ([f"tokenizer.max_length={10**8}"], "tokenizer.max_length is 100000000: input should be less than or equal to"),
        ([f"model.embed_dim={10**12}"], "No memory is left, or none that a limit allows"),
        # A number or a ramp: one sentence, of the one that was written.
        ([alpha("{start: 0, end: 0.5, begin: 9, until: 8}")], "alpha: a ramp that begins at 9 samples cannot have arr"),
        ([alpha("{start: 0, end: 0.5}")], "medvlp: phases[0].objectives[0].alpha.until is missing: give it a value."),
        ([alpha("[1]")], "medvlp: phases[0].objectives[0].alpha is [1]: input should be a valid number."),
        # Of a later phase too: when it begins the one before it is trained, and another recipe cannot go on with that.
        ([later("trainable: [model.tower.*]")], "phases[1].trainable has 'model.tower.*', which matches no parameter"),
        ([later("trainable: []")], "No parameter is trainable in this phase: widen phases[].trainable"),
        ([later("optimiser: {rates: {model.tower.*: 0.1}}")], "phases[1].optimiser.rates has 'model.tower.*', which"),
        (["phases.0.refresh=[{state: clusters, every: 8}]"], "phases[0].refresh[0].state is 'clusters'"),
        (["model.name=daul"], "no models/architectures component named 'daul': did you mean 'dual'?"),
        (["model.vision.architecture=resnet1000"], "timm has no architecture 'resnet1000'"),
        (["data.prefix.0.sise=32"], "sise is not a known key: did you mean 'size'?"),
        (["data.layout=phantm"], "no data/layouts component named 'phantm': did you mean 'phantom'?"),
        (["evaluation.choose=zero_shot/auc"], "'zero_shot' is measured by no 'auc' while training: did you mean"),
        (["evaluation.choose=auroc"], "evaluation.choose is 'auroc': string should match pattern"),
        (["answers.zero_shot.prompts=zero_shot/none.yaml"], "no configs file 'zero_shot/none.yaml': did you mean"),
        (["training.device=cuda"], "training.device is 'cuda', but torch sees none: choose one of auto, cpu"),
        (["optimiser.rate=.inf"], "optimiser.rate is inf: input should be a finite number"),
        (["training.batch=[1"], "Override 'training.batch=[1': the value is not YAML"),
        (["training.batch"], "Override 'training.batch' is not of the form key.path=value"),
        (["phases.3.until=1"], "the list has 1 items, numbered from 0; '3' is not one"),
        (["init_from=/nowhere"], "/nowhere is not a bundle (it has no MANIFEST.sha256)"),
        (["tokenizer.name=transformers"], "tokenizer.path is missing: give the folder or name"),
    ],
)  # fmt: skip
def test_a_faulty_configuration_names_the_key_and_the_mending(
    cli: Cli, config: Path, words: list[str], sentence: str
) -> None:
    import torch

    if "training.device=cuda" in words and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    told = cli("train", config, *words).refused()
    assert sentence in told
    assert not (config.parent / "run" / "checkpoints").exists()


def test_several_faults_are_told_at_once_with_their_paths(cli: Cli, config: Path) -> None:
    words = ["seed=-1", "training.batch=x", "phases.0.until=0", "dta={}", "optimiser.rate=fast"]
    told = cli("train", config, *words).refused()
    for path in (
        "seed is -1",
        "training.batch is 'x'",
        "phases[0].until is 0",
        "dta is not a known",
        "optimiser.rate is",
    ):
        assert path in told


def test_several_faults_of_components_are_told_at_once_and_before_anything_is_read(cli: Cli, config: Path) -> None:
    words = ["data.prefix.0.sise=3", "model.vision.architectur=x", "states.old={name: frozn}", "model.embed_dim=0"]
    words += ["phases.0.objectives=[{name: clip, reading: all}]", "phases.0.patches=[{name: lore}]"]
    told = cli("train", config, *words, "data.root=/nowhere").refused()
    paths = ("data.prefix[0].sise is", "model.vision.architectur is", "named 'frozn'", "model.embed_dim is 0")
    for path in (*paths, "phases[0].objectives[0].reading is 'all'", "named 'lore'"):
        assert path in told, path
    assert cli("train", config, *words, "--dry-run").refused() == told


def test_the_quick_start_refuses_before_it_makes_a_hospital(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "a: b"
    told = cli("quickstart", "--out", out, "model.vision.architectur=resnet10t").refused()
    assert "model.vision.architectur is not a known key: did you mean 'architecture'?" in told
    assert not out.exists()
    # 0 is no number that is left out, for which 900 would stand.
    assert cli("quickstart", "--out", out, "--patients", 0).code == 2
    assert not out.exists()


def test_a_part_of_a_tree_in_the_wrong_place_does_not_bury_the_sentence(cli: Cli, config: Path) -> None:
    tree = yaml.safe_dump(yaml.safe_load(config.read_text())["model"], default_flow_style=True, width=10**6)
    # The model of a training is a tree, that of an evaluation a folder.
    told = cli("evaluate", "evaluate/phantom.yaml", f"model={tree}").refused()
    assert "model is {" in told
    assert " ...: input should be a valid string." in told
    assert len(told) < 2000


def test_a_dry_run_refuses_the_place_that_the_run_would(cli: Cli, config: Path) -> None:
    for place in (config, config / "inside"):
        told = cli("train", config, f"run={place}", "--dry-run").refused()
        assert f"{place} cannot be written (" in told
        assert "choose a folder you may write to" in told


@pytest.mark.parametrize(
    ("command", "config", "sentence"),
    [
        ("train", "evaluate/phantom.yaml", "this is the configuration of an evaluation: use `medvlp evaluate`."),
        ("train", "sweep/growclip.yaml", "this is the configuration of a sweep: use `medvlp sweep`."),
        ("train", "evaluate/suites/cxr.yaml", "this is the configuration of a suite: use `medvlp evaluate`."),
        ("sweep", "pretrain/csv.yaml", "this is the configuration of a training: use `medvlp train`."),
        ("evaluate", "pretrain/csv.yaml", "this is the configuration of a training: use `medvlp train`."),
    ],
)
def test_a_configuration_of_another_command_is_one_sentence(cli: Cli, command: str, config: str, sentence: str) -> None:
    assert cli(command, config).refused() == f"medvlp: {config}: {sentence}"


def test_a_missing_configuration_has_the_nearest_name(cli: Cli, tmp_path: Path) -> None:
    assert "did you mean 'pretrain/phantom_clip.yaml'?" in cli("train", "pretrain/phantom_clp.yaml").refused()
    assert "Name a configuration" in cli("train").refused()
    assert "is not a run folder (it has no config.yaml)" in cli("train", "--resume", tmp_path / "none").refused()


# data ----------------------------------------------------------------------------------------------------------------


def test_missing_data_are_named(cli: Cli, config: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in cli("train", config, f"data.root={tmp_path / 'gone'}").refused()
    told = cli("train", config, f"data.manifest={tmp_path / 'm.parquet'}").refused()
    assert f"The manifest {tmp_path / 'm.parquet'} does not exist: make it with `medvlp data index`" in told
    told = cli("train", config, f"data.root={tmp_path}", "data.layout={name: csv, table: t.csv, columns: {text: a}}")
    assert f"The table {tmp_path / 't.csv'} does not exist" in told.refused()


def test_an_empty_cohort_is_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,text,id.patient\n")
    told = cli("train", config, f"data.manifest={tmp_path / 'm.csv'}", "data.where={}").refused()
    assert "has no rows: export the table again" in told
    told = cli("train", config, "data.where={view_position: [LL]}").refused()
    assert "has no record left where view_position is ['LL']: the column holds" in told


def test_an_unreadable_image_is_left_out_and_listed(
    cli: Cli, config: Path, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    root, record = hospital_with_damage(tiny_cohort, tmp_path)
    run = tmp_path / "run"
    assert cli("train", config, f"data.root={root}", "data.quarantine=0.2", "phases.0.until=8").code == 0
    listed = json.loads((run / "data.json").read_text())["quarantined"]
    assert [(entry["split"], entry["id"]) for entry in listed] == [("train", record)]
    assert listed[0]["reason"] in ("truncated", "length_mismatch", "corrupt")
    assert listed[0]["hint"]


def test_too_many_unreadable_images_stop_the_run_before_it_begins(
    cli: Cli, config: Path, tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    root, record = hospital_with_damage(tiny_cohort, tmp_path)
    told = cli("train", config, f"data.root={root}", "data.quarantine=0").refused()
    assert record in told
    assert "cannot be read" in told
    assert not (tmp_path / "run").exists()


def manifest_of(path: Path, rows: list[tuple[str, ...]], header: str) -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def test_an_objective_that_needs_what_the_data_lack_is_refused_by_name(cli: Cli, config: Path, tmp_path: Path) -> None:
    rows = [(f"s{i}", f"no effusion {i}", f"p{i}", "train") for i in range(4)]
    table = manifest_of(tmp_path / "m.csv", rows, "id,text,id.patient,split")
    words = ["train", config, f"data.manifest={table}", "data.where={}", "data.prefix=[]", "data.suffix=[]"]
    assert "phases[0]: objective 'clip' needs the field 'image', which the data lacks" in cli(*words).refused()
    told = cli(*words, "phases.0.objectives=[{name: clip, image: text, positives: same_study}]").refused()
    assert "objective 'clip' needs the field 'id.study', which the data lacks: allowed are id.patient" in told
    told = cli(*words, "phases.0.objectives=[{name: hard_negatives, image: text}]").refused()
    assert "objective 'hard_negatives' needs the field 'text.negative', which the data lacks" in told
    # A field that a view makes is there, though no manifest has it.
    words[-1] = "data.suffix=[{name: other_side}]"
    ran = cli(*words, "phases.0.objectives=[{name: hard_negatives, image: text}]", "--dry-run")
    assert (ran.code, ran.err.count("data lacks")) == (0, 0), ran.err


def test_a_teacher_or_bank_that_is_not_there_is_refused_by_name(cli: Cli, config: Path) -> None:
    distill = "phases.0.objectives=[{name: distill, teacher: old, bank: words}]"
    told = cli("train", config, distill).refused()
    assert "of a teacher 'old', which is not under states" in told
    told = cli("train", config, distill, "states.old={name: frozen}").refused()
    assert "asks for the bank 'words'" in told
    told = cli("train", config, distill, "states.old={name: frozen, bundle: /nowhere}").refused()
    assert "/nowhere is not a bundle" in told
    assert not (config.parent / "run" / "checkpoints").exists()


def test_a_split_that_leaks_is_refused_and_data_check_exits_3(cli: Cli, config: Path, tmp_path: Path) -> None:
    rows = [(f"s{i}", f"words {i}", f"p{i // 2}", ("train", "test")[i % 2]) for i in range(4)]
    table = manifest_of(tmp_path / "m.csv", rows, "id,text,id.patient,split")
    told = cli("train", config, f"data.manifest={table}", "data.where={}").refused()
    assert "The split leaks" in told
    assert "patient" in told
    assert "split by patient, or" in told
    found = cli("data", "check", table, "--json")
    assert found.code == 3
    assert json.loads(found.out)[0] == {"kind": "patient", "a": "s0", "b": "s1", "split_a": "train", "split_b": "test"}
    assert cli("data", "check", table).out.splitlines()[-1].startswith("2 leaks in ")


def test_a_cohort_without_training_records_is_refused(cli: Cli, config: Path, tmp_path: Path) -> None:
    rows = [(f"s{i}", f"words {i}", f"p{i}", "test") for i in range(4)]
    table = manifest_of(tmp_path / "m.csv", rows, "id,text,id.patient,split")
    told = cli("train", config, f"data.manifest={table}", "data.where={}").refused()
    assert "No record is in the split 'train' (there: test)" in told


def test_embed_names_the_records_that_it_leaves_out(
    cli: Cli, tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path
) -> None:
    root, record = hospital_with_damage(tiny_cohort, tmp_path)
    index(root).save(tmp_path / "m.parquet")
    told = cli("embed", tiny_run.bundle, tmp_path / "m.parquet", "--out", tmp_path / "t.parquet", "--workers", "1")
    assert told.code == 0
    assert told.out.endswith(f"Left out, because they cannot be read, 1: {record}.\n")
    table = FeatureTable.load(tmp_path / "t.parquet")
    assert len(table) == tiny_cohort.images - 1
    assert record not in table.ids


# runs, checkpoints, bundles ------------------------------------------------------------------------------------------


def test_a_run_folder_of_another_recipe_is_refused_and_stays_as_it_was(
    cli: Cli, finished: Path, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    before = tree_hashes(finished)
    told = cli("train", "--resume", finished, "optimiser.rate=0.1").refused()
    assert f"{finished} holds a run of another configuration" in told
    told = cli("train", "--resume", finished, "model.embed_dim=4", "tokenizer.vocab_size=300").refused()
    assert "choose another run folder, or resume with the config.yaml" in told
    assert tree_hashes(finished) == before


def test_a_run_whose_data_changed_is_refused_and_stays_as_it_was(
    cli: Cli, finished: Path, tiny_cohort: CohortSummary, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    before = tree_hashes(finished)
    config = (finished / "config.yaml").read_text()
    other = Path(shutil.copytree(tiny_cohort.root, finished.parent / "other"))
    reports = other / "reports.csv"
    lines = reports.read_text().splitlines(keepends=True)
    reports.write_text("".join(line.replace("lungs", "LUNGS") for line in lines))
    told = cli("train", "--resume", finished, f"data.root={other}").refused()
    assert "holds a run of another configuration" in told  # another root is another recipe
    assert (finished / "config.yaml").read_text() == config
    assert tree_hashes(finished) == before


@pytest.mark.parametrize("name", ["weights.safetensors", "trainer.json", "MANIFEST.json"])
def test_a_damaged_checkpoint_is_refused(cli: Cli, finished: Path, name: str) -> None:
    flip(latest(finished) / name)
    told = cli("train", "--resume", finished).refused()
    assert str(latest(finished)) in told


@pytest.mark.parametrize("name", ["model.safetensors", "bundle.yaml", "tokenizer/tokenizer.json", "card.md"])
def test_a_bundle_with_a_flipped_byte_is_refused(cli: Cli, finished: Path, name: str) -> None:
    flip(finished / "bundle" / name)
    told = cli("predict", finished / "bundle", "x.dcm").refused()
    assert f"{finished / 'bundle' / name} is damaged or was changed since it was released" in told


def test_a_bundle_whose_list_of_files_is_no_text_is_refused(cli: Cli, finished: Path) -> None:
    listed = finished / "bundle" / "MANIFEST.sha256"
    listed.write_bytes(b"\x89PNG\xff\xfe")
    told = cli("predict", finished / "bundle", "x.dcm").refused()
    assert str(finished / "bundle") in told
    assert told.endswith(": get the bundle again.")


def test_a_bundle_or_image_that_is_not_there_or_none_is_refused(
    cli: Cli, tiny_run: Trained, tmp_path: Path, config: Path
) -> None:
    assert "is not a bundle (it has no MANIFEST.sha256)" in cli("predict", tmp_path / "none", "x.dcm").refused()
    assert "is not a bundle" in cli("predict", config, "x.dcm").refused()
    assert "cannot be read (not_found)" in cli("predict", tiny_run.bundle, tmp_path / "x.dcm").refused()
    told = cli("predict", tiny_run.bundle, config).refused()
    assert f"{config} cannot be read (not_an_image)" in told
    told = cli("predict", tiny_run.bundle, config, "--recipe", "few_shot").refused()
    assert "There is no recipe 'few_shot'" in told
    assert told.count(" zero_shot") == 1
    assert "is not a bundle" in cli("embed", tmp_path, config, "--out", tmp_path / "t.parquet").refused()


def test_the_explorer_refuses_what_only_the_reading_room_does(cli: Cli, tmp_path: Path) -> None:
    told = cli("demo", "--explorer", tmp_path, "--audit", tmp_path / "log").refused()
    assert "--audit is of the reading room, and the explorer has none" in told
    for option, value in (("--device", "cuda"), ("--backend", "openvino")):
        assert f"{option} is of the reading room" in cli("demo", "--explorer", tmp_path, option, value).refused()
    told = cli("demo", "--dicomweb-auth", tmp_path / "a").refused()
    assert told == "medvlp: --dicomweb-auth is for an archive: add --dicomweb URL, or leave it out."
    assert "add --explorer RUNS" in cli("demo", "--root", tmp_path).refused()


def test_a_checkpoint_that_is_not_there_is_no_name_on_a_hub(cli: Cli, tmp_path: Path) -> None:
    for source in (tmp_path / "a.pth", "weights/a.pth"):
        told = cli("convert", source, "--from", "timm", "--out", tmp_path / "b", "architecture=resnet10t").refused()
        assert told == f"medvlp: {source} does not exist: check the path."


def test_an_evaluation_with_a_fault_is_refused(cli: Cli, tmp_path: Path) -> None:
    told = cli("evaluate", "evaluate/phantom.yaml", "evaluation.resample=10", "workers=none").refused()
    assert "evaluation.resample is not a known key: did you mean 'resamples'?" in told
    assert "workers is 'none'" in told
    told = cli("evaluate", "evaluate/phantom.yaml", "--jobs", "2").refused()
    assert told.endswith("--jobs is of a suite, and evaluate/phantom.yaml is one evaluation: leave it out.")
    told = cli("evaluate", "evaluate/phantom.yaml", f"model={tmp_path}").refused()
    assert "is not a bundle" in told


# several processes ---------------------------------------------------------------------------------------------------


def train_in_this_process(config: str, *words: str) -> str:
    """As one rank of a group; the sentence of a refusal."""
    from medvlp.config.tree import load_config
    from medvlp.runs.train import train

    try:
        train(load_config(config, words))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.pool
def test_a_batch_that_processes_cannot_share_is_refused_by_all(pool: Any, config: Path) -> None:
    for told in pool.run(2, train_in_this_process, str(config), "training.batch=7"):
        assert told == "training.batch 7 cannot be shared equally by 2 processes: choose a multiple."


# a full disk ---------------------------------------------------------------------------------------------------------

_FULL = """
mount -t tmpfs -o size=1000k tmpfs {small} || exit 77
{python} -m medvlp train {config} run={small}/run > {out}/stdout 2> {out}/stderr
echo $? > {out}/code
cp -a {small}/run {out}/run
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    cli: Cli, config: Path, tiny_run: Trained, tmp_path: Path
) -> None:
    small, out = tmp_path / "small", tmp_path / "out"
    small.mkdir()
    out.mkdir()
    script = _FULL.format(small=small, out=out, python=sys.executable, config=config)
    # A file system of our own that really is full; it is gone with its mount namespace.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not at hand to make a small file system")
    ran = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, check=False, capture_output=True)
    if not (out / "code").exists():
        pytest.skip(f"no file system can be mounted here: {ran.stderr.decode().strip()}")
    told = (out / "stderr").read_text().splitlines()
    assert (out / "code").read_text().strip() == "2", told
    assert len(told) == 1, told
    assert told[0].startswith("medvlp: The disk is full: ")
    assert "nothing that was complete is lost, make room and start the same command again" in told[0]
    assert latest(out / "run") is not None
    assert not list((out / "run" / "checkpoints").glob(".*.part"))
    assert cli("train", config, f"run={out / 'run'}").code == 0
    names = ("weights.safetensors", "optimiser.safetensors", "states.safetensors")
    last, expected = latest(out / "run"), latest(tiny_run.run)
    assert all((last / name).read_bytes() == (expected / name).read_bytes() for name in names)


def test_a_working_folder_that_was_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    words = [sys.executable, "-P", "-m", "medvlp", "components", "objectives"]
    gone = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(tmp_path / "gone"), *words]
    ran = subprocess.run(gone, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "medvlp: The working folder was removed: change to one that is there and start again.\n"


def test_a_limit_of_memory_is_one_sentence(tmp_path: Path) -> None:
    with open(tmp_path / "reports.csv", "wb") as file:
        file.truncate(1 << 33)  # a hole on the disk
    words = ["-m", "medvlp", "data", "label", "reports.csv", "--vocabulary", "nih14", "--out", "labels.csv"]
    limited = ["sh", "-c", 'ulimit -v 4000000 && exec "$@"', "", sys.executable, *words]
    ran = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("medvlp: No memory is left, or none that a limit allows (ulimit -v): ")
    assert ran.stderr.count("\n") == 1


def test_a_device_without_an_end_and_a_pipe_without_a_writer_are_no_tables_and_no_results(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (read_table, load_result, read_json):
        for place in (Path("/dev/null"), tmp_path / "pipe"):
            with pytest.raises(DataError, match=rf"{place} is no plain file: name a"):
                read(place)
