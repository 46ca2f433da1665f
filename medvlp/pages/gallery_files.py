"""The pictures of a run, kept so that its page can be drawn again: ``results/gallery.json`` and PNG files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from medvlp.core.errors import DataError
from medvlp.core.files import read_json, write_json, written_whole
from medvlp.evaluation.run_files import GALLERY
from medvlp.pages.inputs import Box, Chosen, GalleryItem, RetrievalExample, RetrievalHit

_BOXES, _HITS, _CHOSEN = TypeAdapter(tuple[Box, ...]), TypeAdapter(tuple[RetrievalHit, ...]), TypeAdapter(Chosen)
_WORDS = ("finding", "truth", "sentence", "note")


def write_gallery(run: Path, gallery: Sequence[GalleryItem], retrieval: Sequence[RetrievalExample]) -> None:
    """Write the images of a page to ``results/gallery.json`` and ``results/gallery/*.png``.

    A heat map is stored in 8 bits over its own range, which is how the page shows it.
    """
    folder = run / "results" / GALLERY
    items, examples = [], []
    for at, item in enumerate(gallery):
        heat: str | None = None
        if item.heat_map is not None:
            low, spread = item.heat_map.min(), np.ptp(item.heat_map)
            unit = (item.heat_map - low) / (spread if spread > 0 else 1)
            heat = _write(folder / f"heat-{at:03d}.png", np.rint(255 * unit).astype(np.uint8))
        image = _write(folder / f"picture-{at:03d}.png", item.image)
        facts = {name: getattr(item, name) for name in (*_WORDS, "chosen")}
        boxes = [asdict(box) for box in item.boxes]
        items.append({"image": image, "heat_map": heat, "score": float(item.score), "boxes": boxes, **facts})
    for at, example in enumerate(retrieval):
        image = _write(folder / f"query-{at:03d}.png", example.image)
        facts = {"expected_rank": float(example.expected_rank), "pool": int(example.pool)}
        facts |= {"relevant": int(example.relevant), "note": example.note}
        examples.append({"image": image, "hits": [asdict(hit) for hit in example.hits], **facts})
    write_json(run / "results" / f"{GALLERY}.json", {"gallery": items, "queries": examples})


def read_gallery(run: Path) -> tuple[tuple[GalleryItem, ...], tuple[RetrievalExample, ...]]:
    """Return the pictures that `write_gallery` wrote; nothing where there are none.

    Raises:
        DataError: if ``gallery.json`` or a picture is damaged.
    """
    path = run / "results" / f"{GALLERY}.json"
    if not path.is_file():
        return (), ()
    document: dict[str, Any] = read_json(path)
    folder = run / "results" / GALLERY
    try:
        items = tuple(
            GalleryItem(
                image=_read(folder, entry["image"]),
                heat_map=None if entry["heat_map"] is None else _read(folder, entry["heat_map"]) / 255.0,
                score=float(entry["score"]),
                boxes=_BOXES.validate_python(entry["boxes"]),
                chosen=_CHOSEN.validate_python(entry.get("chosen", "")),
                **{name: str(entry[name]) for name in _WORDS},
            )
            for entry in document["gallery"]
        )
        examples = tuple(
            RetrievalExample(
                image=_read(folder, entry["image"]),
                hits=_HITS.validate_python(entry["hits"]),
                expected_rank=float(entry["expected_rank"]),
                pool=int(entry["pool"]),
                relevant=int(entry["relevant"]),
                note=str(entry["note"]),
            )
            for entry in document["queries"]
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(
            f"{path} or a picture that it names cannot be read ({type(error).__name__}: {error}): "
            f"delete it for a page without pictures, or evaluate again."
        ) from error
    return items, examples


def _write(path: Path, pixels: NDArray[np.uint8]) -> str:
    with written_whole(path) as beside:
        Image.fromarray(np.ascontiguousarray(pixels)).save(beside, format="PNG")
    return path.name


def _read(folder: Path, name: object) -> NDArray[np.uint8]:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+\.png", name):
        raise ValueError(f"{name!r} is not a picture's file name")
    with Image.open(folder / name) as image:
        return np.asarray(image)
