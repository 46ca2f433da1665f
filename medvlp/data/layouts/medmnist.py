"""``medmnist``: a set of MedMNIST (Yang et al. 2023), one ``.npz`` file, whose pictures are unpacked once."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.files import make_folder, read_json, sha256_of, write_json, written_whole
from medvlp.data.cards import load_card
from medvlp.data.layouts._files import OnProgress, Root, write_volume
from medvlp.data.layouts._published import Row, manifest_of
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import notify
from medvlp.io.archive import read_arrays

_PARTS = {"train": "train", "validate": "val", "test": "test"}
_SIZED = re.compile(r"_(28|64|128|224)$")


def index(
    root: Root,
    *,
    file: str | None = None,
    labels: tuple[str, ...] = (),
    unpack: Path | None = None,
    progress: OnProgress = None,
) -> Manifest:
    """Index a set: one row a picture, or a volume of the 3D sets.

    Columns: ``id`` (``chestmnist-train-000012``), ``image`` (PNG) or ``volume`` (NIfTI; axes as stored, since the
    release names no directions, and 1 mm), ``label.NAME``, ``split``. Of an exclusive class one label is 1 and the
    others are 0. The release names no patients: it was parted by them where its source was, and a split of your own
    would not be.

    Args:
        root: folder of ``chestmnist.npz``, ``chestmnist_224.npz`` ...
        file: its name without the ending, where the folder holds several.
        labels: names of the classes in their order; by default those of the card (chestmnist, pneumoniamnist), else
            ``class_0``, ``class_1`` ...
        unpack: folder that pictures are written to; default ``root/NAME``. Those of the same file that are there stay.

    Raises:
        DataError: if there is no such file, it holds no set, or it has another number of classes than names.
    """
    path = _file(root, file)
    try:
        found = [read_arrays(path, (f"{word}_images", f"{word}_labels")) for word in _PARTS.values()]
    except ValueError as error:
        raise DataError(f"{path} is no set of MedMNIST ({error}): download the file again.") from None
    arrays = dict(zip(_PARTS, found, strict=True))
    folder = (unpack or root) / path.stem
    _forget_other(folder, path)
    kind = "volume" if arrays["train"][0].ndim == 4 and arrays["train"][0].shape[-1] > 4 else "image"
    names = _names(path, labels, arrays["train"][1])
    total, rows = sum(len(images) for images, _ in arrays.values()), list[Row]()
    for part, (images, truth) in arrays.items():
        make_folder(folder / part)
        several = truth.ndim == 2 and truth.shape[1] > 1  # flags, or the number of the class
        flags = truth if several else truth.reshape(-1, 1) == np.arange(len(names))
        for at, (pixels, values) in enumerate(zip(images, flags, strict=True)):
            target = folder / part / f"{at:06d}{'.nii.gz' if kind == 'volume' else '.png'}"
            if not target.is_file():
                write_volume(target, pixels) if kind == "volume" else _write_picture(target, pixels)
            row: Row = {"id": f"{path.stem}-{part}-{at:06d}", kind: target.relative_to(folder).as_posix()}
            truth_of = {f"label.{label}": int(value) for label, value in zip(names, values, strict=True)}
            rows.append(row | {"split": part} | truth_of)
            notify(progress, len(rows), total)
    return manifest_of(
        rows, root=folder, layout="medmnist", files=None, skipped={}, field=kind, meta={"set": path.stem}
    )


def _forget_other(folder: Path, file: Path) -> None:
    """Remove what was unpacked of another file of this name, and note which one it is of now."""
    note, source = folder / "source.json", {"sha256": sha256_of(file)}
    if note.is_file() and read_json(note) == source:
        return
    for part in _PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    write_json(note, source)


def _write_picture(path: Path, pixels: np.ndarray) -> None:
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def _file(root: Path, name: str | None) -> Path:
    found = {path.stem: path for path in sorted(root.glob("*mnist*.npz"))}
    name = next(iter(found)) if name is None and len(found) == 1 else name
    if name not in found:
        near = did_you_mean(name or "chestmnist", found) if found else "download one"
        raise DataError(f"{root} holds {len(found)} sets of MedMNIST, and file is {name!r}: {near}.")
    return found[name]


def _names(path: Path, labels: tuple[str, ...], truth: np.ndarray) -> list[str]:
    classes = truth.shape[1] if truth.ndim == 2 and truth.shape[1] > 1 else int(truth.max()) + 1
    known = load_card("medmnist").vocabularies.get(_SIZED.sub("", path.stem), {})
    names = list(labels) or list(known) or [f"class_{place}" for place in range(classes)]
    if len(names) != classes:
        raise DataError(f"{path} has {classes} classes and {len(names)} names of them: give labels, one a class.")
    return names
