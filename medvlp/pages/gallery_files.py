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

from medvlp.core.errors import DataError
from medvlp.core.files import read_json, write_json, written_whole
from medvlp.evaluation.run_files import GALLERY
from medvlp.pages.inputs import CHOSEN, Box, Chosen, GalleryItem, RetrievalExample, RetrievalHit

__all__ = ["read_gallery", "write_gallery"]


def write_gallery(run: Path, gallery: Sequence[GalleryItem], retrieval: Sequence[RetrievalExample]) -> None:
    """Keep the pictures of a page in ``results/gallery.json`` and ``results/gallery/*.png``.

    A heat map is kept in 8 bits over its own range, which is how the page shows it.
    """
    folder = run / "results" / GALLERY
    items, examples = [], []
    for at, item in enumerate(gallery):
        heat: str | None = None
        if item.heat_map is not None:
            low, spread = item.heat_map.min(), np.ptp(item.heat_map)
            unit = (item.heat_map - low) / (spread if spread > 0 else 1)
            heat = _keep(folder / f"heat-{at:03d}.png", np.rint(255 * unit).astype(np.uint8))
        entry = {
            "image": _keep(folder / f"picture-{at:03d}.png", item.image),
            "heat_map": heat,
            "finding": item.finding,
            "score": float(item.score),
            "boxes": [asdict(box) for box in item.boxes],
            "truth": item.truth,
            "sentence": item.sentence,
            "note": item.note,
            "chosen": item.chosen,
        }
        items.append(entry)
    for at, example in enumerate(retrieval):
        entry = {
            "image": _keep(folder / f"query-{at:03d}.png", example.image),
            "hits": [asdict(hit) for hit in example.hits],
            "expected_rank": float(example.expected_rank),
            "pool": int(example.pool),
            "relevant": int(example.relevant),
            "note": example.note,
        }
        examples.append(entry)
    write_json(run / "results" / f"{GALLERY}.json", {"gallery": items, "queries": examples})


def read_gallery(run: Path) -> tuple[tuple[GalleryItem, ...], tuple[RetrievalExample, ...]]:
    """Return the pictures that `write_gallery` kept; nothing where there are none.

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
                image=_kept(folder, entry["image"]),
                heat_map=None if entry["heat_map"] is None else _kept(folder, entry["heat_map"]) / 255.0,
                finding=str(entry["finding"]),
                score=float(entry["score"]),
                boxes=tuple(
                    Box(
                        float(box["left"]),
                        float(box["top"]),
                        float(box["right"]),
                        float(box["bottom"]),
                        str(box["label"]),
                    )
                    for box in entry["boxes"]
                ),
                truth=str(entry["truth"]),
                sentence=str(entry["sentence"]),
                note=str(entry["note"]),
                chosen=_chosen(entry.get("chosen", "")),
            )
            for entry in document["gallery"]
        )
        examples = tuple(
            RetrievalExample(
                image=_kept(folder, entry["image"]),
                hits=tuple(
                    RetrievalHit(
                        rank=int(hit["rank"]),
                        text=str(hit["text"]),
                        score=float(hit["score"]),
                        correct=bool(hit["correct"]),
                    )
                    for hit in entry["hits"]
                ),
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


def _keep(path: Path, pixels: NDArray[np.uint8]) -> str:
    with written_whole(path) as beside:
        Image.fromarray(np.ascontiguousarray(pixels)).save(beside, format="PNG")
    return path.name


def _chosen(word: object) -> Chosen:
    found = [known for known in CHOSEN if known == word]
    if not found:
        raise ValueError(f"{word!r} is no reason to show a picture")
    return found[0]


def _kept(folder: Path, name: object) -> NDArray[np.uint8]:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+\.png", name):
        raise ValueError(f"{name!r} is not a picture's file name")
    with Image.open(folder / name) as image:
        return np.asarray(image)
