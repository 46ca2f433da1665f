"""Masks by a U-Net, each for itself and one excluding the other; by DenseCLIP with the text tower, and by AttrSeg."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core import Column
from medvlp.models.bank import Bank
from tests.models.words import DUAL, VISION
from tests.objectives.cases import method
from tests.training.methods import images


def masks(indices: Tensor, dtype: torch.dtype) -> dict[str, Column]:
    """Bright and dark places of the images; every fourth has no mask."""
    pixels, rows = images(indices, dtype), torch.arange(len(indices))
    seen = indices % 4 != 3
    named = {"bright": pixels > 0.7, "dark": pixels < 0.3}
    columns = {"image": Column(pixels, rows)}
    return columns | {f"mask.{name}": Column(mask[:, 0][seen], rows[seen]) for name, mask in named.items()}


SPEC = {"name": "dice_ce", "labels": ["bright", "dark"], "decoder": {"name": "unet", "width": 8}}
WORDS = {"name": "dense_clip", "bank": "places", "cells": "image", "width": 8, "decoder_width": 16, "dropout": 0.0}
DENSE = {**SPEC, "decoder": {**WORDS, "decoder_layers": 1, "heads": 2}, "scores": 0.4}
FINER = {**DUAL, "vision": {**VISION, "options": {**VISION["options"], "output_stride": 8}}}  # 4 x 4 cells, not one
PLACES = {"places": Bank("places", ("a bright place", "a dark place"))}
SIGNS = {"name": "attr_seg", "bank": "signs", "width": 8, "heads": 2}
NAMES = ("bright/place", "bright/look", "dark/place", "dark/look")
SIGN_BANK = {"signs": Bank("signs", ("anywhere", "white and shiny", "in a corner", "black"), names=NAMES)}
CASES = {
    "each": method(SPEC, columns=masks),
    "exclusive": method({**SPEC, "exclusive": True}, columns=masks),
    "attr_seg": method({**SPEC, "decoder": SIGNS}, columns=masks, banks=SIGN_BANK, spec=FINER),
    "dense_clip": method(DENSE, columns=masks, banks=PLACES, spec=FINER),
}
