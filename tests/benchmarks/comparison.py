"""The comparisons of methods, grown in parts: what a sweep has finished goes into docs/results/comparison.json.

    python tests/benchmarks/comparison.py DIR [key=value ...]    the folder and the words that `medvlp sweep` was given
    python tests/benchmarks/comparison.py --missing              words that make what is not stored, a line a seed

With `--sweep sweep/nih_methods.yaml` that of real films, in docs/results/comparison_nih.json. A cell is a method with a
seed, stored with the hash of its configuration, in which the places of data and weights do not count. One of another
hash replaces it, one of the same leaves it as it is; all are of one set of patients and one number of samples. Then
`python docs/_make/results.py` writes the page, which mkdocs.yml names as soon as there is one.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from medvlp.config.yaml import find_config, read_yaml  # noqa: E402
from medvlp.core.errors import UserError  # noqa: E402
from medvlp.core.files import read_json, write_text  # noqa: E402
from medvlp.core.provenance import code_hash, hash_of  # noqa: E402
from medvlp.evaluation.cells import Measure  # noqa: E402
from medvlp.evaluation.cells_table import over_seeds  # noqa: E402
from medvlp.evaluation.cells_words import range_words  # noqa: E402
from medvlp.evaluation.results import Result, load_result  # noqa: E402
from medvlp.evaluation.tables import Cell  # noqa: E402
from medvlp.runs.grid.jobs import run_state  # noqa: E402
from medvlp.runs.grid.plan import Run  # noqa: E402
from medvlp.runs.grid.sweep import SweepConfig, load_sweep  # noqa: E402
from medvlp.statistics.holm import holm  # noqa: E402

SWEEP = "compare/phantom.yaml"
FILMS = "sweep/nih_methods.yaml"
STORED = {
    name: ROOT / "docs" / "results" / f"{stem}.json"
    for name, stem in ((SWEEP, "comparison"), (FILMS, "comparison_nih"))
}
PLACES = {SWEEP: ["data.root"], FILMS: ["data.root", "init_from", "tokenizer.path", "model.text.path"]}  # do not count
CONTROLS = {"grounding_hires_cam": "grounding_centre"}  # stored and shown beside the number
Stored = dict[str, Any]
Key = tuple[str, int]


def finished_cells(sweep: str | Path, words: Sequence[str], out: Path) -> list[Stored]:
    """Return the finished cells of a sweep's folder as plain data."""
    plan, known = load_sweep(sweep, words, out=out), hashes(sweep, words)
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    cells = []
    for method, run in ((cell.labels["method"], run) for cell in plan.cells for run in cell.runs):
        state = run_state(run)
        if state.state != "finished" or run.training is None:
            continue
        made = read_json(run.folder / "environment.json")
        versions = {"python": made["python"], **{name: made["packages"][name] for name in ("torch", "timm", "numpy")}}
        numbers = {measure.name: _number(run, measure) for measure in plan.config.report}
        first = load_result(run.evaluations["test"].results / "zero_shot.json", cases=False)
        cells.append(
            {
                "method": method,
                "seed": run.seed,
                "hash": known[method, run.seed],
                "n": first.find("auroc", "macro").counts.n,
                "numbers": {name: number for name, number in numbers.items() if number is not None},
                "samples": run.training.phases[-1].until,
                "wall_seconds": state.seconds,
                "peak_memory_mb": state.memory,
                "data": judged(first),
                "code": state.code,
                "commit": git.stdout.strip() if state.code == code_hash() else "",
                "versions": versions,
                "precision": made["precision"],
            }
        )
    return cells


def judged(result: Result) -> str:
    """Return a hash of who is judged by which labels; a manifest's own also holds columns that a method asks for.

    Means over findings do not enter: what stands as their n has changed, and the patients had not.
    """
    rows = [row for row in result.metrics if row.metric == "auroc" and row.label not in ("macro", "weighted", "micro")]
    counts = [(row.label, row.counts.n, row.counts.positives) for row in rows]
    return hash_of([result.split, sorted(set(counts), key=str)])


def hashes(sweep: str | Path, words: Sequence[str] = ()) -> dict[Key, str]:
    """Return the hash of each cell's configuration, wherever data and weights lie."""
    plan = load_sweep(sweep, [*words, *_placed(sweep, "hospital")])
    return {
        (cell.labels["method"], run.seed): hash_of([each.identity for each in run.evaluations.values()])
        for cell in plan.cells
        for run in cell.runs
    }


