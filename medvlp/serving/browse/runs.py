"""Runs as a table, and their curves: what log.jsonl, the best checkpoint and results/*.json say."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medvlp.core.errors import DataError
from medvlp.core.files import read_json
from medvlp.evaluation.rows import only
from medvlp.evaluation.run_files import read_config, read_log
from medvlp.evaluation.tables import Cell
from medvlp.serving.browse.results import three
from medvlp.serving.browse.shelf import Shelf, result_of, result_paths

COLUMNS = ("run", "learns", "state", "samples", "of", "chosen by", "best", "macro AUROC", "n", "data", "recipe")
_QUIET = 600.0  # seconds without a line after which a training is taken for stopped


def run_table(shelf: Shelf, *, now: float | None = None) -> pd.DataFrame:
    """Return a row a run, the columns of `COLUMNS`; ``macro AUROC`` is that of the model result that comes first."""
    rows = [_row(name, shelf.path("run", name), time.time() if now is None else now) for name in shelf.names("run")]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def curves(shelf: Shelf, runs: Sequence[str], name: str) -> pd.DataFrame:
    """Return the points of one curve of some runs: ``samples``, ``value``, ``run``, as their logs have them."""
    rows: Any = [(row, run) for run in runs for row in read_log(shelf.path("run", run) / "log.jsonl")]
    points = [
        (int(row["samples_seen"]), float(row[name]), run)
        for row, run in rows
        if _number(row.get(name)) and _number(row.get("samples_seen"))
    ]
    table = pd.DataFrame(points, columns=pd.Index(["samples", "value", "run"]))
    return table.astype({"samples": "int64", "value": "float64", "run": "str"})  # of none too: a plot goes by types


def curve_names(shelf: Shelf, runs: Sequence[str]) -> list[str]:
    """Return what some runs logged: the loss, macro averages and the rate first, then all else by name."""
    found = {name for run in runs for row in read_log(shelf.path("run", run) / "log.jsonl") for name in row}
    found -= {"kind", "samples_seen", "seconds"}
    return sorted(found, key=lambda name: (name != "loss", not name.endswith("/macro"), name != "rate", name))


def state_of(log: Sequence[Mapping[str, Any]], until: int, *, released: bool, silent: float) -> str:
    """Return how a run stands.

    Args:
        log: rows of ``log.jsonl``.
        until: samples that its last phase ends at.
        released: whether it has a bundle.
        silent: seconds since its last line.

    Example:
        >>> state_of([{"samples_seen": 512}], 1024, released=False, silent=5.0)
        'running'
        >>> state_of([{"samples_seen": 1024}], 1024, released=False, silent=5.0)
        'finished'
    """
    if not log:
        return "evaluated"
    if released or int(log[-1].get("samples_seen", 0)) >= until > 0:
        return "finished"
    return "running" if silent < _QUIET else "stopped"


def quarantine(run: Path) -> pd.DataFrame:
    """Return the records that a run could not read: id, split, reason, hint; one that does not say so is refused."""
    facts = read_json(run / "data.json") if (run / "data.json").is_file() else {}
    entries = facts.get("quarantined")
    if not isinstance(entries, list):
        raise DataError(f"{run.name} does not say what it could not read: a run that trained does, in data.json.")
    rows = [entry for entry in entries if isinstance(entry, Mapping)]
    return pd.DataFrame(rows, columns=pd.Index(["id", "split", "reason", "hint"]))


def _row(name: str, run: Path, now: float) -> tuple[Any, ...]:
    try:
        log, config = read_log(run / "log.jsonl"), read_config(run / "config.yaml")
    except DataError:
        return (name, "", "damaged", *([""] * (len(COLUMNS) - 3)))
    phases: Any = config.get("phases") or []
    until = max((int(phase.get("until", 0)) for phase in phases), default=0)
    learns = dict.fromkeys(str(each["name"]) for phase in phases for each in phase.get("objectives", []))
    silent = now - (run / "log.jsonl").stat().st_mtime if log else 0.0
    state = state_of(log, until, released=(run / "bundle").is_dir(), silent=silent)
    best = run / "checkpoints" / "best" / "trainer.json"
    saved: Mapping[str, Any] = read_json(best) if best.is_file() else {}
    value = saved.get("best_value")
    chosen = "" if value is None else str(saved.get("choose", ""))
    headline = _headline(run)
    seen = log[-1].get("samples_seen", 0) if log else ""
    return (
        name, " + ".join(learns), state, seen, until or "", chosen, three(value), *headline[:3],
        str(saved.get("recipe", headline[3]))[:8],
    )  # fmt: skip


def _headline(run: Path) -> tuple[str, str, str, str]:
    record = run / "evaluation.json"
    try:
        results = [result_of(path, cases=False) for path in result_paths(run).values()]
        made: Any = read_json(record).get("results", []) if record.is_file() else []
    except DataError:
        return "", "", "damaged", ""
    # What decided something was reported, else what was made first; not defined, another's stands not in its place.
    results.sort(key=lambda each: (not each.fitted, made.index(each.name) if each.name in made else len(made)))
    rows = ((each, only(each, "auroc", "macro")) for each in results if each.role == "model")
    best, row = next(((each, row) for each, row in rows if row is not None), (None, None))
    if best is None or row is None:
        return "", "", "", ""
    return (
        Cell(row.value, row.interval.low, row.interval.high).text(),
        str(row.counts.n),
        "synthetic" if best.synthetic else "",
        best.recipe,
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
