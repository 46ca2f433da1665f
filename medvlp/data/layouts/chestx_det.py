"""``chestx_det``: boxes (and polygons) of findings on NIH radiographs, ChestX-Det10 and ChestX-Det (Deepwise).

ChestX-Det10 has 10 findings and NIH's own file names, so its patients are known; ChestX-Det has 13 findings, polygons
and new numbers for names, so they are not. Coordinates are pixels of the 1024 x 1024 PNG.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medvlp.core.errors import DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts._files import Root, by_name, list_files, on_file, read_records, skip
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import filled, runs_of

_LISTS = {
    "ChestX_Det_train.json": ("train", True),
    "ChestX_Det_test.json": ("test", True),
    "train.json": ("train", False),
    "test.json": ("test", False),
}
_SIDE = 1024
_NIH_NAME = re.compile(r"(\d{8})_\d{3}\.png")


def index(root: Root, *, images: str = ".", masks: bool = False, require_files: bool = True) -> Manifest:
    """Index the annotation lists, one row an image.

    Columns: ``id`` (``split/file_name``), ``image``, ``split`` (train, test), ``label.FINDING`` (1 or 0: each finding
    was looked for), ``boxes.FINDING`` (pixels of the file; an empty list where there is none), with `masks`
    ``mask.FINDING`` (1024 x 1024), and for ChestX-Det10 ``id.patient`` (NIH's number). Findings that a release does not
    annotate have no column.

    Args:
        root: folder of the JSON lists.
        images: folder in which the pictures are looked for, below root, at any depth (``train_data``, ``test-data``,
            or NIH's ``images_001/images``).
        masks: make the union of a finding's polygons a mask of run lengths; ChestX-Det only.
        require_files: leave out, and list, images whose file is not there.

    Raises:
        DataError: if there is no list, one is damaged, or no picture exists.
    """
    lists = [name for name in _LISTS if (root / name).is_file()]
    if not lists:
        raise DataError(f"{root} holds none of {', '.join(_LISTS)}: give the folder of the annotation lists as root.")
    with_polygons = {_LISTS[name][1] for name in lists}
    if len(with_polygons) > 1:
        raise DataError(
            f"{root} holds the lists of two releases ({', '.join(lists)}), which share images: keep each in its own "
            "folder."
        )
    if masks and not with_polygons == {True}:
        raise DataError(f"{root} is ChestX-Det10, which has no polygons: set masks to false.")
    release = _RELEASES[with_polygons.pop()]
    card = load_card("chestx_det")
    words = card.vocabularies["chestx_det10"] if release == "ChestX-Det10" else {f: [w] for f, w in card.labels.items()}
    findings = {some[0]: finding for finding, some in words.items()}
    images_of = by_name(list_files(root, [images], suffixes=(".png", ".jpg", ".jpeg")))
    skipped: dict[str, list[str]] = {}
    rows: list[Row] = []
    keys = ("file_name", "syms", "boxes", *(("polygons",) if release == _RELEASES[True] else ()))
    for name in lists:
        split = _LISTS[name][0]
        for place, entry in enumerate(read_records(root / name, keys=keys)):
            instances = _instances(entry, findings, release, where=f"{root / name}, entry {place}")
            image = _image(str(entry["file_name"]), split, images_of, skipped)
            boxes = on_file([each.box for each in instances], root / image, (_SIDE, _SIDE))
            instances = [replace(each, box=box) for each, box in zip(instances, boxes, strict=True)]
            rows.append(_row(str(entry["file_name"]), split, image, instances, findings, release, masks))
    there = {path for paths in images_of.values() for path in paths} if require_files else None
    return manifest_of(rows, root=root, layout="chestx_det", files=there, skipped=skipped, meta={"release": release})


_RELEASES = {True: "ChestX-Det", False: "ChestX-Det10"}  # with polygons, without


@dataclass(frozen=True)
class _Instance:
    finding: str
    box: list[float]
    polygon: list[tuple[float, float]]


def _instances(entry: dict[str, Any], findings: Mapping[str, str], release: str, *, where: str) -> list[_Instance]:
    words, boxes = entry["syms"], entry["boxes"]
    polygons = entry["polygons"] if release == _RELEASES[True] else [[]] * len(words)
    if not len(words) == len(boxes) == len(polygons):
        raise DataError(f"{where}: its findings, boxes and polygons are not equally many: download the list again.")
    unknown = sorted(set(words) - set(findings))
    if unknown:
        raise DataError(f"{where}: {unknown[0]!r} is none of {release}'s findings: check which list it is.")
    return [
        _Instance(findings[word], [float(v) for v in box], [(float(x), float(y)) for x, y in polygon])
        for word, box, polygon in zip(words, boxes, polygons, strict=True)
    ]


def _image(name: str, split: str, images_of: dict[str, list[str]], skipped: dict[str, list[str]]) -> str:
    """The file of that name, of several the one below a folder of its split."""
    found = images_of.get(name, [])
    if not found:
        return f"{split}_data/{name}"
    found = sorted(found, key=lambda path: not any(part.startswith(split) for part in path.split("/")[:-1]))
    for other in found[1:]:
        skip(skipped, "second_copy", other)
    return found[0]


def _row(
    name: str,
    split: str,
    image: str,
    instances: list[_Instance],
    findings: Mapping[str, str],
    release: str,
    masks: bool,
) -> Row:
    of = {finding: [each for each in instances if each.finding == finding] for finding in findings.values()}
    nih = _NIH_NAME.fullmatch(name)
    return {
        "id": f"{split}/{name}",
        **({"id.patient": str(int(nih[1])) if nih else None} if release == _RELEASES[False] else {}),
        "image": image,
        "split": split,
        "source": "NIH ChestX-ray14",
        **{f"label.{finding}": int(bool(found)) for finding, found in of.items()},
        **{f"boxes.{finding}": [each.box for each in found] for finding, found in of.items()},
        **({f"mask.{f}": _runs([each.polygon for each in found]) for f, found in of.items()} if masks else {}),
    }


def _runs(polygons: list[list[tuple[float, float]]]) -> list[int]:
    """The union of polygons as a manifest's run lengths."""
    mask = np.zeros((_SIDE, _SIDE), bool)
    for polygon in filter(None, polygons):
        mask |= filled([value for corner in polygon for value in corner], mask.shape)
    return runs_of(mask)
