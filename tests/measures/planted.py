"""A manifest of a synthetic hospital with its truth as columns, as any data set may have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from medvlp.core.predictions import Mask
from medvlp.data.layouts.phantom import index
from medvlp.phantom.planted import read_planted


def write_manifest(root: Path, path: Path) -> Path:
    """Write ``side.F``, ``size.F`` (mm), ``boxes.F`` and ``mask.F`` of radiographs beside what the layout gives."""
    manifest, truth = index(root), read_planted(root)
    assert truth is not None
    shapes = {row["path"]: (row["rows"], row["columns"]) for row in _rows(root, "images")}
    boxes: dict[tuple[str, str], list[list[float]]] = {}
    masks: dict[tuple[str, str], np.ndarray] = {}
    for row in _rows(root, "boxes"):
        key = row["path"], row["name"]
        boxes.setdefault(key, []).append([row["x0"], row["y0"], row["x1"], row["y1"]])
        mask = masks.setdefault(key, np.zeros(shapes[row["path"]], bool))
        mask |= np.repeat(np.arange(len(row["mask"])) % 2 == 1, row["mask"]).reshape(mask.shape)
    studies, images = manifest.column("id.study").tolist(), manifest.column("image").tolist()
    for name in sorted({name for _, name in boxes}):
        planted = [[each for each in truth.findings.get(study, ()) if each.name == name] for study in studies]
        columns = {
            "side": [_side({each.side for each in some}) for some in planted],
            "size": [max((each.size for each in some), default=None) for some in planted],
            "boxes": [boxes.get((image, name)) for image in images],
            "mask": [runs_of(masks[image, name]) if (image, name) in masks else None for image in images],
        }
        for kind, values in columns.items():
            if any(value is not None for value in values):
                manifest = manifest.with_column(f"{kind}.{name}", values)
    manifest.save(path)
    return path


def runs_of(mask: np.ndarray) -> list[int]:
    """Return (height, width, runs of 0 and 1 in turn down the columns)."""
    return [*mask.shape, *Mask.of(np.ascontiguousarray(mask.T)).runs.tolist()]


def _side(sides: set[str]) -> str | None:
    if "bilateral" in sides or {"left", "right"} <= sides:
        return "both"
    return next((side for side in ("left", "right") if side in sides), None)


def _rows(root: Path, name: str) -> list[dict]:
    return pq.read_table(root / "truth" / f"{name}.parquet").to_pylist()
