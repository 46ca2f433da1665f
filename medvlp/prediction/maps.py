"""Maps of what a dual-stream model says, drawn on the pictures that it was asked about, at the size of their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medvlp.core.errors import UserError
from medvlp.core.files import written_whole
from medvlp.prediction.findings import AttentionMap, Pair, mounted_streams
from medvlp.prediction.model import VisionLanguageModel

__all__ = ["DrawnMap", "draw_maps", "overlay", "require_maps"]

_OPACITY = 0.6  # the strongest place still lets the picture through


@dataclass(frozen=True)
class DrawnMap:
    """A file with a picture and, in colour, where the model looked.

    Attributes:
        pair: what it was asked for.
        path: PNG of the size of the source.
        peak: (x, y) of the middle of the strongest cell, in pixels of the source.
    """

    pair: Pair
    path: Path
    peak: tuple[float, float]


def require_maps(model: VisionLanguageModel, asked: bool) -> None:
    """Refuse a model that has no maps of what it states.

    Args:
        model: a loaded bundle.
        asked: whether it is asked for its own findings.

    Raises:
        UserError: if it is not, has no dual-stream head, or looks at stacks.
    """
    if mounted_streams(model.model) is None or model.model.pictures != "image":
        raise UserError(
            "Maps of what lies where need a model of pictures with a dual_stream head (MeDSLIP), which this is not: "
            "leave --maps out."
        )
    if not asked:
        raise UserError("Maps show what the recipe existence states: choose --recipe existence, or leave --maps out.")


def draw_maps(
    model: VisionLanguageModel, source: Path, pairs: Sequence[Pair], folder: Path, *, number: int
) -> list[DrawnMap]:
    """Write a PNG for each pair: ``FOLDER/001_effusion_at_left_costophrenic.png``.

    Names carry the number of the picture and not its file's name, which may tell who it is of.

    Args:
        model: with a dual-stream head.
        source: file of the picture.
        pairs: what is drawn.
        folder: made if absent.
        number: of the picture.

    Raises:
        UserError: if the folder cannot be written.
    """
    if not pairs:
        return []
    looked, gray, drawn = model.gaze(source), model.picture(source), []
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and maps go to a folder: name another.")
    for pair in pairs:
        found = looked.at(pair.observation, pair.anatomy)
        path = folder / f"{number:03d}_{pair.observation}_at_{pair.anatomy}.png"
        with written_whole(path) as temporary:
            Image.fromarray(overlay(gray, found)).save(temporary, format="PNG")
        drawn.append(DrawnMap(pair, path, found.peak()))
    return drawn


def overlay(gray: np.ndarray, looked: AttentionMap) -> np.ndarray:
    """Return a picture (H, W) in [0, 1] with a map over it in orange, uint8 (H, W, 3).

    Example:
        >>> left = AttentionMap(np.array([[1.0, 0.0]], np.float32), (0.0, 0.0, 8.0, 8.0), 0.5)
        >>> overlay(np.zeros((8, 8), np.float32), left)[4, [0, 7]].tolist()
        [[153, 76, 0], [0, 0, 0]]
    """
    heat = looked.in_source(*gray.shape)
    share = (_OPACITY * heat / max(float(heat.max()), 1e-12))[..., None]
    mixed = (1 - share) * gray[..., None] + share * np.array([1.0, 0.5, 0.0], np.float32)
    return np.rint(255 * mixed.clip(0, 1)).astype(np.uint8)
