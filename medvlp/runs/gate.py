"""The gate of a release: learnt at the end of training, or later from the run's own data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from medvlp.config.recipe import resumed
from medvlp.config.tree import GateConfig, checked
from medvlp.core.errors import DataError
from medvlp.core.files import check_replaced
from medvlp.data.prepare import Prepared
from medvlp.features.fit_gate import fit_gate, least_images
from medvlp.io.read import read_image
from medvlp.models.bundle import load_bundle, save_bundle
from medvlp.models.gate import Gate
from medvlp.runs.data import open_manifest, open_split

logger = logging.getLogger(__name__)


def learn_gate(splits: Mapping[str, Prepared], options: GateConfig, vision_kind: str) -> Gate | None:
    """Learn a gate from the parts ``train`` and ``validate``, as the model sees them; None where it cannot be done.

    Why is logged; models of another kind than images have none.
    """
    if options.rate == 0 or vision_kind != "image":
        return None
    gate = _gate_or_why(splits, options)
    if isinstance(gate, Gate):
        return gate
    logger.info(gate)
    return None


def _gate_or_why(splits: Mapping[str, Prepared], options: GateConfig) -> Gate | str:
    shown = {name: _shown(splits[name]) for name in ("train", "validate") if name in splits}
    counts = tuple(min(len(shown.get(name, ())), options.pictures) for name in ("train", "validate"))
    least = least_images(options.rate)
    if counts[0] < least[0] or counts[1] < least[1]:
        return (
            f"The bundle has no gate against odd pictures: one that flags {100 * options.rate:g}% of its own kind "
            f"needs {least[0]} training and {least[1]} validation pictures, there are {counts[0]} and {counts[1]}."
        )
    images = (_images(splits[name], rows, options.pictures) for name, rows in shown.items())
    return fit_gate(*images, rate=options.rate)


def add_gate(run: Path, *, out: Path | None = None, rate: float | None = None) -> Gate:
    """Learn the gate of a finished run's bundle from the run's data, and save the bundle with it, or at `out`.

    `rate`, the share of pictures of its own kind that are flagged, is that of the run's configuration by default.

    Raises:
        UserError: if it is no run folder, its bundle is damaged, or the rate is out of range.
        DataError: if no gate can be learnt.
    """
    check_replaced(out or run / "bundle", mark="MANIFEST.sha256", inputs=[run])
    config = resumed(run)
    bundle = load_bundle(run / "bundle")
    options = config.gate
    if rate is not None:
        options = checked(GateConfig, {**options.model_dump(), "rate": rate}, source="--rate")
    if options.rate == 0 or bundle.model.vision_kind != "image":
        raise DataError(f"{run}: Only models of images have a gate, and its rate must be above 0.")
    manifest = open_manifest(config.data)
    shown = {"train": manifest, "validate": manifest.where(config.evaluation.where)}
    there = set(manifest.column("split").tolist())
    splits = {
        name: open_split(table, name, prefix=bundle.preprocessing, data=config.data, workers=config.training.workers)
        for name, table in shown.items()
        if name in there
    }
    gate = _gate_or_why(splits, options)
    if isinstance(gate, str):
        raise DataError(f"{run}: {gate}")
    save_bundle(out or run / "bundle", replace(bundle, gate=gate))
    return gate


def modalities_of(prepared: Prepared) -> list[str]:
    """Return what at most 20 pictures' DICOM files, evenly over the records, say of their modality."""
    manifest = prepared.manifest
    paths = (manifest.path(row) for row in _evenly(_shown(prepared), 20)) if "image" in manifest else ()
    return sorted({str(read_image(path).meta.get("Modality", "")) for path in paths if path is not None} - {""})


def _shown(prepared: Prepared) -> np.ndarray:
    """Return the records with a picture: of films and volumes the films; all, where pictures are made of volumes."""
    manifest = prepared.manifest
    if "image" not in manifest:
        return np.arange(len(prepared))
    return np.flatnonzero(manifest.arrow("image").is_valid().to_numpy(zero_copy_only=False))


def _images(prepared: Prepared, rows: np.ndarray, most: int) -> Iterator[Tensor]:
    """Yield at most so many pictures, evenly over the records."""
    for row in _evenly(rows, most):
        pixels = prepared.sample(row).fields.get("image")
        if isinstance(pixels, Tensor):
            yield pixels


def _evenly(rows: np.ndarray, most: int) -> list[int]:
    return rows[np.linspace(0, len(rows) - 1, num=min(len(rows), most)).round().astype(int)].tolist()
