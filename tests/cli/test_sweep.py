"""``medvlp sweep`` end to end on the tiny hospital: a failing run, going on, killed runs, one sweep at a time."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file

from medvlp.config.tree import load_config
from medvlp.core.files import read_json
from medvlp.data.cache import locked
from medvlp.runs.grid.sweep import load_sweep
from medvlp.runs.train import train
from medvlp.training.checkpoints import latest
from tests.benchmarks.kill_resume import outcome, signal_when, start
from tests.evaluation.test_cells import cases, result
from tests.finished import finish
from tests.tiny import tiny_tree, write_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained
    from tests.cli.conftest import Ran

NOBODY = {"label": "nobody", "overrides": {"data.where": {"view_position": ["XX"]}}}
FAST = {"label": "fast", "overrides": {"optimiser.rate": 0.01}}
REPORT = [
    {"metric": "auroc", "label": "macro"},
    {"result": "retrieval", "metric": "mean_rank", "label": "report_to_image"},
]


def base_tree(folder: Path, hospital: Path) -> dict[str, Any]:
    tree = tiny_tree(folder / "unused", hospital, folder / "cache")
    tree["evaluation"] |= {"gallery": 0, "measures": {**tree["evaluation"].get("measures", {}), "probes": None}}
    return tree


def write_sweep(folder: Path, hospital: Path, **keys: Any) -> Path:
    write_tree(folder / "base.yaml", base_tree(folder, hospital))
    tree = {"base": "base.yaml", "seeds": [1], "report": REPORT, "resamples": 100, **keys}
    return write_tree(folder / "sweep.yaml", tree)


def moments(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_failing_run_is_listed_and_the_rest_go_on(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path
) -> None:
    axes = {"data": [{"label": "usual"}, NOBODY, FAST]}
    config = write_sweep(tmp_path, tiny_cohort.root, axes=axes, reference={"data": "usual"})
    out = tmp_path / "out"
    planned = cli("sweep", config, "--out", out, "--dry-run")
    assert planned.code == 0
    assert "3 cells x 1 seeds" in planned.out
    assert "data=usual (reference): 1 not begun; cells/usual-" in planned.out
    assert not out.exists()

    ran = cli("sweep", config, "--out", out, "--jobs", 2)
    assert ran.code == 1, ran
    assert ran.out.startswith("3 cells x 1 seeds: 3 runs, 0 finished before, 3 to do.\n")
    last = ran.err.splitlines()[-1]
    assert last.startswith(
        "medvlp: 1 of 3 runs failed, the table has the others: mend what is said above and start the"
    )
    assert "data=nobody, seed 1: " in ran.err
    (broken,) = out.glob("cells/nobody-*/seed-1")
    reason = str(read_json(broken / "sweep.json")["failed"])
    assert reason
    assert reason in ran.err
    assert reason in (broken / "sweep.log").read_text()

    # A sweep's run is the run that `medvlp train` makes, and its number is that of its results.
    (usual,) = out.glob("cells/usual-*/seed-1")
    own, expected = (load_file(latest(run) / "weights.safetensors") for run in (usual, tiny_run.run))  # type: ignore[operator]
    assert own.keys() == expected.keys()
    assert all((own[name] == expected[name]).all() for name in own)
    table = read_json(out / "table.json")
    rows = {cell["name"]: cell for cell in table["cells"]}  # type: ignore[attr-defined]
    (rank,) = (
        row["value"]
        for row in json.loads((usual / "results" / "retrieval.json").read_text())["metrics"]
        if (row["metric"], row["label"], row.get("group")) == ("mean_rank", "report_to_image", None)
    )
    assert rows["data=usual"]["readings"][1]["values"] == {"1": rank}
    assert rows["data=nobody"]["readings"][1]["mean"] is None
    assert rows["data=nobody"]["runs"][0]["reason"] == reason
    assert rows["data=fast"]["readings"][1]["difference"]["over_seeds"]["reason"] == "one_seed"
    for name in ("table.html", "table.md", "table.csv"):
        assert "nobody" in (out / name).read_text()

    # Again: only what failed is tried again.
    before = moments(usual)
    again = cli("sweep", config, "--out", out)
    assert again.code == 1
    assert again.out.startswith("3 cells x 1 seeds: 3 runs, 2 finished before, 1 to do.\n")
    assert moments(usual) == before

    # Judged otherwise, a model is not trained again; configured otherwise, a cell is another one, and that is said.
    only = ("--out", out, "axes.data=[{label: usual}]")
    judged = cli("sweep", config, *only, "evaluation.resamples=120")
    assert judged.code == 0, judged
    changed = {Path(path).parts[-2] for path, moment in moments(usual).items() if before.get(path) != moment}
    assert "results" in changed
    assert not changed & {"bundle", "checkpoints"}
    other = cli("sweep", config, *only, "evaluation.resamples=120", "training.batch=4", "--dry-run")
    assert f"data=usual: its configuration changed since {usual.parent} was made (training.batch: 8 -> 4" in other.out
    assert cli("sweep", config, *only, "training.batch=4", "--table").refused() == (
        "medvlp: No run of this sweep is finished, so there is no table: leave --table out to run them."
    )


@pytest.mark.slow
def test_asked_to_stop_and_killed_a_sweep_ends_with_the_same_bytes_and_runs_nothing_twice(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    long = {"phases.0.until": 192, "training.checkpoint_every": 16, "training.validate_every": 96}
    long |= {"evaluation.choose": "retrieval/recall@5"}
    axes = {"length": [{"label": "short"}, {"label": "long", "overrides": long}]}
    config = write_sweep(tmp_path, tiny_cohort.root, axes=axes)
    out = tmp_path / "out"
    words = ("sweep", str(config), "--out", str(out))

    def samples(least: int) -> bool:
        rows = [row for log in out.glob("cells/long-*/seed-1/log.jsonl") for row in log.read_text().splitlines()]
        return len(rows) > 1 and json.loads(rows[-2])["samples_seen"] >= least

    def ask_to_stop() -> None:
        while not samples(32):
            stopped.wait(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    stopped = threading.Event()
    threading.Thread(target=ask_to_stop, daemon=True).start()
    asked = cli(*words)
    said = asked.err.splitlines()[-1]  # a slow machine tells how far it is before
    assert asked.code == 2
    assert said.startswith("medvlp: Interrupted (SIGTERM); what was complete is kept: start the same command again")
    (short,), (run,) = out.glob("cells/short-*/seed-1"), out.glob("cells/long-*/seed-1")
    assert "was interrupted (SIGTERM)" in (run / "sweep.log").read_text()  # it saved itself before the sweep left
    assert not read_json(run / "sweep.json")["failed"]

    assert signal_when(start(*words), lambda: samples(96), signal.SIGKILL)
    with locked(run / ".lock"):  # its process does not outlive it
        assert not (run / "bundle").exists()
    before = moments(short)
    ran = cli(*words)
    assert ran.code == 0, ran
    assert ran.out.startswith("2 cells x 1 seeds: 2 runs, 1 finished before, 1 to do.\n")
    assert moments(short) == before
    log = [json.loads(line)["samples_seen"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert log == sorted(log)

    tree = base_tree(tmp_path, tiny_cohort.root) | {"run": str(tmp_path / "alone")}
    alone = write_tree(tmp_path / "alone.yaml", tree)
    train(load_config(alone, [f"{path}={value}" for path, value in long.items()]))
    assert outcome(run) == outcome(tmp_path / "alone")


def test_the_table_of_a_part_has_what_is_finished_names_the_rest_and_draws_no_more_than_that_needs(
    cli: Callable[..., Ran], tmp_path: Path
) -> None:
    rates = [{"label": f"r{at}", "overrides": {"optimiser.rate": 0.1 + at}} for at in range(6)]
    keys: dict[str, Any] = {"axes": {"rate": rates}, "seeds": [1, 2], "report": REPORT[:1], "reference": {"rate": "r0"}}
    config = write_sweep(tmp_path, tmp_path / "hospital", **keys)
    words = ("sweep", config, "--out", tmp_path / "out", "--table")
    assert "No run of this sweep is finished" in cli(*words).refused()
    for at in range(3):
        finish(load_sweep(config, out=tmp_path / "out").cells[at].runs[0], result(cases(strength=at, draw=at)))
    ran = cli(*words)
    assert (ran.code, ran.out.partition(" ")[0]) == (0, "Open")
    rest = "; ".join([*(f"rate=r{at}, seed 2" for at in range(3)), *(f"rate=r{at}, seed 1, 2" for at in range(3, 6))])
    assert ran.err.splitlines()[-1] == f"Not finished, and not in the table: {rest}."
    table: Any = read_json(tmp_path / "out" / "table.json")
    assert [cell["readings"][0]["mean"] is None for cell in table["cells"]] == [False] * 3 + [True] * 3
    # A hundred for each of the two comparisons that there are, not of the five that there will be.
    assert (table["comparisons"], table["resamples"]) == (2, 200)


def test_two_sweeps_do_not_work_in_one_folder(
    cli: Callable[..., Ran], tiny_cohort: CohortSummary, tmp_path: Path
) -> None:
    config = write_sweep(tmp_path, tiny_cohort.root, axes={"rate": [{"label": "usual"}]})
    out = tmp_path / "out"
    out.mkdir()
    descriptor = os.open(out / ".lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    ran = cli("sweep", config, "--out", out)
    os.close(descriptor)
    assert ran.refused() == f"medvlp: Another sweep is at work in {out}: wait for it, or choose another --out."