def _placed(sweep: str | Path, place: str) -> list[str]:
    """Return words that say where data and weights of a sweep lie: all in one place."""
    return [f"{key}={place}" for key in PLACES.get(str(sweep), PLACES[SWEEP])]


def _number(run: Run, measure: Measure) -> Stored | None:
    def find(result: str) -> Any:
        path = run.evaluations[measure.split].results / f"{result}.json"
        rows = load_result(path, cases=False).metrics if path.is_file() else ()
        asked = (measure.metric, measure.label, measure.group)
        return next(
            (row for row in rows if (row.metric, row.label, row.group) == asked and row.value is not None), None
        )

    row, control = find(measure.result), find(CONTROLS.get(measure.result, ""))
    if row is None:
        return None
    number = {"value": round(row.value, 5), "n": row.counts.n}
    if row.interval.low is not None:
        number["interval"] = [round(row.interval.low, 5), round(row.interval.high, 5)]
    return number if control is None else {**number, "control": round(control.value, 5)}


def merge(stored: Sequence[Stored], new: Sequence[Stored]) -> tuple[list[Stored], list[str]]:
    """Return all cells in order, and a sentence for each that was added or replaced.

    Raises:
        UserError: if they are of several hospitals or numbers of samples.
    """
    cells, said = {(cell["method"], cell["seed"]): cell for cell in stored}, []
    for cell in new:
        key = cell["method"], cell["seed"]
        before = cells.get(key, {}).get("hash")
        if before != cell["hash"]:
            word = "added" if before is None else f"replaced, its configuration was {before} and is {cell['hash']}"
            said.append(f"{key[0]}, seed {key[1]}: {word}.")
            cells[key] = cell
    merged = sorted(cells.values(), key=lambda cell: (cell["method"].casefold(), cell["seed"]))
    for what in ("data", "samples"):
        if len(found := {cell[what] for cell in merged}) > 1:
            raise UserError(
                f"The cells have several {what} ({', '.join(map(str, found))}): compare on one, or begin anew."
            )
    return merged, said


def missing(stored: Sequence[Stored], wanted: Mapping[Key, str]) -> list[str]:
    """Return words for ``medvlp sweep`` that make the cells which are not stored as they are configured now."""
    there = {(cell["method"], cell["seed"]): cell["hash"] for cell in stored}
    lines = []
    for seed in dict.fromkeys(seed for _, seed in wanted):
        labels = [key[0] for key, each in wanted.items() if key[1] == seed and there.get(key) != each]
        words = [f"only=[{{method: {json.dumps(labels)}}}]", f"seeds=[{seed}]", "reference=null"]
        lines += [shlex.join(words)] if labels else []
    return lines


def document(cells: Sequence[Stored], sweep: str | Path = SWEEP) -> Stored:
    """Return what the page is rendered from: the cells, and their tables."""
    config = SweepConfig.model_validate(read_yaml(find_config(sweep)))
    choices, reference = config.axes["method"], (config.reference or {})["method"]
    own = {choice.label: [cell for cell in cells if cell["method"] == choice.label] for choice in choices}
    values = {name: [_values(found, measure) for measure in config.report] for name, found in own.items()}
    apart = {
        name: [
            [value - first[seed] for seed, value in found.items() if seed in first]
            for found, first in zip(values[name], values[reference], strict=True)
        ]
        for name in sorted(own, key=str.casefold)
        if name != reference and own[name]
    }
    p = [_p(each) for found in apart.values() for each in found]
    corrected = iter(holm(p))
    beside = [
        [name, *(_difference(each, next(corrected), config.level) for each in found)] for name, found in apart.items()
    ]
    heads = [_head(measure) for measure in config.report]
    words = " ".join(_placed(sweep, "..."))
    versions = {name: sorted({cell["versions"][name] for cell in cells}) for name in cells[0]["versions"]}
    return {
        "title": config.name,
        "benchmark": "tests/benchmarks/comparison.py",
        "command": [
            f"medvlp sweep {sweep} --out DIR {words}",
            f"python tests/benchmarks/comparison.py DIR {words} --sweep {sweep}",
        ],
        "n": {"test studies": cells[0]["n"], "methods": sum(map(bool, own.values())), "trained models": len(cells)},
        "seed": sorted({cell["seed"] for cell in cells}),
        "versions": versions,
        "facts": {
            "reference": reference,
            "samples": cells[0]["samples"],
            "methods": len(own),
            "not_run": ", ".join(name for name in sorted(own, key=str.casefold) if not own[name]),
            "whole": sum(len(found) == len(config.seeds) for found in own.values()),
            "most_seeds": max(map(len, own.values())),
            "level": f"{100 * config.level:g} %",
            "comparisons": sum(each is not None for each in p),
            "codes": len({cell["code"] for cell in cells}),
            "precisions": " and ".join(sorted({cell["precision"] for cell in cells})),
        },
        "gains": {  # in the first number, the zero-shot AUROC, where every seed was run
            f"compare/{choice.config}": round(float(np.mean(apart[choice.label][0])), 5)
            for choice in choices
            if choice.config and len(apart.get(choice.label, [[]])[0]) == len(config.seeds)
        },
        "tables": {
            "numbers": {
                "columns": ["method", "seeds", "n", *heads, "seconds", "memory, MB"],
                "rows": [_row(name, own[name], config) for name in sorted(own, key=str.casefold) if own[name]],
            },
            "beside": {"columns": ["method", *heads], "rows": beside},
        },
        "cells": list(cells),
    }


