"""The field's methods by family: components of each, what trains it, how it was checked, what it gave here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medvlp.core.components import chosen
from medvlp.core.resources import resource_folder


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the field.

    Attributes:
        family: what it changes, in a few words.
        name: its name in the field.
        paper: authors and year, as its first component names them; empty where none does.
        parts: components that make it, ``kind/name``; none where it cannot be built here.
        config: file of `configs/` that trains or runs it; empty where none is shipped.
        checked: how: ``equations``, ``exact`` (processes, chunks and resuming), ``small world``, ``library NAME``.
        absent: why it is not here; empty for what is.
        gain: zero-shot macro AUROC less CLIP's with the same budget and seeds, on synthetic patients; None where it was
            not measured.
    """

    family: str
    name: str
    paper: str
    parts: tuple[str, ...]
    config: str
    checked: tuple[str, ...]
    absent: str
    gain: float | None


@cache
def methods() -> tuple[Method, ...]:
    """Return all methods, family by family.

    Example:
        >>> found = {each.name: each for each in methods()}["FILIP"]
        >>> found.parts, found.config, found.paper
        (('models/scores/late_interaction',), 'compare/filip.yaml', 'Yao et al. 2022')
    """
    table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    measured = resource_folder("docs/results") / "comparison.json"
    gains = json.loads(measured.read_text(encoding="utf-8"))["gains"] if measured.is_file() else {}
    return tuple(_method(family, row, gains) for family, rows in table.items() for row in rows)


def _method(family: str, row: Mapping[str, Any], gains: Mapping[str, float]) -> Method:
    parts = tuple(row.get("parts", ()))
    named = (entry.paper for part in parts for entry in chosen(part))
    return Method(
        family=family,
        name=str(row["name"]),
        paper=str(row.get("paper") or next(filter(None, named), "")),
        parts=parts,
        config=str(row.get("config", "")),
        checked=tuple(row.get("checked", ())),
        absent=str(row.get("absent", "")),
        gain=gains.get(str(row.get("config", ""))),
    )
