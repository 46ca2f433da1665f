"""A sweep: one configuration varied along axes and repeated over seeds, laid out and checked before anything runs.

A *cell* is one choice on every axis; a *run* is a cell with a seed. A cell's folder carries its labels and a hash of
all that decides what is learned, so that a cell is never taken for one that was configured otherwise.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, Field

from medvlp.config.recipe import full_tree, recipe_of
from medvlp.config.tree import DataConfig, Node, RunConfig, check_config, checked
from medvlp.config.yaml import find_config, load_tree, read_yaml
from medvlp.core.errors import ConfigError, UserError, did_you_mean
from medvlp.core.files import sha256_of
from medvlp.core.provenance import hash_of
from medvlp.core.registry import component
from medvlp.core.resources import resource_folder
from medvlp.data.manifest import Manifest
from medvlp.evaluation.cells import Measure
from medvlp.runs.build import build_banks
from medvlp.runs.evaluate import EvaluationRun
from medvlp.runs.grid.plan import Cell, EvaluationStep, Plan, Run, changed_tree, files_hashed, reserved, words_of

_OWN = {"run": "it names each run's folder, see --out", "seed": "list it under seeds"}
_LONGEST = 80  # characters of a folder's readable part


class _Words(Node):
    """A part whose labels may be written as numbers."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


class Choice(_Words):
    """One value of an axis.

    Attributes:
        label: words for it, in tables and folders.
        config: a configuration in place of the sweep's base; of one axis only.
        overrides: dotted path in the run's configuration -> value, as on the command line of ``medvlp train``; none for
            what the base says.
    """

    label: str = Field(min_length=1)
    config: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)


class SweepConfig(_Words):
    """A sweep.

    Attributes:
        base: configuration of the run that is varied: beside this file, from the working folder, or in ``configs/``.
        name: title of the table; the file's name where it is empty.
        axes: name -> its values.
        seeds: of the runs of each cell.
        overrides: dotted path -> value, for every run; the axes' come after it.
        only: cells that are made: axis -> label or labels, all pairs of one entry must fit; empty for all.
        skip: cells that are not made.
        reference: the cell that others are compared with: axis -> label, so many that it is one.
        report: numbers of the table; each split named here is evaluated.
        level: of confidence, for all intervals.
        resamples: of the patient bootstrap; more are drawn where many comparisons are corrected together.
    """

    base: str
    name: str = ""
    axes: dict[str, list[Choice]] = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    overrides: dict[str, Any] = Field(default_factory=dict)
    only: list[dict[str, str | list[str]]] = Field(default_factory=list)
    skip: list[dict[str, str | list[str]]] = Field(default_factory=list)
    reference: dict[str, str] | None = None
    report: list[Measure] = Field(default_factory=lambda: [Measure()], min_length=1)
    level: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=100)

    @property
    def splits(self) -> list[str]:
        """Splits that are evaluated; the results of the first one lie in the run's own folder."""
        return list(dict.fromkeys(measure.split for measure in self.report))


def load_sweep(path: str | Path, words: Sequence[str] = (), *, out: Path | None = None) -> Plan[SweepConfig]:
    """Read a sweep and lay it out; every run's configuration is checked, components included.

    Args:
        path: a file, or the name of one in ``configs/``.
        words: ``key.path=value``: of the sweep where the first key is a sweep's (``seeds=[0]``), else of every run.
        out: folder; ``runs/sweep/NAME`` by default.

    Raises:
        ConfigError: with one sentence a fault.
    """
    source = find_config(path)
    own, for_runs = words_of(SweepConfig, words)
    config = checked(SweepConfig, changed_tree(read_yaml(source), {}, own), source=path)
    if faults := [*_faults(config), *reserved("sweep", _OWN, "the command line", for_runs)]:
        raise ConfigError(f"{path}: {' '.join(faults)}")
    chosen = [labels for labels in _combinations(config) if _is_made(labels, config)]
    if not chosen:
        raise ConfigError(f"{path}: only and skip leave no cell: let them leave one.")
    reference = _reference(config, chosen, path)
    out = out or Path("runs") / "sweep" / source.stem
    trees = {
        name: changed_tree(load_tree(find_config(name, source.parent)), config.overrides, for_runs)
        for name in {config.base, *(c.config for choices in config.axes.values() for c in choices if c.config)}
    }
    cells = _cells(config, chosen, trees, out, str(path))
    return Plan(title=config.name or source.stem, out=out, config=config, cells=cells, reference=reference)


