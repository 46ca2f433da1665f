"""An importer: one file, one function from a foreign checkpoint to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from medvlp.core.registry import FromModel
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle
from medvlp.zoo import load_strictly, read_checkpoint

__all__ = ["plain_weights"]


def plain_weights(*, source: Annotated[Path, FromModel("source")], width: int = 16) -> Bundle:
    """Read ``fc.weight`` and ``fc.bias`` of somebody's linear model of 4 x 4 tiles."""
    spec = {"name": "vision", "vision": {"name": "mean_pixels", "width": width}}
    model = build_model(spec, tokenizer=None, seed=0)
    ours = {"fc.weight": "towers.image.output.weight", "fc.bias": "towers.image.output.bias"}
    own = [name for name in model.state_dict() if not name.startswith("towers.")]
    load_strictly(model, read_checkpoint(source), ours.get, source=source, own=own)
    return Bundle(model=model, tokenizer=None, preprocessing=[{"name": "read", "size": 32}])
