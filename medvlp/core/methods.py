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
        checked: how: ``equations``, ``exact`` (processes, chunks and resuming), ``library NAME``, ``small world`` with
            whether its paper's claim showed there in all three seeds, in their mean, or not.
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
    measured, toys = (resource_folder("docs/results") / f"{name}.json" for name in ("comparison", "method_toys"))
    gains = json.loads(measured.read_text(encoding="utf-8"))["gains"] if measured.is_file() else {}
    worlds = json.loads(toys.read_text(encoding="utf-8"))["tables"]["toys"]["rows"] if toys.is_file() else []
    ahead = {str(row[0]): "not ahead" if row[-1] == "no" else f"ahead {row[-1]}" for row in worlds}
    return tuple(_method(family, row, gains, ahead) for family, rows in table.items() for row in rows)


def _method(family: str, row: Mapping[str, Any], gains: Mapping[str, float], ahead: Mapping[str, str]) -> Method:
    parts = tuple(row.get("parts", ()))
    stem = Path(str(row.get("config", ""))).stem  # of the world; a second one is called STEM_WORD
    names = {stem, *(part.rpartition("/")[2] for part in parts)}
    outcomes = dict.fromkeys(said for name, said in ahead.items() if name in names or name.startswith(f"{stem}_"))
    world = f"small world: {' and '.join(outcomes)}"
    named = (entry.paper for part in parts for entry in chosen(part))
    return Method(
        family=family,
        name=str(row["name"]),
        paper=str(row.get("paper") or next(filter(None, named), "")),
        parts=parts,
        config=str(row.get("config", "")),
        checked=tuple(world if word == "small world" else word for word in row.get("checked", ())),
        absent=str(row.get("absent", "")),
        gain=gains.get(str(row.get("config", ""))),
    )
