"""A run folder, or a lone results.json, to the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError
from medvlp.core.files import read_json, write_text
from medvlp.evaluation.results import Result, load_result
from medvlp.evaluation.run_files import BEGUN, read_config, read_log, result_paths
from medvlp.evaluation.suite import load_suite_table
from medvlp.pages.facts import kind_of, towers
from medvlp.pages.facts_data import card_facts, sets_named
from medvlp.pages.gallery_files import read_gallery
from medvlp.pages.grid import render_suite
from medvlp.pages.inputs import Quarantined, ReportInputs
from medvlp.pages.record import Record
from medvlp.pages.render import render_report


def write_report_page(run: Path, out: Path, *, study: Mapping[str, str] | None = None) -> None:
    """Draw the page of a run folder, of one ``results.json``, or of a suite, into one HTML file.

    Args:
        run: folder with ``results/`` and, if there, evaluation.json, config.yaml, environment.json, data.json and
            log.jsonl; or the folder of a suite, with its ``suite.json`` and ``table.json``.
        out: the HTML file, complete or absent.
        study: what a run cannot know, see `medvlp.pages.checklist`.

    Raises:
        DataError: if there are no results, or a file is damaged.
    """
    run = Path(run)
    if (run / "suite.json").is_file() and not (run / "results").is_dir():
        write_text(Path(out), render_suite(load_suite_table(run / "table.json")))
        return
    write_text(Path(out), render_report(read_run(run, study=study)))


def read_run(run: Path, *, study: Mapping[str, str] | None = None) -> ReportInputs:
    """Return what a run folder, or one ``results.json``, has for the page.

    Args:
        run: folder or file.
        study: what the run cannot know, see `medvlp.pages.checklist`.

    Raises:
        DataError: if there are no results, or a file is damaged.
    """
    if run.is_file():
        result = load_result(run)
        title = result.title or f"Results: {result.name.replace('_', ' ')}"
        return ReportInputs(title=title, date=_date([run]), results=(result,), study=study or {})
    paths = result_paths(run)
    if not paths:
        raise DataError(
            f"{run} has no results/*.json to make a page of: run `medvlp evaluate` first, or name a results.json."
        )
    if (run / BEGUN).is_file():
        raise DataError(
            f"{run} has results of an evaluation that was stopped before it was recorded what they are of, or that is "
            "not done: run `medvlp evaluate` again."
        )
    record = Record.read(run / "evaluation.json") if (run / "evaluation.json").is_file() else None
    names = () if record is None else record.results
    results = tuple(sorted((load_result(path) for path in paths), key=lambda result: _order(result, names)))
    gallery, retrieval = read_gallery(run)
    data = read_json(run / "data.json") if (run / "data.json").is_file() else {}
    environment = read_json(run / "environment.json") if (run / "environment.json").is_file() else {}
    config = read_config(run / "config.yaml")
    quarantined = data.get("quarantined", [])
    records = [entry for entry in quarantined if isinstance(entry, Mapping)] if isinstance(quarantined, list) else []
    facts = {key: value for key, value in data.items() if key not in ("quarantined", "files")}
    made = facts.pop("split_made", None)
    if isinstance(made, Mapping):
        known = {key: made.get(key) for key in ("name", "rule", "card", "unit", "flaw", "source")}
        facts["split_made"] = {key: value for key, value in known.items() if value}
    if "seed" in config:
        facts = {"seed": config["seed"], **facts}
    if record is not None:
        facts |= _recorded(record)
        environment = environment or record.environment
        config = config or {"evaluation": record.options}
    return ReportInputs(
        title=_title(record, config) or run.resolve().name,
        date=_date(paths),
        results=results,
        log=read_log(run / "log.jsonl"),
        gallery=gallery,
        retrieval=retrieval,
        config=config,
        environment=environment,
        provenance=facts,
        quarantined=tuple(Quarantined(str(entry.get("id", "")), str(entry.get("reason", ""))) for entry in records),
        record=record,
        study=study or {},
    )


def _order(result: Result, made: Sequence[str]) -> tuple[bool, int, bool, str]:
    """Controls last; as they were made, and where nobody kept that, those first by which something was decided."""
    place = made.index(result.name) if result.name in made else len(made)
    return result.role == "control", place, not result.fitted, result.name


def _date(results: Sequence[Path]) -> str:
    """Return the day on which the last results were written: 2026-11-27, in universal time."""
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in results), tz=UTC).date().isoformat()


def _title(record: Record | None, config: Mapping[str, Any]) -> str:
    """Return what was judged on what, in words; empty where nobody kept that and nothing was trained."""
    if record is None:
        model = config.get("model")
        return f"A {kind_of(model)} in training" if isinstance(model, Mapping) and "phases" in config else ""
    if not towers(record.model.architecture):
        return ""
    card = card_facts(record)
    data = card.title if card is not None else record.data.layout.replace("_", " ") or sets_named(record)
    data = data.replace("The ", "the ", 1) if data.startswith("The ") else data
    kind = kind_of(record.model.architecture)
    return f"{kind[:1].upper()}{kind[1:]}{f' judged on {data}' if data else ''}"


def _recorded(record: Record) -> dict[str, object]:
    """Return what an evaluation adds to the provenance: which model, which data, which draws."""
    data = record.data
    known: dict[str, object] = {
        "judged_model": record.model.name,
        "judged_model_sha256": record.model.manifest,
        "judged_data": data.manifest,
        "judged_split": f"{data.judged} ({data.split})" if data.split else data.judged,
        "split_made": data.split_made,
        "where": data.where,
        "left_out": data.left_out,
        "seed_of_intervals": record.seed,
        "resamples": record.resamples,
        "training": record.model.provenance,
    }
    return {name: value for name, value in known.items() if value not in (None, "", {})}
