"""A suite: one bundle judged on several data sets, laid out and checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from medvlp.runs.evaluate import EvaluationRun
from medvlp.config.tree import Node
from medvlp.config.yaml import find_config, load_tree, override, put
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.files import sha256_of
from medvlp.core.provenance import hash_of
from medvlp.core.registry import validation_sentences
from medvlp.core.resources import resource_folder
from medvlp.core.suggest import did_you_mean

__all__ = ["SuiteConfig", "SuitePlan", "SuiteRun", "SuiteRunConfig", "is_suite", "load_suite"]

_OWN = {
    "model": "the suite judges one bundle: set model at its top",
    "out": "each run has a folder below the suite's out",
    "data.root": "write roots.NAME=FOLDER",
}
_MANIFEST = "MANIFEST.sha256"


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
        out: folder; each run writes to ``out/NAME``, the table to ``out/table.html``, ``.json``, ``.md``, ``.csv``.
        name: title of the table; the file's name where it is empty.
        reproduces: reproduction card whose model the bundle is, so that its numbers stand beside the published ones.
        roots: run -> folder of its data. A run whose folder is not there is left out, and the table says so.
        overrides: dotted path -> value, for every run; a run's own come after it.
        runs: the data sets.
    """

    model: str
    out: str
    name: str = ""
    reproduces: str | None = None
    roots: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(default_factory=dict)
    runs: list[SuiteRunConfig] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """A run of a suite.

    Attributes:
        name: of it.
        source: its configuration, as the suite names it.
        folder: that it writes to.
        config: as checked.
        identity: hash of the bundle, of all that decides what is measured, and of the recipes' files; not of the data.
        absent: why it is left out; empty where it can run.
    """

    name: str
    source: str
    folder: Path
    config: EvaluationRun
    identity: str
    absent: str = ""


@dataclass(frozen=True, kw_only=True)
class SuitePlan:
    """A suite laid out.

    Attributes:
        title: of the table.
        out: folder.
        bundle: hash of the bundle's manifest.
        config: as checked.
        runs: in the order of the file.
    """

    title: str
    out: Path
    bundle: str
    config: SuiteConfig
    runs: tuple[SuiteRun, ...]


def is_suite(path: str | Path) -> bool:
    """Tell a suite from one evaluation: it lists runs.

    Example:
        >>> is_suite("evaluate/suites/cxr.yaml"), is_suite("evaluate/phantom.yaml")
        (True, False)
    """
    return "runs" in load_tree(path)


def load_suite(path: str | Path, words: Sequence[str] = ()) -> SuitePlan:
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
    own = [word for word in words if _first_key(word) in SuiteConfig.model_fields]
    for_runs = [word for word in words if word not in own]
    try:
        config = SuiteConfig.model_validate(load_tree(source, own))
    except ValidationError as error:
        raise ConfigError(f"{path}: {' '.join(validation_sentences(error, where='', model=SuiteConfig))}") from None
    names = [run.name or Path(run.config).stem for run in config.runs]
    faults = list(_faults(config, names, for_runs))
    if faults:
        raise ConfigError(f"{path}: {' '.join(faults)}")
    manifest = Path(config.model).expanduser() / _MANIFEST
    if not manifest.is_file():
        raise UserError(f"{config.model} is no bundle (it has no {_MANIFEST}): give model=RUN/bundle.")
    bundle = sha256_of(manifest)
    runs, wrong = [], []
    for run, name in zip(config.runs, names, strict=True):
        try:
            runs.append(_run(config, run, name, for_runs, bundle, source.parent))
        except ConfigError as error:
            wrong.append(f"run {name}: {error}")
    if wrong:
        raise ConfigError(f"{path}, {' '.join(wrong)}")
    return SuitePlan(
        title=config.name or source.stem, out=Path(config.out), bundle=bundle, config=config, runs=tuple(runs)
    )


def _first_key(word: str) -> str:
    return re.split(r"[.=\[]", word, maxsplit=1)[0]


def _faults(config: SuiteConfig, names: Sequence[str], for_runs: Sequence[str]) -> Iterator[str]:
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"runs has {names.count(name)} runs named {name!r}: give them names of their own."
    for name in config.roots:
        if name not in names:
            yield f"roots names the run {name!r}, which there is not: {did_you_mean(name, names)}."
    yield from _reserved("overrides", config.overrides)
    for name, run in zip(names, config.runs, strict=True):
        yield from _reserved(f"run {name}", run.overrides)
    yield from _reserved("the command line", {word.partition("=")[0]: None for word in for_runs})


def _reserved(where: str, overrides: Mapping[str, object]) -> Iterator[str]:
    for path in overrides:
        if path in _OWN:
            yield f"{where} sets {path!r}, which a suite sets itself: {_OWN[path]}."


def _run(
    config: SuiteConfig, run: SuiteRunConfig, name: str, for_runs: Sequence[str], bundle: str, beside: Path
) -> SuiteRun:
    tree = load_tree(find_config(run.config, beside))
    for where, value in [*config.overrides.items(), *run.overrides.items()]:
        tree = put(tree, where, value)
    for word in for_runs:
        tree = override(tree, word)
    folder = Path(config.out) / name
    tree |= {"model": config.model, "out": str(folder)}
    if name in config.roots:
        tree = put(tree, "data.root", config.roots[name])
    try:
        made = EvaluationRun.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(" ".join(validation_sentences(error, where="", model=EvaluationRun))) from None
    if made.evaluation.into_bundle:
        raise ConfigError("evaluation.into_bundle would change the bundle that the next run judges: leave it out.")
    root = Path(made.data.root).expanduser()
    absent = "" if root.is_dir() else f"its data is not there: there is no folder {root}, give roots.{name}=FOLDER."
    return SuiteRun(
        name=name,
        source=run.config,
        folder=folder,
        config=made,
        identity=_identity(made, bundle),
        absent=absent,
    )


def _identity(config: EvaluationRun, bundle: str) -> str:
    """Return the hash of what decides the numbers, and not of where things lie or how many processes read."""
    tree = config.model_dump(mode="json", exclude={"model": True, "out": True, "workers": True, "report": True})
    tree["data"] = {key: value for key, value in tree["data"].items() if key not in ("root", "cache")}
    tree["evaluation"].pop("features", None)
    return hash_of([tree, bundle, _named(config.evaluation.measures)])


def _named(node: object) -> object:
    """Return options of measures with every recipe's file that they name replaced by its hash."""
    if isinstance(node, Mapping):
        return {key: _named(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_named(value) for value in node]
    return _recipe(node) if isinstance(node, str) else node


def _recipe(name: str) -> str:
    """Return the hash of a recipe's file; of a component its name says all."""
    for path in (Path(name), resource_folder("configs") / "zero_shot" / "recipes" / f"{name}.yaml"):
        if path.is_file():
            return sha256_of(path)
    return name
