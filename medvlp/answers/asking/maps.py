"""Maps of where a model's scores come from, drawn on the pictures that it was asked about, at their files' size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.core.answers import Answer
from medvlp.core.files import written_whole
from medvlp.core.map import Map
from medvlp.core.predictions import Predictions
from medvlp.core.sample import Sample

__all__ = ["DrawnMap", "draw_maps", "overlay"]

MOST = 10  # as many as the command prints
_OPACITY = 0.6  # the strongest place still lets the picture through


@dataclass(frozen=True)
class DrawnMap:
    """A file with a picture and, in colour, where the model looked.

    Attributes:
        label: finding.
        place: where, of a pair; empty elsewhere.
        path: PNG of the size of the source.
        peak: (x, y) of the middle of the strongest cell, in pixels of the source.
    """

    label: str
    place: str
    path: Path
    peak: tuple[float, float]

    def plain(self) -> dict[str, Any]:
        """Return what a JSON document says of it."""
        where = {"anatomy": self.place} if self.place else {}
        return {"finding": self.label, **where, "map": str(self.path), "peak": [round(v, 1) for v in self.peak]}


def draw_maps(
    model: VisionLanguageModel,
    answer: Answer,
    begun: Any,  # noqa: ANN401
    said: Predictions,
    sample: Sample,
    source: Path,
    folder: Path,
    *,
    number: int,
) -> list[DrawnMap]:
    """Write a PNG for each thing that one picture is said to show: ``FOLDER/001_effusion_at_left_costophrenic.png``.

    Names carry the number of the picture and not its file's name, which may tell who it is of.

    Args:
        model: a loaded bundle.
        answer: one of its answers.
        begun: what the answer's `begin` returned.
        said: of this picture alone.
        sample: the picture as the model sees it.
        source: its file.
        folder: made if absent.
        number: of the picture.

    Returns:
        At most ten; none where the answer has no maps or states nothing.
    """
    record = sample.record(model.model.pictures)
    drawn: list[DrawnMap] = []
    stated = _stated(said)
    found = answer.look(model.model, sample, begun, [(label, place) for label, place, _ in stated]) if stated else None
    if found is None:
        return drawn
    gray = model.picture(source)
    for (label, place, _), seen in zip(stated, found, strict=True):
        looked = seen.placed(record)
        words = f"{label}_at_{place}" if place else label
        path = folder / f"{number:03d}_{re.sub(r'[^A-Za-z0-9_-]', '_', words)}.png"
        with written_whole(path) as temporary:
            Image.fromarray(overlay(gray, looked)).save(temporary, format="PNG")
        drawn.append(DrawnMap(label, place, path, looked.peak()))
    return drawn


def overlay(gray: np.ndarray, looked: Map) -> np.ndarray:
    """Return a picture (H, W) in [0, 1] with the positive part of a map over it in orange, uint8 (H, W, 3).

    Example:
        >>> left = Map(np.array([[1.0, 0.0]], np.float32), (0.0, 0.0, 8.0, 8.0))
        >>> overlay(np.zeros((8, 8), np.float32), left)[4, [0, 7]].tolist()
        [[153, 76, 0], [0, 0, 0]]
    """
    heat = np.maximum(looked.in_source(*gray.shape), 0)
    share = (_OPACITY * heat / max(float(heat.max()), 1e-12))[..., None]
    mixed = (1 - share) * gray[..., None] + share * np.array([1.0, 0.5, 0.0], np.float32)
    return np.rint(255 * mixed.clip(0, 1)).astype(np.uint8)


def _stated(said: Predictions) -> list[tuple[str, str, float]]:
    if said.pairs is not None:
        return said.pairs.stated(0, most=MOST)
    scores: Mapping[str, Any] = said.scores or {}
    there = sorted(((name, float(values[0])) for name, values in scores.items()), key=lambda item: -item[1])
    return [(name, "", score) for name, score in there if score >= 0.5][:MOST]
