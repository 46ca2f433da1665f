"""Two streams of queries over an image, and the matrix of what lies where."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.models.bank import Bank
from tests.models.words import DUAL
from tests.objectives.cases import method
from tests.training.methods import images

FOUND, PLACES = ("effusion", "nodule", "no finding"), ("left", "right")


def stated(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """A matrix (places x findings) of -1, 0 and 1 of most samples."""
    rows = (indices % 4 != 3).nonzero()[:, 0]
    draws = [torch.randint(-1, 2, (6,), generator=torch.Generator().manual_seed(int(indices[r]))) for r in rows]
    matrix = torch.stack(draws).to(dtype) if draws else torch.zeros(0, 6, dtype=dtype)
    return {
        "image": Column(images(indices, dtype), torch.arange(len(indices))),
        "vector.triplets": Column(matrix, rows),
    }


def _bank(name: str, texts: tuple[str, ...], seed: int) -> Bank:
    return Bank(name, texts, torch.randn(len(texts), 5, generator=torch.Generator().manual_seed(seed)))


STREAMS = {"name": "dual_stream", "width": 8, "layers": 1, "heads": 2, "feedforward": 12, "dropout": 0.0}
OPTIONS = {
    "columns": stated,
    "spec": {**DUAL, "heads": {"image/medslip": STREAMS}},
    "banks": {"pathology": _bank("pathology", FOUND, 1), "anatomy": _bank("anatomy", PLACES, 2)},
}
CASES = {"whole": method({"name": "medslip", "negatives": 1, "temperature": 0.5}, **OPTIONS)}
