"""What MeDSLIP, MedKLIP, MAVL and KAD have in common: a ResNet cut open, and queries that are vectors of texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medvlp.zoo._keys import Rules, count, under
from medvlp.zoo._pixels import IMAGENET

# nn.Sequential of torchvision's children names them by number.
NUMBERS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def trunk(prefix: str) -> Rules:
    """Return the rules of a ResNet whose parts are numbered, under a prefix of theirs."""
    parts = [(f"{prefix}{number}.", f"towers.image.backbone.{name}.") for number, name in NUMBERS.items()]
    return [rule for theirs, ours in parts for rule in under(theirs, [("(.*)", r"\1")], ours)]


def cut_resnet(image_size: int, weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Return the tower: a ResNet of bottlenecks with the blocks and stages of the numbered parts under a prefix."""
    blocks = [count(weights, re.escape(prefix) + rf"{number}\.(\d+)\..*") for number in "4567"]
    shown = {"image_size": image_size, "channels": 3, "mean": IMAGENET[0], "std": IMAGENET[1]}
    return {"name": "timm", "architecture": "resnet50", **shown, "options": {"layers": blocks}}


def squeezed(size: int, preset: str, resample: str) -> dict[str, Any]:
    """Return the view of releases that squeeze a film to a square."""
    return {"name": "read", "size": size, "preset": preset, "fit": "squeeze", "resample": resample}
