"""A suite: one bundle, or several, judged on several data sets, laid out and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medvlp.config.tree import Node, checked
from medvlp.config.yaml import find_config, load_tree, put
from medvlp.core.errors import ConfigError, UserError, did_you_mean
from medvlp.core.files import sha256_of
from medvlp.core.provenance import hash_of
from medvlp.core.resources import resource_folder
from medvlp.runs.evaluate import EvaluationRun
from medvlp.runs.grid.plan import Cell, EvaluationStep, Plan, Run, changed_tree, files_hashed, reserved, words_of

_OWN = {
    "model": "the suite has it for all: set model, or models.LABEL=BUNDLE, at its top",
    "out": "each run has a folder below the suite's out",
    "data.root": "write roots.NAME=FOLDER",
}


class SuiteRunConfig(Node):
    """One data set of a suite.

    Attributes:
        config: of an evaluation: beside the suite's file, from the working folder, or in ``configs/``.
        name: of its folder and its rows; the configuration's file name where it is empty.
        overrides: dotted path in that configuration -> value.
    """

    config: str
    name: str = Field(default="", pattern=r"^[\w.-]*$")
    overrides: dict[str, Any] = Field(default_factory=dict)


class SuiteConfig(Node):
    """A suite.

    Attributes:
        model: bundle.
        models: several bundles in its place: label -> bundle; each is judged on every data set.
        out: folder; each run writes to ``out/NAME``, of several bundles to ``out/LABEL/NAME``, the table to
            ``out/table.html``, ``.json``, ``.md``, ``.csv``.
        name: title of the table; the file's name where it is empty.
        reproduces: reproduction card whose model the bundle is, so that its numbers stand beside the published ones.
        roots: run -> folder of its data. A run whose folder is not there is left out, and the table says so.
        overrides: dotted path -> value, for every run; a run's own come after it.
        runs: the data sets.
    """

    model: str = ""
    models: dict[Annotated[str, Field(pattern=r"^[\w.-]*\w$")], str] = Field(default_factory=dict)
    out: str
    name: str = ""
    reproduces: str | None = None
    roots: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(default_factory=dict)
    runs: list[SuiteRunConfig] = Field(min_length=1)

    @property
    def bundles(self) -> dict[str, str]:
        """Label -> bundle; of one alone the label is empty."""
        return self.models or {"": self.model}


def is_suite(path: str | Path) -> bool:
    """Tell a suite from one evaluation: it lists runs.

    Example:
        >>> is_suite("evaluate/suites/cxr.yaml"), is_suite("evaluate/phantom.yaml")
        (True, False)
    """
    return "runs" in load_tree(path)


def manifest_of(bundle: str) -> Path:
    """Return the list of the bundle's files, whose hash is the bundle's."""
    return Path(bundle).expanduser() / "MANIFEST.sha256"


def load_suite(path: str | Path, words: Sequence[str] = ()) -> Plan[SuiteConfig]:
    """Read a suite and lay it out; every run's configuration is checked.

    Args:
        path: a file, or the name of one in ``configs/``.
        words: ``key.path=value``: of the suite where the first key is a suite's (``roots.chexpert=/data/chexpert``),
            else of every run (``evaluation.resamples=200``).

    Raises:
        ConfigError: with one sentence a fault.
        UserError: if the bundle is none.
    """
    source = find_config(path)
    own, for_runs = words_of(SuiteConfig, words)
    config = checked(SuiteConfig, load_tree(source, own), source=path)
    names = [run.name or Path(run.config).stem for run in config.runs]
    faults = list(_faults(config, names, for_runs))
    if config.models and any(word.startswith("model=") for word in own):
        faults.append("model= is of one bundle, and models names several: name all under models.")
    if faults:
        raise ConfigError(f"{path}: {' '.join(faults)}")
    for label, bundle in config.bundles.items():
        if not manifest_of(bundle).is_file():
            given = f"models.{label}" if label else "model"
            raise UserError(f"{bundle} is no bundle (it has no MANIFEST.sha256): give {given}=RUN/bundle.")
    hashes = {label: sha256_of(manifest_of(bundle)) for label, bundle in config.bundles.items()}
    cells, wrong = [], []
    for run, name in zip(config.runs, names, strict=True):
        try:
            tree = changed_tree(load_tree(find_config(run.config, source.parent)), config.overrides)
            tree = changed_tree(tree, run.overrides, for_runs)
            cells += [_cell(config, tree, run, name, label, bundle) for label, bundle in hashes.items()]
        except ConfigError as error:
            wrong.append(f"run {name}: {error}")
    if wrong:
        raise ConfigError(f"{path}, {' '.join(wrong)}")
    return Plan(title=config.name or source.stem, out=Path(config.out), config=config, cells=tuple(cells))


def _faults(config: SuiteConfig, names: Sequence[str], for_runs: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"runs has {names.count(name)} runs named {name!r}: give them names of their own."
    for name in config.roots:
        if name not in names:
            yield f"roots names the run {name!r}, which there is not: {did_you_mean(name, names)}."
    if not config.models and not config.model:
        yield "model is missing: give model=BUNDLE, or models.LABEL=BUNDLE of several."
    if config.models and config.reproduces is not None:
        yield "reproduces says whose published numbers one bundle has: leave it out, or give model alone."
    for label in names:
        if label in config.models:
            yield f"models has the label {label!r}, as a run has: give it another."
    yield from reserved("suite", _OWN, "overrides", config.overrides)
    for name, run in zip(names, config.runs, strict=True):
        yield from reserved("suite", _OWN, f"run {name}", run.overrides)
    yield from reserved("suite", _OWN, "the command line", for_runs)


def _cell(config: SuiteConfig, tree: dict[str, Any], run: SuiteRunConfig, name: str, label: str, bundle: str) -> Cell:
    folder = Path(config.out) / label / name
    tree = {**tree, "model": config.bundles[label], "out": str(folder)}
    if name in config.roots:
        tree = put(tree, "data.root", config.roots[name])
    made = checked(EvaluationRun, tree, source="")
    if made.evaluation.into_bundle:
        raise ConfigError("evaluation.into_bundle would change the bundle that the next run judges: leave it out.")
    root, identity = Path(made.data.root).expanduser(), _identity(made, bundle)
    absent = "" if root.is_dir() else f"its data is not there: there is no folder {root}, give roots.{name}=FOLDER."
    evaluations = {made.evaluation.split: EvaluationStep(config=made, identity=identity)}
    shown = f"{label}, {name}" if label else name
    only = Run(name=shown, seed=made.seed, folder=folder, identity=identity, evaluations=evaluations, absent=absent)
    labels = {"config": run.config, "model": label, "bundle": bundle}
    return Cell(name=shown, labels=labels, folder=folder, identity=identity, runs=(only,))


def _identity(config: EvaluationRun, bundle: str) -> str:
    """Return the hash of what decides the numbers, and not of where things lie and are computed."""
    tree = config.model_dump(mode="json", exclude={"model", "out", "workers", "device", "report"})
    tree["data"] = {key: value for key, value in tree["data"].items() if key not in ("root", "cache")}
    tree["evaluation"].pop("features", None)
    recipes = resource_folder("configs") / "zero_shot" / "recipes"
    return hash_of([tree, bundle, files_hashed(config.evaluation.measures, recipes, ending=".yaml")])
