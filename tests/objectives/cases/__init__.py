"""One file for each objective of the package: small runs that `test_exact.py` holds to the engine's promises.

A file bears the objective's name and gives ``CASES``, name of the case -> `Method`: the made-up samples, the phases and
the states with which the objective is trained for a few steps. `pairs` makes the samples that most of them need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.core.protocols import Objective
from medvlp.core.registry import build
from tests.training.methods import BATCH, Method, images

FINDINGS = ("effusion", "nodule", "fracture", "edema")
UNTIL = 3 * BATCH  # samples of a case's last phase, unless it says otherwise


def cases(name: str) -> Mapping[str, Method]:
    """Return the cases of an objective; an error names the missing file."""
    found: Mapping[str, Method] = importlib.import_module(f"tests.objectives.cases.{name}").CASES
    return found


def pairs(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Images with one report each: twelve reports, so that some are equal; findings, patients and studies beside."""
    rows = torch.arange(len(indices))
    words = tuple(f"{('small', 'large', 'no')[i % 3]} {FINDINGS[i // 3 % 4]} seen" for i in indices.tolist())
    columns = {"image": Column(images(indices, dtype), rows), "text": Column(words, rows)}
    columns["id.patient"] = Column(tuple(f"p{i // 2}" for i in indices.tolist()), rows)
    for place, finding in enumerate(FINDINGS):
        values = [float(i % 3 != 2 and i // 3 % 4 == place) for i in indices.tolist()]
        columns[f"label.{finding}"] = Column(torch.tensor(values, dtype=dtype), rows)
    return columns


def method(
    *specs: Mapping[str, Any],
    columns: Callable[[Tensor, torch.dtype], dict[str, Column]] = pairs,
    until: int = UNTIL,
    **options: Any,
) -> Method:
    """Return a run of one phase with these objectives; further options are those of `Method`."""

    def objectives() -> Sequence[Mapping[str, Objective]]:
        return [{str(spec["name"]): build("objectives", spec, where="test") for spec in specs}]

    return Method(**{"columns": columns, "objectives": objectives, "phases": [{"until": until}], **options})


def crops(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """The samples of `pairs`, and of each image two large crops and three small ones."""
    columns, rows = pairs(indices, dtype), torch.arange(len(indices))
    for role, looks in (("large", (1, 2)), ("local", (3, 4, 5))):
        values = torch.stack([images(indices, dtype, look=look) for look in looks], dim=1).flatten(0, 1)
        columns[f"image.{role}"] = Column(values, rows.repeat_interleave(len(looks)))
    return columns


def strong(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """The samples of `pairs`, with two more looks at each image and two other wordings of each report."""
    columns, rows = pairs(indices, dtype), torch.arange(len(indices))
    for look, role in enumerate(("strong", "second"), start=1):
        columns[f"image.{role}"] = Column(images(indices, dtype, look=look), rows)
        words = tuple(f"{('small', 'large', 'no')[i % 3]} {FINDINGS[i // 3 % 4]} {role}" for i in indices.tolist())
        columns[f"text.{role}"] = Column(words, rows)
    return columns
