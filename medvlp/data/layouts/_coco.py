"""Boxes and masks of a COCO annotation file, by the names of its pictures (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.core.errors import DataError
from medvlp.core.grouped import grouped
from medvlp.data.layouts._files import finding_name, size_of
from medvlp.data.mask_files import filled, mask_of, runs_of


def coco_columns(path: Path, images: Sequence[str | None], folder: Path) -> dict[str, list[object]]:
    """Return ``boxes.CATEGORY`` and ``mask.CATEGORY`` of pictures.

    A picture that the file lists has a box for each annotation and one mask, their union, both empty without any; of
    one that it does not list nothing is known. Categories are written in lower case, with ``_`` between words.

    Args:
        path: of the annotations; a file of another form, that lists none of the images, or that speaks of pictures of
            other sizes or of boxes beside them, is a `DataError`.
        images: paths, whose end is the file's ``file_name``.
        folder: that they are relative to.
    """
    found = _read(path)
    categories = {entry["id"]: finding_name(str(entry["name"])) for entry in found["categories"]}
    named = grouped((str(entry["file_name"]).rpartition("/")[2], entry) for entry in found["images"])
    drawn: dict[tuple[Any, str], list[dict[str, Any]]] = {}
    for place, entry in enumerate(found["annotations"]):
        if entry["category_id"] not in categories:
            raise DataError(f"{path}, annotations[{place}] is of a category that is not listed: mend the file.")
        drawn.setdefault((entry["image_id"], categories[entry["category_id"]]), []).append(entry)
    listed = [_entry(image, named, path) if image else None for image in images]
    owners = {(image, entry["id"]) for image, entry in zip(images, listed, strict=True) if entry is not None}
    if len(owners) > len({number for _, number in owners}):
        raise DataError(f"{path} lists one picture by a name that several of yours have: write it with its folder.")
    if not owners:
        raise DataError(f"{path} lists none of the {len(images)} pictures by the name of its file: check both.")
    sizes = {
        entry["id"]: _size(entry, folder / image, path)
        for image, entry in zip(images, listed, strict=True)
        if image and entry
    }
    masks = any("segmentation" in entry for entry in found["annotations"])
    columns: dict[str, list[object]] = {}
    for name in dict.fromkeys(categories.values()):
        here = [None if image is None else drawn.get((image["id"], name), []) for image in listed]
        columns[f"boxes.{name}"] = [
            None if some is None else [_corners(entry, sizes[entry["image_id"]], path) for entry in some]
            for some in here
        ]
        if masks:
            columns[f"mask.{name}"] = [
                None if some is None or image is None else _union(some, (int(image["height"]), int(image["width"])))
                for some, image in zip(here, listed, strict=True)
            ]
    return columns


def _entry(image: str, named: dict[str, list[dict[str, Any]]], path: Path) -> dict[str, Any] | None:
    """The picture of that path: folders must agree as far as both have some, since names repeat in other folders."""
    parts = image.split("/")[::-1]
    found = [
        entry
        for entry in named.get(parts[0], [])
        if all(one == other for one, other in zip(parts, str(entry["file_name"]).split("/")[::-1], strict=False))
    ]
    if len(found) > 1:
        raise DataError(f"{path} lists {len(found)} pictures that {image!r} may be: give paths with their folders.")
    return found[0] if found else None


def run_lengths(counts: str) -> list[int]:
    """Return the run lengths of COCO's compressed form: numbers of 5 bits a character, from the fourth on differences.

    Example:
        >>> run_lengths("123"), run_lengths("1231")
        ([1, 2, 3], [1, 2, 3, 3])
    """
    runs: list[int] = []
    value = bits = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 0x1F) << bits
        bits += 5
        if not code & 0x20:
            value -= (1 << bits) if code & 0x10 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        parts = {name: found[name] for name in ("images", "annotations", "categories")}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: check `coco`.") from None
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no COCO annotation file ({type(error).__name__}: {error}): it has images, annotations and "
            "categories."
        ) from None
    masks = any("segmentation" in entry for entry in parts["annotations"])
    wanted = {
        "images": ("id", "file_name", *(("height", "width") if masks else ())),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for name, entries in parts.items():
        for place, entry in enumerate(entries):
            missing = [key for key in wanted[name] if key not in entry]
            if missing:
                raise DataError(f"{path}, {name}[{place}] has no {missing[0]!r}: mend the file.")
    return parts


def _size(entry: dict[str, Any], image: Path, path: Path) -> tuple[float, float]:
    """Return a picture's width and height, which the file must not tell otherwise."""
    there, listed = size_of(image), tuple(int(entry[key]) for key in ("width", "height") if entry.get(key))
    if there is not None and len(listed) == 2 and there != listed:
        raise DataError(
            f"{path} is drawn on {image.name} of {listed[0]} x {listed[1]} pixels, and the file has {there[0]} x "
            f"{there[1]}: give the pictures that were drawn on."
        )
    return there or (listed if len(listed) == 2 else (math.inf, math.inf))


def _corners(entry: dict[str, Any], size: tuple[float, float], path: Path) -> list[float]:
    """Return a box's corners, which may lie a pixel beside the picture, as those of rounded numbers do."""
    with suppress(TypeError, ValueError):
        x, y, width, height = (float(value) for value in entry["bbox"])
        if min(x + 1, y + 1, width, height) >= 0 and x + width <= size[0] + 1 and y + height <= size[1] + 1:
            return [x, y, x + width, y + height]
    raise DataError(
        f"{path}: the annotation {entry.get('id')!r} has the box {entry['bbox']}, none (x, y, width, height) in its "
        f"picture of {size[0]} x {size[1]} pixels: mend the file."
    )


def _union(entries: Sequence[dict[str, Any]], shape: tuple[int, int]) -> list[int] | None:
    """Join the masks of some annotations; unknown where one of them has a box only."""
    mask = np.zeros(shape, bool)
    for entry in entries:
        drawn = entry.get("segmentation")
        if not drawn:
            return None
        if isinstance(drawn, dict):
            counts = drawn["counts"]
            runs = run_lengths(counts) if isinstance(counts, str) else [int(count) for count in counts]
            if sum(runs) != shape[0] * shape[1] or tuple(drawn["size"]) != shape:
                raise DataError(
                    f"The annotation {entry.get('id')!r} has run lengths of {sum(runs)} pixels, its picture is "
                    f"{shape}: mend the file."
                )
            mask |= mask_of([*shape, *runs], Path()).pixels
        else:
            for polygon in drawn:
                if not isinstance(polygon, list) or len(polygon) % 2:
                    raise DataError(
                        f"The annotation {entry.get('id')!r} has a polygon that is no x, y, x, y ...: mend it."
                    )
                mask |= filled(polygon, shape)
    return runs_of(mask)