def changes_of(cell: Cell) -> list[tuple[Path, list[str]]]:
    """Return the folders of cells with these labels and another configuration, and what is different now.

    Returns:
        Folder, and ``path: before -> now`` for each leaf; the list is empty where the old configuration is not there.
    """
    readable = cell.folder.name.rpartition("-")[0]
    others = [p for p in sorted(cell.folder.parent.glob("*-????????")) if p.name.rpartition("-")[0] == readable]
    found = []
    for other in others:
        if other.name == cell.folder.name:
            continue
        written = next(iter(sorted(other.glob("seed-*/config.yaml"))), None)
        before = {} if written is None else dict(_leaves(read_yaml(written)))
        now = {} if cell.runs[0].training is None else dict(_leaves(full_tree(cell.runs[0].training)))
        changed = [
            f"{key}: {before.get(key, 'not there')} -> {now.get(key, 'not there')}"
            for key in dict.fromkeys([*before, *now])
            if key not in ("run", "seed") and before.get(key) != now.get(key)
        ]
        found.append((other, changed if before else []))
    return found


# layout -------------------------------------------------------------------------------------------------------------


def _faults(config: SweepConfig) -> Iterator[str]:
    for axis, choices in config.axes.items():
        if not choices:
            yield f"axes.{axis} has no value: give it at least one."
        labels = [choice.label for choice in choices]
        for label in dict.fromkeys(label for label in labels if labels.count(label) > 1):
            count = labels.count(label)
            yield f"axes.{axis} has {count} values labelled {label!r}: a row of the table needs a label of its own."
        for choice in choices:
            yield from reserved("sweep", _OWN, f"axes.{axis}, {choice.label}", choice.overrides)
    whole = [axis for axis, choices in config.axes.items() if any(choice.config for choice in choices)]
    if len(whole) > 1:
        yield f"axes {' and '.join(whole)} both name configurations: let one axis do so, and the others override."
    yield from reserved("sweep", _OWN, "overrides", config.overrides)
    for seed in dict.fromkeys(seed for seed in config.seeds if config.seeds.count(seed) > 1):
        yield f"seeds names {seed} twice: a repetition needs another seed."
    if any(seed < 0 for seed in config.seeds):
        yield f"seeds is {config.seeds}: a seed is 0 or more."
    for key, entries in (("only", config.only), ("skip", config.skip)):
        for at, entry in enumerate(entries):
            yield from _pairs_fit(f"{key}[{at}]", entry, config)
    if config.reference is not None:
        yield from _pairs_fit("reference", config.reference, config)
    for measure in dict.fromkeys(each for each in config.report if config.report.count(each) > 1):
        yield f"report names {measure.name} twice: leave one."


def _pairs_fit(where: str, pairs: Mapping[str, str | list[str]], config: SweepConfig) -> Iterator[str]:
    for axis, labels in pairs.items():
        if axis not in config.axes:
            yield f"{where} names the axis {axis!r}, which there is not: {did_you_mean(axis, config.axes)}."
            continue
        known = [choice.label for choice in config.axes[axis]]
        for label in [labels] if isinstance(labels, str) else labels:
            if label not in known:
                yield f"{where}.{axis} names the label {label!r}, which there is not: {did_you_mean(label, known)}."


def _combinations(config: SweepConfig) -> Iterator[dict[str, str]]:
    labels = ([choice.label for choice in choices] for choices in config.axes.values())
    for chosen in itertools.product(*labels):
        yield dict(zip(config.axes, chosen, strict=True))


def _is_made(labels: Mapping[str, str], config: SweepConfig) -> bool:
    wanted = not config.only or any(_fits(labels, entry) for entry in config.only)
    return wanted and not any(_fits(labels, entry) for entry in config.skip)


def _fits(labels: Mapping[str, str], pairs: Mapping[str, str | list[str]]) -> bool:
    return all(labels[axis] in ([wanted] if isinstance(wanted, str) else wanted) for axis, wanted in pairs.items())


def _reference(config: SweepConfig, chosen: Sequence[Mapping[str, str]], path: str | Path) -> str | None:
    if config.reference is None:
        return None
    fitting = [labels for labels in chosen if _fits(labels, config.reference)]
    if len(fitting) != 1:
        raise ConfigError(
            f"{path}: reference {config.reference} fits {len(fitting)} of the {len(chosen)} cells: give a label of "
            f"each axis ({', '.join(config.axes)}), of a cell that is made."
        )
    return _name(fitting[0])


