"""A run that takes seconds: a small real model on the tiny hospital, as a configuration that the command line takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

VISION: dict[str, Any] = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1, "norm": "group"}
VISION |= {"options": {"channels": [8, 8, 16, 16], "stem_width": 8}}
MODEL: dict[str, Any] = {
    "name": "dual",
    "vision": VISION,
    "text": {"name": "transformer", "width": 16, "layers": 1, "heads": 2},
    "embed_dim": 8,
}


def tiny_tree(run: Path, hospital: Path, cache: Path) -> dict[str, Any]:
    """Return a plain configuration: 64 samples in batches of 8, validated and saved twice."""
    return {
        "run": str(run),
        "seed": 1,
        "data": {
            "root": str(hospital),
            "layout": "phantom",
            "where": {"view_position": ["PA", "AP"]},
            "prefix": [{"name": "read", "size": 32}, {"name": "sections", "sections": ["findings", "impression"]}],
            "suffix": [{"name": "sentences"}, {"name": "affine"}, {"name": "intensity"}],
            "cache": str(cache),
        },
        "tokenizer": {"vocab_size": 512, "max_length": 48},
        "model": MODEL,
        "phases": [{"until": 64, "objectives": [{"name": "clip"}]}],
        "optimiser": {"rate": 3.0e-3, "warmup": 16},
        "training": {"batch": 8, "validate_every": 32, "checkpoint_every": 16, "log_every": 8, "average": 64},
        "evaluation": {"resamples": 100, "min_positives": 1, "gallery": 2},
    }


def write_tree(path: Path, tree: dict[str, Any]) -> Path:
    """Write a configuration as YAML."""
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path
