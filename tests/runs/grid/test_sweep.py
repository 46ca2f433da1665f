"""A sweep is laid out, and its mistakes told, before anything runs."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.files import write_json, write_text
from medvlp.core.provenance import hash_of
from medvlp.data.manifest import Manifest
from medvlp.evaluation.cells import Difference, Limits, Measure, Reading, RunState, Table, TableRow
from medvlp.runs.grid import jobs
from medvlp.runs.grid.jobs import _Pool, run_state
from medvlp.runs.grid.plan import Plan
from medvlp.runs.grid.sweep import changes_of, load_sweep
from medvlp.runs.grid.table import _made, sweep
from medvlp.training.journal import LOG
from tests.messages import messages
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = [{"label": "usual"}, {"label": 0.01, "overrides": {"optimiser.rate": 0.01}}]
LOSS = [
    {"label": "clip"},
    {"label": "smooth", "overrides": {"phases.0.objectives.0": {"name": "clip", "label_smoothing": 0.1}}},
]

SIGLIP = [{"until": 64, "objectives": [{"name": "siglip"}]}]


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Plan]:
    """Lay a sweep out: ``lay(words, key=value)``; the hospital is not looked at."""
    write_tree(tmp_path / "base.yaml", tiny_tree(tmp_path / "none", tmp_path / "hospital", tmp_path / "cache"))

    def made(*words: str, **keys: Any) -> Plan:
        tree = {"base": "base.yaml", "axes": {"rate": RATE, "loss": LOSS}, "seeds": [0, 3], **keys}
        return load_sweep(write_tree(tmp_path / "s.yaml", tree), words, out=tmp_path / "out")

    return made


def test_a_cell_is_a_choice_on_every_axis_and_a_run_a_cell_with_a_seed(lay: Callable[..., Plan]) -> None:
    plan = lay()
    names = ["rate=usual, loss=clip", "rate=usual, loss=smooth", "rate=0.01, loss=clip", "rate=0.01, loss=smooth"]
    assert [cell.name for cell in plan.cells] == names
    assert [run.seed for run in plan.runs] == [0, 3] * 4
    last = plan.runs[-1].training
    assert (last.seed, last.optimiser.rate, last.optimiser.warmup) == (3, 0.01, 16)
    assert last.phases[0].objectives == [{"name": "clip", "label_smoothing": 0.1}]
    assert last.run == str(plan.cells[-1].folder / "seed-3")
    assert plan.cells[-1].folder.name.startswith("0.01+smooth-")
    assert len({run.folder for run in plan.runs}) == len({run.identity for run in plan.runs}) == 8


def test_a_split_that_the_manifest_does_not_name_is_told_before_anything_runs(
    lay: Callable[..., Plan], tmp_path: Path
) -> None:
    columns = {"id": list("ab"), "text": ["x"] * 2, "split": ["train", "test"]}
    Manifest.of(columns, root=tmp_path).save(tmp_path / "m.parquet")
    data = {"data.manifest": str(tmp_path / "m.parquet"), "data.layout": None}
    assert len(lay(overrides=data, report=[{"split": "test"}]).cells) == 4
    with pytest.raises(ConfigError, match=r"every cell: .* where split is 'tset': the column holds test, train\."):
        lay(overrides=data, report=[{}, {"split": "tset"}])


def test_only_keeps_and_skip_leaves_out_pairs(lay: Callable[..., Plan]) -> None:
    kept = lay(only=[{"rate": "usual"}, {"rate": 0.01, "loss": ["clip"]}])
    assert [cell.name for cell in kept.cells][2:] == ["rate=0.01, loss=clip"]
    left = lay(skip=[{"rate": 0.01, "loss": "smooth"}])
    assert [cell.name for cell in left.cells] == [cell.name for cell in kept.cells]


def test_words_are_the_sweeps_or_every_runs_and_axes_come_last(lay: Callable[..., Plan]) -> None:
    plan = lay("seeds=[7]", "optimiser.rate=0.5", "training.batch=4", overrides={"training.batch": 2})
    assert [run.seed for run in plan.runs] == [7] * 4
    assert {run.training.training.batch for run in plan.runs} == {4}
    assert [run.training.optimiser.rate for run in plan.runs] == [0.5, 0.5, 0.01, 0.01]


def test_the_seeds_do_not_move_a_cell_and_what_is_learned_does(lay: Callable[..., Plan]) -> None:
    folders = [cell.folder for cell in lay().cells]
    assert [cell.folder for cell in lay(seeds=[9, 0]).cells] == folders
    assert [cell.folder for cell in lay("training.workers=2", "evaluation.resamples=300").cells] == folders
    for word in ("training.batch=4", "evaluation.choose=retrieval/recall@5", "optimiser.warmup=8"):
        assert not {cell.folder for cell in lay(word).cells} & set(folders), word


def test_a_value_may_be_a_configuration_in_place_of_the_base(lay: Callable[..., Plan], tmp_path: Path) -> None:
    write_tree(tmp_path / "siglip.yaml", {"base": "base.yaml", "phases": SIGLIP})
    method = [{"label": "clip"}, {"label": "siglip", "config": "siglip.yaml", "overrides": {"training.batch": 4}}]
    plan = lay("optimiser.warmup=8", axes={"method": method, "rate": RATE}, overrides={"training.workers": 1})
    assert [run.training.phases[0].objectives[0]["name"] for run in plan.runs] == ["clip"] * 4 + ["siglip"] * 4
    assert [run.training.training.batch for run in plan.runs] == [8] * 4 + [4] * 4
    assert {(run.training.optimiser.warmup, run.training.training.workers) for run in plan.runs} == {(8, 1)}
    with pytest.raises(ConfigError, match="axes method and other both name configurations"):
        lay(axes={"method": method, "other": [{"label": "x", "config": "siglip.yaml"}]})


def test_the_page_names_a_values_configuration_and_what_its_paper_claims_beside_what_was_seen(
    lay: Callable[..., Plan], tmp_path: Path
) -> None:
    """Of each value that was a configuration it said "as the base says"."""
    head = "# SigLIP: each pair by itself.\n# Claims: 84.5 %\n# on ImageNet.\n# Mind: the bias.\n"
    path = write_tree(tmp_path / "siglip.yaml", {"base": "base.yaml", "phases": SIGLIP})
    path.write_text(head + path.read_text())
    method = [{"label": "clip"}, {"label": "siglip", "config": "siglip.yaml", "overrides": {"training.batch": 4}}]
    plan = lay(axes={"method": method}, reference={"method": "clip"})
    none, patients = Limits(method="student_t_over_seeds"), Limits(method="patient_bootstrap_percentile")
    apart = Difference(value=0.0123, seeds=(0,), over_seeds=none, over_patients=patients, p=None)
    empty = {"values": {}, "mean": None, "sd": None, "over_seeds": none, "over_patients": patients}
    empty |= {"n": None, "positives": None, "patients": None}
    rows = tuple(
        TableRow(
            name=cell.name, labels=cell.labels, identity="", runs=(), readings=(Reading(**empty, difference=each),)
        )
        for cell, each in zip(plan.cells, (None, apart), strict=True)
    )
    facts = {"title": "", "reference": plan.reference, "level": 0.95, "resamples": 100, "comparisons": 0}
    table = Table(**facts, measures=(Measure(),), rows=rows, synthetic=False, caveats=())
    assert _made(plan, table, tmp_path)["method"] == {
        "clip": "as the base says",
        "siglip": "siglip.yaml, training.batch=4; claimed: 84.5 % on ImageNet; "
        "seen: zero_shot auroc macro (test) +0.012 to method=clip",
    }


def test_a_text_that_the_configuration_only_names_is_part_of_the_cell(lay: Callable[..., Plan], tmp_path: Path) -> None:
    bank = tmp_path / "bank.txt"
    word = f"banks={{phrases: {{file: {bank}}}}}"
    write_text(bank, "effusion\n")
    before = lay(word).cells[0].folder
    assert lay(word).cells[0].folder == before
    write_text(bank, "no effusion\n")
    assert lay(word).cells[0].folder != before


def test_a_file_of_prompts_that_models_are_judged_by_is_part_of_their_evaluation_and_not_of_their_training(
    lay: Callable[..., Plan], tmp_path: Path
) -> None:
    recipe = tmp_path / "r.yaml"
    word = f"evaluation.measures={{recipes: {{recipes: [{recipe}]}}}}"
    write_text(recipe, "name: r\n")
    before, again = lay(word).runs[0], lay(word).runs[0]
    write_text(recipe, "name: s\n")
    now = lay(word).runs[0]
    assert before.evaluations["test"].identity == again.evaluations["test"].identity
    assert before.evaluations["test"].identity != now.evaluations["test"].identity
    assert (before.identity, before.folder) == (now.identity, now.folder)


def test_what_changed_in_a_cell_is_named(lay: Callable[..., Plan]) -> None:
    old = lay().cells[0]
    old.runs[0].folder.mkdir(parents=True)
    write_tree(old.runs[0].folder / "config.yaml", old.runs[0].training.model_dump(mode="json"))
    now = lay("training.batch=4", "optimiser.warmup=8").cells[0]
    ((folder, changes),) = changes_of(now)
    assert folder == old.folder
    assert "training.batch: 8 -> 4" in changes
    assert "optimiser.warmup: 16 -> 8" in changes
    assert changes_of(lay().cells[0]) == []


def test_a_state_that_was_stored_before_suites_and_sweeps_were_one_is_read(lay: Callable[..., Plan]) -> None:
    run = lay(report=[{}, {"split": "validate"}]).runs[0]
    assert [each.results for each in run.evaluations.values()] == [
        run.folder / "results",
        run.folder / "splits" / "validate" / "results",
    ]
    options = run.training.evaluation
    judged = {
        split: hash_of([run.identity, options.model_copy(update={"split": split}).model_dump(mode="json")])
        for split in ("test", "validate")
    }
    for each in run.evaluations.values():
        each.results.mkdir(parents=True)
    stored = {"failed": "", "trained": run.identity, "evaluated": judged, "code": "c", "seconds": 12.5}
    write_json(run.folder / "sweep.json", stored)
    assert run_state(run) == RunState("finished", seconds=12.5, code="c")
    write_json(run.folder / "sweep.json", {**stored, "evaluated": {"test": judged["test"]}, "failed": "No memory."})
    assert run_state(run) == RunState("failed", "No memory.", 12.5, "c")
    write_json(run.folder / "sweep.json", {**stored, "trained": "otherwise"})
    assert run_state(run).state == "begun"


def test_a_split_that_is_named_first_now_is_judged_again_into_the_runs_own_folder(
    lay: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []

    def judged_into(config: Any, *, page: bool) -> SimpleNamespace:
        judged.append(config.evaluation.split)
        write_text(Path(config.out) / "results" / "of.txt", config.evaluation.split)
        return SimpleNamespace(found={"zero_shot": SimpleNamespace(data="d")})

    monkeypatch.setattr(jobs, "evaluate", judged_into)
    test, validate = {"split": "test"}, {"split": "validate"}
    first = lay(report=[test]).runs[0]
    write_json(first.state, {"trained": first.identity})
    for report, expected in (
        ([test], ["test"]),
        ([test, validate], ["validate"]),
        ([validate, test], ["validate", "test"]),
        ([validate, test], []),
        ([test], ["test"]),
    ):
        run = lay(report=report).runs[0]
        judged.clear()
        jobs._train_and_evaluate(run)
        assert judged == expected
        assert run_state(run).state == "finished"
        assert {split: (each.results / "of.txt").read_text() for split, each in run.evaluations.items()} == {
            each["split"]: each["split"] for each in report
        }


def _killed() -> Any:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600.0,))
    process.start()
    process.kill()
    process.join()
    return process


def test_the_time_of_a_process_that_was_killed_counts(lay: Callable[..., Plan]) -> None:
    run = lay().runs[0]
    write_json(run.state, {"failed": "", "seconds": 30.0})
    _Pool([run], 1)._end(_killed(), run, 12.5)
    found = run_state(run)
    assert (found.state, found.seconds) == ("failed", 42.5)
    assert found.reason == "Its process ended with SIGKILL, probably for want of memory."


def test_the_time_of_a_process_that_was_told_to_stop_counts(lay: Callable[..., Plan]) -> None:
    run = lay().runs[0]
    write_json(run.state, {"failed": "of before", "seconds": 30.0})
    pool = _Pool([run], 1)
    pool.working[_killed()] = (run, time.monotonic() - 3600)
    pool._stop()
    found = run_state(run)
    assert (found.state, found.reason) == ("begun", "")
    assert 3630 <= found.seconds < 3690


@pytest.mark.parametrize(
    ("before", "trained", "here", "left"),
    [
        (0, [7200], 9000, "17 h 30 min"),  # two hours and half an hour beside them, seven times
        (0.5, [3600, 3600], 5400, "17 h 30 min"),  # only half of it was trained now: the log has the other hour
        (1, [7200], 60, "14 h 7 min"),  # only judged now, in a minute: the log has the two hours
        (1, [3600, 3600], 60, "14 h 7 min"),
        (1 / 2, [7200], 3, "14 h 0 min"),  # it broke before it trained: the hours of the log are of before
    ],
)
def test_the_time_left_is_that_of_whole_runs_whatever_of_a_run_was_done_before(
    lay: Callable[..., Plan], before: float, trained: list[int], here: float, left: str
) -> None:
    runs = lay().runs
    until = runs[0].training.phases[-1].until
    rows = [
        {"samples_seen": round(until * (start + part) / len(trained)), "seconds": seconds * part}
        for start, seconds in enumerate(trained)
        for part in (0.5, 1.0)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    write_text(runs[0].folder / LOG, "".join(lines[: round(before * len(lines))]))
    pool = _Pool(runs, 1)
    write_text(runs[0].folder / LOG, "".join(lines))
    with messages() as told:
        pool._end(_killed(), runs[0], here)
    assert told[-1].endswith(f"; about {left} left")


def test_what_a_run_at_work_has_trained_is_not_ahead(lay: Callable[..., Plan]) -> None:
    """Two hours of training and half an hour beside it, seven times less the one hour that the second run has done."""
    runs = lay().runs
    until = runs[0].training.phases[-1].until
    pool = _Pool(runs, 2)
    for run, share in zip(runs[:2], (1.0, 0.5), strict=True):
        row = {"samples_seen": round(share * until), "seconds": 7200 * share}
        write_text(run.folder / LOG, json.dumps(row) + "\n")
    pool.working[_killed()] = (runs[1], time.monotonic())
    with messages() as told:
        pool._end(_killed(), runs[0], 9000.0)
    assert told[-1].endswith("; about 8 h 15 min left")  # by two jobs


def test_runs_that_are_only_judged_are_measured_by_one_that_was(lay: Callable[..., Plan]) -> None:
    runs = lay().runs
    for run in runs:
        row = {"samples_seen": run.training.phases[-1].until, "seconds": 7200}
        write_text(run.folder / LOG, json.dumps(row) + "\n")
    pool = _Pool(runs, 1)
    with messages() as told:
        pool._end(_killed(), runs[0], 60.0)
    assert told[-1].endswith("; about 7 min 0 s left")


SAME = [{"label": "a"}, {"label": "a", "overrides": {"optimiser.rate": 0.1}}]
TWINS = [{"label": "a"}, {"label": "b"}]
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("no axis", {"axes": {}}, r"s\.yaml: axes is \{\}: dictionary should have at least 1 item"),
    ("unknown key", {"axis": {}}, r"axis is not a known key: did you mean 'axes'\?"),
    (
        "unknown key of a value",
        {"axes": {"rate": [{"lable": "x"}]}},
        r"axes\.rate\[0\]\.lable is not a known key: .*label",
    ),
    (
        "same label",
        {"axes": {"rate": SAME}},
        r"axes\.rate has 2 values labelled 'a': a row of the table needs a label of",
    ),
    ("same cell", {"axes": {"rate": TWINS}}, r"cell rate=b is the same configuration as rate=a: let their overrides"),
    (
        "unknown axis",
        {"skip": [{"rat": "usual"}]},
        r"skip\[0\] names the axis 'rat', which there is not: did you mean 'rate'",
    ),
    (
        "unknown label",
        {"only": [{"loss": ["smoth"]}]},
        r"only\[0\]\.loss names the label 'smoth', .* did you mean 'smooth'\?",
    ),
    ("no cell", {"only": [{"loss": "clip"}], "skip": [{"loss": "clip"}]}, r"only and skip leave no cell"),
    (
        "reference of two",
        {"reference": {"rate": "usual"}},
        r"reference \{'rate': 'usual'\} fits 2 of the 4 cells: give a la",
    ),
    ("reference unknown", {"reference": {"rte": "usual"}}, r"reference names the axis 'rte', which there is not"),
    ("seed twice", {"seeds": [1, 1]}, r"seeds names 1 twice: a repetition needs another seed"),
    ("seed below 0", {"seeds": [-1]}, r"seeds is \[-1\]: a seed is 0 or more"),
    (
        "seed as an axis",
        {"overrides": {"seed": 1}},
        r"overrides sets 'seed', which a sweep sets itself: list it under seeds",
    ),
    ("measure twice", {"report": [{}, {}]}, r"report names zero_shot auroc macro \(test\) twice"),
    ("unknown base", {"base": "bse.yaml"}, r"Configuration 'bse\.yaml' is neither a file nor in configs/"),
    (
        "unknown key of a run",
        {"overrides": {"training.bach": 8}},
        r"s\.yaml, every cell: training\.bach is not a known key: did you mean 'batch'\?",
    ),
    (
        "unknown key on an axis",
        {"axes": {"rate": [{"label": "a"}, {"label": "b", "overrides": {"optimiser.rat": 1}}], "loss": LOSS}},
        r"s\.yaml, cell rate=b, loss=clip and 1 more: optimiser\.rat is not a known key: did you mean 'rate'\?",
    ),
    (
        "unknown component",
        {"axes": {"loss": [{"label": "a", "overrides": {"phases.0.objectives.0": {"name": "sigllip"}}}]}},
        r"cell loss=a: phases\[0\]\.objectives\[0\]: There is no objectives component .*: did you mean 'siglip'\?",
    ),
    (
        "no such list item",
        {"axes": {"loss": [{"label": "a", "overrides": {"phases.3.until": 8}}]}},
        r"cell loss=a: Override 'phases\.3\.until': the list has 1 items",
    ),
]


@pytest.mark.parametrize(("keys", "message"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_mistake_is_one_sentence(lay: Callable[..., Plan], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lay(**keys)


def test_a_word_that_a_sweep_sets_itself_is_refused(lay: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match=r"the command line sets 'run', which a sweep sets itself: .* see --out"):
        lay("run=here")


def test_a_sweep_is_not_started_by_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    sentence = (
        r"A sweep, which starts processes of its own \(--jobs\), is the work of one process, .* leave torchrun out"
    )
    with pytest.raises(UserError, match=sentence):
        sweep("sweep/phantom_objectives.yaml", out=tmp_path)
