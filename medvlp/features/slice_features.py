"""What a frozen tower makes of each slice of each volume, a stack file a volume: a pooler then trains in minutes.

A file of the same tower and preprocessing is not made again: the same command goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import remove_left
from medvlp.core.keys import Plan, keys
from medvlp.core.memory import keep_freed_memory
from medvlp.core.modes import evaluating
from medvlp.core.processes import exclusive
from medvlp.core.protocols import Model
from medvlp.core.provenance import code_hash, hash_of
from medvlp.core.sample import Batch, Column, Stack
from medvlp.core.views import View
from medvlp.data.contents import stamps_anywhere
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress, received, start_method
from medvlp.data.pipeline import Records, apply_views, view_spec
from medvlp.data.prepare import pool_name
from medvlp.data.quarantine import NothingReadableError, Quarantined, quarantined
from medvlp.data.stack_files import FileStack, write_stack_file
from medvlp.data.stacks import LazyStack
from medvlp.data.worker_tensors import SharedBlocks
from medvlp.models.encoders.slices import SliceEncoder

_CHUNK = 16  # slices that are read and encoded at a time


@dataclass(frozen=True)
class SliceFeatures:
    """Summary of the written slice features.

    Attributes:
        manifest: the cohort with a column ``stack`` of files in place of its volumes, also saved as
            ``manifest.parquet`` beside the files; ``meta["slices"]`` tells tower, pixel scale and preprocessing.
        left_out: records that cannot be read.
        made: files that were not there yet.
    """

    manifest: Manifest
    left_out: tuple[Quarantined, ...]
    made: int


def write_slice_features(
    model: Model,
    manifest: Manifest,
    views: Sequence[View],
    folder: Path,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> SliceFeatures:
    """Encode every slice of every volume and write ``FOLDER/NAME.safetensors`` with ``features (S, W)``.

    Args:
        model: on its device, with a tower of slices, or of images, which then sees each slice as an image.
        manifest: the cohort.
        views: they make the field ``stack`` of a record.
        folder: made if absent.
        workers: processes that read; 0 reads in this one.
        progress: told (done, total) records.

    Raises:
        ConfigError: if the model has no tower for slices, or the views make no stack.
        DataError: if no volume can be read.
        UserError: if the disk is full, or another process writes into the folder.
    """
    keep_freed_memory()
    spec: Any = model.spec
    own = spec.get("stack") or spec.get("vision") or {}
    meta = {
        "tower": tower_hash(slice_tower(model)),
        "preprocessing": json.dumps([view_spec(view) for view in views]),
        # Pixel statistics and numbers of attention heads are no weights, and stand in the specification alone.
        "code": hash_of([pool_name(views), own.get("slice", own), code_hash("features", "models")]),
    }
    with exclusive(folder, what="command", otherwise="name another folder"):
        remove_left(folder)
        return _written(model, manifest, views, folder, meta, workers=workers, progress=progress)


def _written(
    model: Model,
    manifest: Manifest,
    views: Sequence[View],
    folder: Path,
    meta: Mapping[str, str],
    *,
    workers: int,
    progress: Progress | None,
) -> SliceFeatures:
    ids = manifest.column("id")
    names = [f"{hashlib.sha256(str(value).encode()).hexdigest()[:20]}.safetensors" for value in ids]
    metas = [{**meta, "source": _source(manifest, row)} for row in range(len(names))]  # before any of it is read
    todo = [row for row, name in enumerate(names) if not _is_made(folder / name, metas[row])]
    failed: dict[int, Quarantined] = {}
    for count, (row, stack) in enumerate(_opened(manifest, views, todo, workers)):
        if isinstance(stack, Quarantined):
            failed[row] = stack
        else:
            try:
                features = _encoded(model, stack)
            except DataError as error:  # slices are read now, not before
                failed[row] = quarantined(str(ids[row]), error)
            else:
                write_stack_file(folder / names[row], features=features, position=stack.position, meta=metas[row])
        if progress is not None:
            progress(len(manifest) - len(todo) + count + 1, len(manifest))
    readable = [row for row in range(len(manifest)) if row not in failed]
    if not readable:
        raise NothingReadableError([failed[row] for row in sorted(failed)])
    scale = pixel_scale(slice_tower(model))
    slices = {"tower": meta["tower"], "preprocessing": json.loads(meta["preprocessing"]), "pixel_scale": scale}
    made = _with_stacks(manifest, readable, names, folder, slices)
    made.save(folder / "manifest.parquet")
    return SliceFeatures(made, tuple(failed[row] for row in sorted(failed)), len(todo) - len(failed))


def slice_tower(model: Model) -> torch.nn.Module:
    """Return the tower that encodes single slices; a model without one, or one that looks at neighbours, is refused."""
    towers = dict(model.named_modules())
    if "towers.stack.slice" in towers and type(towers["towers.stack"]) is not SliceEncoder:
        raise ConfigError(
            "This model's tower looks at several slices at once, so a slice has no features of its own: embed with "
            "--out, or choose a model whose vision is slices."
        )
    for name in ("towers.stack.slice", "towers.image"):
        if name in towers:
            return towers[name]
    raise ConfigError("This model encodes neither slices nor images: its slices have no features, choose another.")


def tower_hash(tower: torch.nn.Module) -> str:
    """Return 16 hex digits of the SHA-256 of a tower's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\x1f{values.dtype}\x1f{tuple(values.shape)}\x1f".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def pixel_scale(tower: torch.nn.Module) -> dict[str, list[float]]:
    """Return mean and standard deviation by which a tower scales pixels: they are in no weights."""
    named = tower.named_buffers()
    return {name: values.flatten().tolist() for name, values in named if name.split(".")[-1] in ("mean", "std")}


