"""Image against report, by learned classes and by texts of classes, and image against another view of it."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.models.bank import Bank
from tests.objectives.cases import FINDINGS, method, pairs
from tests.training.methods import images


def twice(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    second = Column(images(indices, dtype, look=1), torch.arange(len(indices)))
    return {**pairs(indices, dtype), "image.second": second}


SIMLAP = {"name": "simlap", "labels": list(FINDINGS), "hidden": 8, "width": 4}
CASES = {
    "reports": method(SIMLAP),
    "texts": method({**SIMLAP, "bank": "classes"}, banks={"classes": Bank("classes", (*FINDINGS, "nothing"))}),
    "images": method({**SIMLAP, "views": ["image", "image.second"], "pairing": "different"}, columns=twice),
}
