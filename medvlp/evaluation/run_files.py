"""Files of a run folder that more than one reader opens: configuration, log, results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.core.files import plain_yaml

GALLERY = "gallery"
"""Stem of the one file of ``results/`` that is no result, and of the folder of its images."""

BEGUN = ".evaluation.begun"
"""Names what an evaluation writes, and is there until its record is."""


def result_paths(run: Path) -> list[Path]:
    """Return the ``results/*.json`` of a run, without the gallery's."""
    return [path for path in sorted((run / "results").glob("*.json")) if path.stem != GALLERY]


def own_files(run: Path) -> list[Path]:
    """Return the files of a run or suite that no page may be written over: what it was made with, found and released.

    Pages, cards and pictures that were drawn of it are none of them.
    """
    if not run.is_dir():
        return []
    own = [path for path in run.iterdir() if path.suffix in (".yaml", ".json", ".jsonl", ".parquet")]
    return own + [path for name in ("results", "bundle", "checkpoints") for path in (run / name).rglob("*")]


def read_config(path: Path) -> dict[str, object]:
    """Return the tree of a run; empty where it kept none."""
    if not path.is_file():
        return {}
    tree = plain_yaml(path, mend="restore it or remove it")
    return tree if isinstance(tree, dict) else {}


def read_log(path: Path) -> list[Mapping[str, object]]:
    """Read JSON lines; a run that was killed may have torn the last one, which is left out."""
    if not path.is_file():
        return []
    rows: list[Mapping[str, object]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for at, line in enumerate(lines):
        try:
            row = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            if at == len(lines) - 1:
                break
            raise DataError(f"{path} line {at + 1} is not JSON ({error}): restore the file or remove it.") from error
        if isinstance(row, dict):
            rows.append(row)
    return rows
