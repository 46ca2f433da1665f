"""Pictures of a bright square, left, right or nowhere: its mask, a question about it, and a report of an effusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import runs_of
from tests.models.words import VIT
from tests.tiny import VISION

SPLITS = {"train": 48, "validate": 24, "test": 12}
SIZE = 64
TEXT = {"name": "transformer", "width": 16, "layers": 1, "heads": 2}


def make_squares(folder: Path) -> Path:
    """Write PNG files and ``squares.parquet``, one patient a picture; returns the folder."""
    draw = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {}
    for split, count in SPLITS.items():
        for number in range(count):
            side = ("left", "right", "")[number % 3]
            mask = np.zeros((SIZE, SIZE), dtype=bool)
            if side:
                y, x = draw.integers(4, 40), draw.integers(2, 10) + (32 if side == "right" else 0)
                mask[y : y + 18, x : x + 18] = True
            pixels = np.where(mask, 200, 60) + draw.normal(0, 8, mask.shape)
            name = f"{split}{number}"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
            row = {
                "id": name,
                "image": f"{name}.png",
                "id.patient": name,
                "split": split,
                "text": f"There is a {side} pleural effusion." if side else "No pleural effusion.",
                "text.question": "is there a square" if number % 2 else "is the square on the left",
                "text.answer": "yes" if (side if number % 2 else side == "left") else "no",
                "mask.square": runs_of(mask),
            }
            for key, value in row.items():
                columns.setdefault(key, []).append(value)
    Manifest.of(columns, root=folder).save(folder / "squares.parquet")
    return folder


def tree(
    folder: Path, data: Path, objective: str, *, choose: str, words: bool = True, **options: Any
) -> dict[str, Any]:
    """Return a run over the squares by one objective."""
    vision = {**VIT, "channels": 1} if words else {**VISION, "image_size": SIZE}
    model = {"name": "dual", "vision": vision, "text": TEXT, "embed_dim": 8}
    return {
        "run": str(folder / "run"),
        "seed": 1,
        "data": {
            "root": str(data),
            "manifest": str(data / "squares.parquet"),
            "prefix": [{"name": "read", "size": SIZE}],
            "cache": str(folder / "cache"),
        },
        "tokenizer": {"vocab_size": 128, "max_length": 16},
        "model": model if words else {"name": "vision", "vision": vision},
        "phases": [{"until": 96, "objectives": [{"name": objective, **options}]}],
        "optimiser": {"rate": 3.0e-3, "warmup": 16},
        "training": {"batch": 8, "validate_every": 48, "checkpoint_every": 48, "log_every": 8},
        "evaluation": {"resamples": 100, "min_positives": 1, "choose": choose, "gallery": 0},
    }


def files(data: Path, split: str) -> list[Path]:
    """Return the pictures of a split."""
    return [data / f"{split}{number}.png" for number in range(SPLITS[split])]
