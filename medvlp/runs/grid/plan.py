"""A grid laid out: cells, runs, and what each run trains and evaluates; a suite is a grid without training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from medvlp.config.tree import RunConfig
from medvlp.config.yaml import override, put
from medvlp.core.files import sha256_of
from medvlp.runs.evaluate import EvaluationRun

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class EvaluationStep:
    """A part of the data that a run's model is judged on; `identity` is the hash of what decides its numbers."""

    config: EvaluationRun
    identity: str

    @property
    def results(self) -> Path:
        """Folder of the results files."""
        return Path(self.config.out) / "results"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One process' work: a training with its evaluations, or an evaluation alone.

    Attributes:
        name: words for messages.
        seed: of the run.
        folder: that it writes to.
        identity: hash of all that decides what is trained, or measured where nothing is trained.
        training: None in a suite.
        evaluations: split -> evaluation.
        absent: why it is left out; empty where it can run.
    """

    name: str
    seed: int
    folder: Path
    identity: str
    training: RunConfig | None = None
    evaluations: Mapping[str, EvaluationStep]
    absent: str = ""

    @property
    def evaluation(self) -> EvaluationRun:
        """The first evaluation; a suite's run has no other."""
        return next(iter(self.evaluations.values())).config

    @property
    def kind(self) -> Literal["sweep", "suite"]:
        """What it is a run of."""
        return "suite" if self.training is None else "sweep"

    @property
    def state(self) -> Path:
        """File of how far it came."""
        return self.folder / f"{self.kind}.json"

    @property
    def log(self) -> Path:
        """File of what it prints."""
        return self.folder / f"{self.kind}.log"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One choice on every axis, of overrides in a sweep or of the data set in a suite, with one run a seed.

    `labels` are axis -> label; `identity` is that of its configuration, whatever the seed.
    """

    name: str
    labels: Mapping[str, str]
    folder: Path
    identity: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[Config]):
    """A sweep or a suite laid out; `reference` names the cell that others are compared with."""

    title: str
    out: Path
    config: Config
    cells: tuple[Cell, ...]
    reference: str | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, the seeds of a cell one after the other."""
        return tuple(run for cell in self.cells for run in cell.runs)


def words_of(model: type[BaseModel], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part ``key.path=value`` words: those whose first key is the grid's, and those of every run."""
    own = [word for word in words if re.split(r"[.=\[]", word, maxsplit=1)[0] in model.model_fields]
    return own, [word for word in words if word not in own]


def changed_tree(tree: dict[str, Any], overrides: Mapping[str, object], words: Iterable[str] = ()) -> dict[str, Any]:
    """Return a tree with values put at dotted paths, then words."""
    for where, value in overrides.items():
        tree = put(tree, where, value)
    for word in words:
        tree = override(tree, word)
    return tree


def reserved(kind: str, own: Mapping[str, str], where: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each path that a grid sets itself; a word counts by what stands before its ``=``."""
    for path in (path.partition("=")[0] for path in paths):
        if path in own:
            yield f"{where} sets {path!r}, which a {kind} sets itself: {own[path]}."


def files_hashed(node: object, *folders: Path, ending: str = "") -> object:
    """Return a tree of options with every file that it names, from here or below a folder, replaced by its hash."""
    if isinstance(node, Mapping):
        return {key: files_hashed(value, *folders, ending=ending) for key, value in node.items()}
    if isinstance(node, list) and ending:
        return [files_hashed(value, *folders, ending=ending) for value in node]
    if isinstance(node, str):
        for path in (Path(node).expanduser(), *(folder / f"{node}{ending}" for folder in folders)):
            if path.is_file():
                return sha256_of(path)
    return node
