"""What lies in a folder: runs, manifests, tables of features, bundles; told by what the files hold, not by names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from medvlp.core.errors import UserError
from medvlp.data._groups import open_parquet
from medvlp.data.manifest import Manifest
from medvlp.evaluation import run_files
from medvlp.evaluation.results import Result, load_result

_DEEP = 6
_NOT_INTO = ("checkpoints", "dicom", "gallery", "tensorboard", "patches", "tokenizer", "truth")


@dataclass(frozen=True)
class Shelf:
    """Everything below a folder by a name that people know it by: its path from there.

    Attributes:
        folder: where to look, six folders deep.
        bundles: further ones.
        root: folder of the pictures; None: as each manifest says.

    Raises:
        UserError: there is no such folder, or no such root.
    """

    folder: Path
    bundles: tuple[Path, ...] = ()
    root: Path | None = None
    _found: dict[str, dict[str, Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"{self.folder} is no folder: name one that holds run folders.")
        if self.root is not None and not self.root.is_dir():
            raise UserError(f"{self.root} is no folder: name the one of the pictures, or leave --root out.")
        self.look()

    def look(self) -> None:
        """Look again: a training may have begun."""
        found: dict[str, dict[str, Path]] = {"run": {}, "manifest": {}, "table": {}, "bundle": {}}
        for kind, path in _walked(self.folder):
            found[kind][self._name(path)] = path
        found["bundle"] |= {str(path): path for path in self.bundles}
        self._found.update(found)

    def names(self, kind: str) -> list[str]:
        """Return the names of a kind: ``"run"``, ``"manifest"``, ``"table"`` or ``"bundle"``."""
        return sorted(name for name, path in self._found[kind].items() if path.exists())  # not what was taken away

    def path(self, kind: str, name: str | None) -> Path:
        """Return where one lies; only what was found is ever opened.

        Raises:
            UserError: none of that name was found.
        """
        found = self._found[kind].get(name or "")
        if found is None or not found.exists():
            raise UserError(f"There is no {kind} {name or ''} below {self.folder.name}: choose one of the list.")
        return found

    def manifest(self, name: str) -> Manifest:
        """Return a manifest, with the root that was given for all."""
        path = self.path("manifest", name)
        return _manifest(path, path.stat().st_mtime, self.root)

    def manifest_of(self, ids: Sequence[str], near: str = "", *, data: object = None) -> Manifest | None:
        """Return the manifest that knows some ids, that of the hash `data` first, then one beside `near`; else None."""
        names = sorted(self.names("manifest"), key=lambda name: not name.startswith(f"{near}/"))
        # Ids alone tell no cohorts apart: those of one layout may be numbered alike.
        knowing = (each for each in map(self.manifest, names) if set(ids) <= rows_of(each).keys())
        first = next(knowing, None)
        if first is None or not data or first.hash == data:
            return first
        return next((each for each in knowing if each.hash == data), first)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix() if path != self.folder else self.folder.resolve().name

    def results(self) -> dict[str, Path]:
        """Return the results of all runs, by run and name."""
        return {
            f"{run}: {name}": path
            for run in self.names("run")
            for name, path in result_paths(self.path("run", run)).items()
        }


def result_paths(run: Path) -> dict[str, Path]:
    """Return the results of a run folder by name."""
    return {path.stem: path for path in run_files.result_paths(run)}


def result_of(path: Path, *, cases: bool = True) -> Result:
    """Return one, read again only if its file has changed."""
    return _result(path, path.stat().st_mtime, cases)


@lru_cache(maxsize=8)
def rows_of(manifest: Manifest) -> dict[str, int]:
    """Return the row of each id."""
    return {str(name): row for row, name in enumerate(manifest.column("id").tolist())}


@lru_cache(maxsize=64)
def _result(path: Path, changed: float, cases: bool) -> Result:
    return load_result(path, cases=cases)


@lru_cache(maxsize=8)
def _manifest(path: Path, changed: float, root: Path | None) -> Manifest:
    return Manifest.load(path, root=root)


def _walked(folder: Path) -> Iterator[tuple[str, Path]]:
    start = len(folder.parts)
    for place, folders, files in os.walk(folder):
        path = Path(place)
        if "bundle.yaml" in files:
            yield "bundle", path
            folders.clear()
            continue
        if "log.jsonl" in files or "evaluation.json" in files:
            yield "run", path
        inside = path.name != "results" and len(path.parts) - start < _DEEP
        folders[:] = [each for each in folders if inside and each[0] not in "._" and each not in _NOT_INTO]
        for name in files if path.name != "results" else ():
            kind = _kind(path / name) if name.endswith(".parquet") else ""
            if kind:
                yield kind, path / name


def _kind(path: Path) -> str:
    """A manifest says where its pictures lie, a table of features which model made it."""
    try:
        with open_parquet(path) as file:
            meta = json.loads((file.schema_arrow.metadata or {}).get(b"medvlp", b"{}"))
    except (pa.ArrowInvalid, OSError, ValueError):
        return ""  # somebody else's, or being written
    return "manifest" if "root" in meta else "table" if "model" in meta else ""
