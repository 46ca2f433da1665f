"""A trusted third of the samples, and cleaning by rule or relation."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from tests.objectives.cases import method, pairs
from tests.objectives.cases._noisy import LABELS, PHASES, states


def trusted(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    return {**pairs(indices, dtype), "number.expert": Column((indices % 3 == 0).to(dtype), torch.arange(len(indices)))}


OPTIONS = {"trusted": "number.expert", "relation": "relation", "clean_by": "either", "temperature": "density"}
PROTOTYPES = {"name": "class_prototypes", "reads": "image/fopro", "temperature": "density", "margin": 0.5}
CASES = {
    "either": method(
        {"name": "fopro", "labels": LABELS, "hidden": 8, "width": 6, "relation_hidden": 5},
        PROTOTYPES,
        columns=trusted,
        phases=PHASES,
        states=states("fopro", **OPTIONS),
    )
}