def _encoded(model: Model, stack: LazyStack | Stack) -> Tensor:
    """Return (S, W), a few slices at a time: memory does not grow with the depth of a volume."""
    stacked = "towers.stack.slice" in dict(model.named_modules())
    view, part = ("stack", "tokens") if stacked else ("image", "pooled")
    plan = Plan.of(keys(f"{view}/{part}"))
    model.check(plan)
    device = next(model.parameters()).device
    rows = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(stack.position), _CHUNK):
            some = range(start, min(start + _CHUNK, len(stack.position)))
            pixels = stack.pixels(some) if isinstance(stack, LazyStack) else stack.pixels[start : some.stop]
            if stacked:
                place = stack.position[start : some.stop][None]
                mask = torch.ones(1, len(pixels), dtype=torch.bool)
                column = Column(pixels[None], torch.zeros(1, dtype=torch.int64), mask, place)
            else:
                column = Column(pixels, torch.zeros(len(pixels), dtype=torch.int64))
            batch = Batch(("slices",), torch.zeros(1, dtype=torch.int64), {view: column}).to(device)
            found = model(batch, plan)[view].part(part)
            rows.append((found[0] if stacked else found).float().cpu())
    return torch.cat(rows)


def _source(manifest: Manifest, row: int) -> str:
    """Say of what a file was made, without naming anybody: a hash of its source's sizes and times."""
    paths = [path for name in ("volume", "stack") if name in manifest for path in manifest.paths(row, name)]
    return hash_of(stamps_anywhere(paths))


def _is_made(path: Path, meta: Mapping[str, str]) -> bool:
    try:
        return path.exists() and FileStack(path).meta == meta
    except DataError:
        return False


def _with_stacks(
    manifest: Manifest, rows: list[int], names: list[str], folder: Path, slices: Mapping[str, object]
) -> Manifest:
    some = manifest.take(rows)
    columns = {
        name: some.arrow(name)
        for name in manifest.names
        if name.partition(".")[0] not in ("volume", "stack", "image", "boxes", "mask")
    }
    table = pa.table({**columns, "stack": pa.array([names[row] for row in rows])})
    return Manifest(table, root=folder, meta={**manifest.meta, "slices": slices})


def _opened(
    manifest: Manifest, views: Sequence[View], rows: Sequence[int], workers: int
) -> Iterator[tuple[int, LazyStack | Stack | Quarantined]]:
    reader = _Reader(Records(manifest), tuple(views), loaded=workers > 0)
    if workers <= 0:
        yield from (reader[row] for row in rows)
        return
    loader: Any = DataLoader(
        reader,
        batch_size=None,
        sampler=list(rows),
        num_workers=min(workers, max(1, len(rows))),
        worker_init_fn=SharedBlocks(workers).begin,
        multiprocessing_context=start_method(),
        prefetch_factor=1,  # a volume of pixels is large
    )
    yield from received(iter(loader))


class _Reader(Dataset[Any]):
    """Records as stacks, loaded whole where they cross from a worker."""

    def __init__(self, records: Records, views: tuple[View, ...], *, loaded: bool) -> None:
        self._records, self._views, self._loaded = records, views, loaded

    def __getitem__(self, index: int) -> tuple[int, LazyStack | Stack | Quarantined]:
        before = self._records.sample(index)
        try:
            stack = apply_views(before, self._views).fields.get("stack")
            if isinstance(stack, LazyStack) and self._loaded:
                stack = stack.take()
        except DataError as error:
            return index, quarantined(before.id, error)
        if stack is None:
            return index, Quarantined(before.id, "no_volume", "the record names no volume; index the data again")
        if not isinstance(stack, LazyStack | Stack):
            raise ConfigError("The views make no stack of a volume: put `read_volume` first in the preprocessing.")
        return index, stack