def _cells(
    config: SweepConfig,
    chosen: Sequence[Mapping[str, str]],
    trees: Mapping[str, dict[str, Any]],
    out: Path,
    source: str,
) -> tuple[Cell, ...]:
    choices = {(axis, choice.label): choice for axis in config.axes for choice in config.axes[axis]}
    cells: list[Cell] = []
    load = cache(Manifest.load)  # most cells have the same
    same: dict[str, str] = {}
    faults: dict[str, list[str]] = {}
    for labels in chosen:
        own, name = [choices[pair] for pair in labels.items()], _name(labels)
        tree = trees[next((choice.config for choice in own if choice.config), config.base)]
        try:
            for choice in own:
                tree = changed_tree(tree, choice.overrides)
            # The seed has a folder of its own: a cell's name does not depend on which seeds are asked for.
            plain = check_config({**tree, "run": "", "seed": 0}, source="cell")
            _check_splits(plain.data, config.splits, load)
            cell = _cell(name, labels, tree, plain, config, out)
            twin = hash_of(full_tree(plain.model_copy(update={"seed": config.seeds[0]})))
        except UserError as error:
            faults.setdefault(str(error).removeprefix("cell: "), []).append(name)
            continue
        if twin in same:
            fault = f"is the same configuration as {same[twin]}: let their overrides differ, or skip one."
            faults.setdefault(fault, []).append(name)
        same.setdefault(twin, name)
        cells.append(cell)
    if faults:
        raise ConfigError(" ".join(_fault_words(source, fault, names, len(chosen)) for fault, names in faults.items()))
    return tuple(cells)


def _fault_words(source: str, fault: str, names: Sequence[str], cells: int) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    who = "every cell" if len(names) == cells > 1 else f"cell {names[0]}{others}"
    return f"{source}, {who}{' ' if fault.startswith('is the same') else ': '}{fault}"


def _check_splits(data: DataConfig, splits: Sequence[str], load: Callable[[Path], Manifest]) -> None:
    """Refuse a split that is reported and that a manifest which has splits lacks."""
    if data.manifest and data.split["name"] == "own" and data.part is None and Path(data.manifest).is_file():
        manifest = load(Path(data.manifest))
        for split in splits if "split" in manifest else []:
            manifest.split_of(split)


def _cell(
    name: str, labels: Mapping[str, str], tree: dict[str, Any], plain: RunConfig, config: SweepConfig, out: Path
) -> Cell:
    identity = _identity(plain)
    readable = "+".join(re.sub(r"[^\w.@-]+", "_", label) for label in labels.values())[:_LONGEST]
    folder = out / "cells" / f"{readable}-{identity[:8]}"
    runs = []
    for seed in config.seeds:
        place = folder / f"seed-{seed}"
        own = check_config({**tree, "run": str(place), "seed": seed}, source="cell")
        made = _identity(own)
        evaluations = {split: _evaluation(own, made, split, first=split == config.splits[0]) for split in config.splits}
        words = f"{name}, seed {seed}"
        runs.append(Run(name=words, seed=seed, folder=place, identity=made, training=own, evaluations=evaluations))
    return Cell(name=name, labels=labels, folder=folder, identity=identity, runs=tuple(runs))


def _evaluation(config: RunConfig, identity: str, split: str, *, first: bool) -> EvaluationStep:
    run, options = Path(config.run), config.evaluation.model_copy(update={"split": split})
    made = EvaluationRun(
        model=str(run / "bundle"),
        out=str(run if first else run / "splits" / split),
        data=config.data.model_copy(update={"prefix": []}),
        evaluation=options,
        seed=config.seed,
        workers=max(1, config.training.workers),
    )
    recipes = resource_folder("configs") / "zero_shot" / "recipes"
    files = files_hashed(options.measures, recipes, ending=".yaml")
    named = [] if files == options.measures else [files]  # one that names no file is told as it always was
    return EvaluationStep(config=made, identity=hash_of([identity, options.model_dump(mode="json"), *named]))


def _identity(config: RunConfig) -> str:
    """Return the hash of the recipe, of what chooses the checkpoint, and of the files that the configuration names."""
    options, answers = config.evaluation, files_hashed(config.answers, resource_folder("configs"))
    released = {"choose": options.choose, "where": options.where, "answers": answers}
    points = {name: getattr(component("measures", name), "points", ()) for name, own in options.measures.items() if own}
    choosing = {name: own for name, own in options.measures.items() if points.get(name)}
    released |= {"measures": choosing} if choosing else {}
    banks = {name: bank.sha256 for name, bank in build_banks(config).items()}
    start = None if config.init_from is None else Path(config.init_from) / "MANIFEST.sha256"
    bundle = sha256_of(start) if start is not None and start.is_file() else None
    return hash_of([recipe_of(config), released, banks, bundle])


def _name(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{axis}={label}" for axis, label in labels.items())


def _leaves(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        for at, value in enumerate(node):
            yield from _leaves(value, f"{path}.{at}")
    else:
        yield path, yaml.safe_dump(node, default_flow_style=True).removesuffix("...\n").strip()
