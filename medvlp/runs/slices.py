"""Slice features of a manifest by a bundle, and what a bundle reads that was trained on such features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlp.core.devices import choose_device
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.progress import progress
from medvlp.core.protocols import Model
from medvlp.core.views import View
from medvlp.data.manifest import Manifest
from medvlp.data.pipeline import added_fields, view_name
from medvlp.data.pool import opened_field
from medvlp.features.slice_features import SliceFeatures, pixel_scale, slice_tower, tower_hash, write_slice_features
from medvlp.models.bundle import Bundle, load_bundle
from medvlp.runs.data import build_views


def embed_slices(
    model: str | Path,
    manifest: Path,
    *,
    root: Path | None,
    folder: Path,
    windows: Sequence[str],
    workers: int,
    device: str = "cpu",
) -> SliceFeatures:
    """Write the features of every slice of every volume of a manifest into a folder, see `write_slice_features`.

    Args:
        model: a bundle that encodes stacks, or images: each slice is one then.
        manifest: with a column ``volume``.
        root: folder of the volumes; None: as the manifest says.
        folder: for the stack files and their manifest.
        windows: presets in which slices are shown to a tower of images; a tower of slices knows its own.
        workers: processes that read.
        device: where the tower runs, see `medvlp.load`.

    Raises:
        UserError: if it must be said in which windows slices are shown, or the bundle says so itself.
    """
    bundle, where = load_bundle(model), choose_device(device).device
    views = _stack_views(bundle, windows)
    table = Manifest.load(manifest, root=root)
    with progress("Embedding", unit="volumes") as tell:
        return write_slice_features(bundle.model.to(where), table, views, folder, workers=workers, progress=tell)


def _stack_views(bundle: Bundle, windows: Sequence[str]) -> list[View]:
    """The views of a bundle that make stacks; for one of images, volumes read at the same size."""
    views = build_views(bundle.preprocessing, where="preprocessing")
    stacks = [view for view in views if "stack" in added_fields([view]) or "stack" in view_name(view)]
    if stacks:
        if windows:
            raise UserError("This bundle knows in which windows it looks at slices: leave --window out.")
        return [view for view in views if view in stacks or view_name(view) == "sample_slices"]
    sizes = [int(str(spec["size"])) for spec in bundle.preprocessing if spec.get("name") == "read"]
    if not windows or not sizes:
        raise UserError(
            "This bundle's tower looks at pictures: say in which windows it shall see slices, one for each of its "
            "channels, with --window (for example --window ct_lung_v1)."
        )
    opened = {"name": "read_volume", "size": sizes[0], "windows": list(windows)}
    return build_views([opened], where="preprocessing")


def released_preprocessing(
    prefix: Sequence[Mapping[str, Any]], meta: Mapping[str, object], model: Model
) -> tuple[list[dict[str, Any]], str]:
    """Return the preprocessing that a bundle gets, and a warning where it cannot read volumes.

    A model that was trained on cached slice features holds the tower that made them; so its bundle reads volumes, as
    that tower did. If it holds another tower, only cached features are of use to it.
    """
    plain, made = [dict(spec) for spec in prefix], meta.get("slices")
    if not any(spec.get("name") == "read_stack_file" for spec in plain) or not isinstance(made, Mapping):
        return plain, ""
    if not _own_tower(model, made):
        return plain, (
            "The model holds another slice tower than the one that made its training features: its bundle reads stack "
            "files of those features, and no volumes."
        )
    opened = [dict(spec) for spec in made["preprocessing"]]
    return [each for spec in plain for each in (opened if spec["name"] == "read_stack_file" else [spec])], ""


def reading_of(manifest: Manifest, preprocessing: Sequence[Mapping[str, Any]], model: Model) -> list[dict[str, Any]]:
    """Return the views with which a bundle reads a manifest: its preprocessing, or features of slices in its place.

    Where a manifest holds features that the model's own slice tower made, with its own preprocessing, these are what
    the model would make of the volumes, and are read instead.

    Raises:
        UserError: if the manifest holds features that another tower made, or in another way.
    """
    plain, made = [dict(spec) for spec in preprocessing], manifest.meta.get("slices")
    if not isinstance(made, Mapping) or any(spec["name"] == "read_stack_file" for spec in plain):
        return plain
    opened = [dict(spec) for spec in made["preprocessing"]]
    # In a bundle of films and volumes the views of volumes do not stand first.
    at = next((i for i in range(len(plain)) if plain[i : i + len(opened)] == opened), None)
    if not _own_tower(model, made) or at is None:
        raise UserError(
            "This manifest holds features of slices that another tower than this model's made, or in another way: "
            "use the manifest of the volumes, or embed them with this model (medvlp embed --slices)."
        )
    return [*plain[:at], {"name": "read_stack_file"}, *plain[at + len(opened) :]]


def _own_tower(model: Model, made: Mapping[str, Any]) -> bool:
    """Return whether the model's slice tower made cached features, at the same pixel scale where it is recorded."""
    try:
        tower = slice_tower(model)
        scale = pixel_scale(tower)
        return tower_hash(tower) == made["tower"] and made.get("pixel_scale", scale) == scale
    except ConfigError:
        return False


def readable_kinds(manifest: Manifest, views: Sequence[View], model: Model) -> tuple[str, ...]:
    """Return the kinds of pictures of a model of which a manifest, read with `views`, names files; none without files.

    Raises:
        UserError: if the manifest names pictures, and none of a kind that the model looks at.
    """
    fields = {kind: opened_field(views, kind) for kind in model.kinds}
    kinds = tuple(kind for kind, field in fields.items() if field in manifest)
    if manifest.file_columns and not kinds:
        wanted, there = ", ".join(dict.fromkeys(fields.values())), ", ".join(manifest.file_columns)
        mend = "index the data with such a column, or choose a model of these"
        if "image" in fields and "volume" in manifest:
            mend = "embed their slices (medvlp embed --slices FOLDER), or choose a model of volumes"
        raise UserError(
            f"The model looks at files of the column {wanted}, and the manifest names only {there}: {mend}."
        )
    return kinds