def _values(cells: Sequence[Stored], measure: Measure) -> dict[int, float]:
    """Return seed -> number, of the cells that have it."""
    found = {cell["seed"]: cell["numbers"].get(measure.name) for cell in cells}
    return {seed: each["value"] for seed, each in found.items() if each is not None}


def _row(name: str, cells: Sequence[Stored], config: SweepConfig) -> list[str]:
    """Return a method's line: of several seeds mean and standard deviation, of one its interval over patients."""
    seeds = f"{len(cells)} of {len(config.seeds)}"
    shown = [
        _mean([cell["numbers"][each.name] for cell in cells if each.name in cell["numbers"]]) for each in config.report
    ]
    costs = (f"{np.mean([cell[what] for cell in cells]):.0f}" for what in ("wall_seconds", "peak_memory_mb"))
    return [name, seeds, str(cells[0]["n"]), *shown, *costs]


def _mean(numbers: Sequence[Stored]) -> str:
    if not numbers:
        return "not measured"
    values = [number["value"] for number in numbers]
    one = Cell(values[0], *numbers[0].get("interval", ()), signed=True).text()
    spread = one if len(values) == 1 else f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    return f"{spread}; {numbers[0]['control']:.3f}" if "control" in numbers[0] else spread


def _difference(apart: Sequence[float], p: float | None, level: float) -> str:
    if not apart:
        return "missing"
    limits = over_seeds(apart, level=level)
    interval = "" if limits.low is None else f" ({range_words(limits, 3, signed=True)})"
    return f"{np.mean(apart):+.3f}{interval}{'' if p is None else f', p {Cell(p, p=True).text()}'}"


def _p(apart: Sequence[float]) -> float | None:
    """Return Student's two-sided p of no difference over seeds; None where they do not differ from each other."""
    return float(ttest_1samp(apart, 0.0).pvalue) if len(apart) > 1 and np.ptp(apart) > 1e-9 else None


def _head(measure: Measure) -> str:
    control = CONTROLS.get(measure.result)
    name = f"{measure.result} {measure.metric} {measure.label}{f'; {control}' if control else ''}"
    return name.replace("_", " ")


def write(stored: Stored, path: Path) -> None:
    """Write the page's JSON, a cell a line, so that parts from several places can be merged."""
    cells = ",\n".join(f"  {json.dumps(cell, ensure_ascii=False)}" for cell in stored["cells"])
    text = json.dumps({**stored, "cells": []}, indent=1, ensure_ascii=False)
    write_text(path, f"{text.removesuffix('[]' + chr(10) + '}')}[\n{cells}\n ]\n}}\n")


def main() -> None:
    """Merge, or say what is missing."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, nargs="?", help="of the sweep; without it the tables are made again")
    arguments.add_argument("words", nargs="*", help="key=value, as the sweep was given them")
    arguments.add_argument("--missing", action="store_true", help="print words for `medvlp sweep`, write nothing")
    arguments.add_argument("--sweep", choices=sorted(STORED), default=SWEEP)
    asked = arguments.parse_intermixed_args()
    path = STORED[asked.sweep]
    stored = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
    if asked.missing:
        print("\n".join(missing(stored, hashes(asked.sweep))))
        return
    stored, said = merge(stored, finished_cells(asked.sweep, asked.words, asked.folder) if asked.folder else [])
    print("\n".join(said or ["Nothing is new."]))
    if stored:
        write(document(stored, asked.sweep), path)


if __name__ == "__main__":
    main()
