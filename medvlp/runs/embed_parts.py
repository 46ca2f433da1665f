"""The features of a manifest in parts, which many processes and machines may share."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medvlp.core import collectives
from medvlp.core.errors import UserError
from medvlp.core.files import read_json, write_json
from medvlp.core.passing import passing_folder, remove_passing
from medvlp.core.processes import exclusive
from medvlp.core.progress import progress
from medvlp.core.provenance import code_hash, hash_of
from medvlp.core.table import FeatureTable
from medvlp.data.cache import Cache, CacheFullError
from medvlp.data.contents import stamps_anywhere
from medvlp.io.member import url_of
from medvlp.runs.cluster import start_ray
from medvlp.runs.embed import Asked, Embedder
from medvlp.training.distributed import processes

# What decides the numbers of a part; parts of one version of it are not joined to those of another.
_CODE = ("core", "data", "features", "io", "models", "text")


def embed_in_parts(
    model: str | Path,
    manifest: Path,
    out: Path,
    *,
    size: int,
    root: Path | None,
    workers: int,
    backend: str = "torch",
    device: str = "cpu",
    ray: bool = False,
) -> FeatureTable | None:
    """Embed a manifest in parts of `size` records, each a file in the folder ``OUT.parts`` until all are there.

    A run that ended early goes on with the parts that are missing, or whose files changed since. Processes that
    torchrun started share the parts by their rank, each reading its own; with `ray`, the machines of the Ray cluster
    that is found do (one is started on this machine where none is), and a part whose worker died is given to another.
    The folder must be seen by all.

    Returns:
        The table, written to `out`; None on another rank than 0.

    Raises:
        UserError: as `embed_manifest`; if the folder holds parts of something else; if Ray is not installed.
        DataError: as `embed_manifest`.
    """
    place = root if root is None or url_of(root) else root.resolve()
    asked = Asked(str(Path(model).resolve()), manifest.resolve(), place, backend, device)
    opened = Embedder.open(asked)
    folder = (out.parent / f"{out.name}.parts").resolve()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    # The first process removes the parts: another command, whose they are too, would wait for them for ever.
    lock = nullcontext() if rank else exclusive(folder, what="command", otherwise="name another file to write")
    with lock:
        _same_work(folder, {**opened.meta, "size": size, "code": code_hash(*_CODE)})
        parts = [_Part(folder / f"{at:09d}.parquet", at, at + size) for at in range(0, len(opened.manifest), size)]
        own = [part for part in parts[rank::world] if not _is_made(part, opened)]
        for part in own:
            part.path.unlink(missing_ok=True)
        with processes("cpu") if "MASTER_ADDR" in os.environ else nullcontext():
            collectives.barrier()  # only now may the first process join the parts and remove their folder
        with progress("Embedding", unit="parts") as tell:
            tell(0, len(own))
            made = _by_ray(opened, asked, own, workers) if ray else (_write(opened, part, workers) for part in own)
            for count, _ in enumerate(made, start=1):
                tell(count, len(own))
        if rank:
            return None
        while not all(part.path.is_file() for part in parts):  # torchrun ends this process where another one fails
            time.sleep(0.5)
        table = _joined([FeatureTable.load(part.path) for part in parts])
        opened.refuse_empty(table, manifest)
        table.save(out)
        shutil.rmtree(folder, ignore_errors=True)
        return table


@dataclass(frozen=True)
class _Part:
    """Records `start` to `stop` - 1 of a manifest, and the file of their features."""

    path: Path
    start: int
    stop: int


def _same_work(folder: Path, work: dict[str, object]) -> None:
    """Write down what the parts of a folder are of, or refuse a folder of other ones."""
    note = folder / "parts.json"
    if not note.is_file():
        write_json(note, work)
    elif (found := read_json(note)) != work:
        same = all(found.get(name) == value for name, value in work.items() if name != "code")
        other = "parts that another version of medvlp made" if same else "parts of another model, manifest or size"
        raise UserError(f"{folder} holds {other}: remove it, or name another file to write.")


def _write(opened: Embedder, part: _Part, workers: int) -> Path:
    files = _source(opened, part)
    try:
        found = opened.rows(part.start, part.stop, workers=workers)
    except CacheFullError:  # of a large archive each part's pictures go when it is made
        folder = passing_folder("embed")
        try:
            found = opened.rows(part.start, part.stop, workers=workers, cache=Cache(folder))
        finally:
            remove_passing(folder)
    replace(found, meta={**found.meta, "files": files}).save(part.path)
    return part.path


def _is_made(part: _Part, opened: Embedder) -> bool:
    """Whether a part is there, of this work and of the files as they are now."""
    return part.path.is_file() and FeatureTable.load(part.path).meta["files"] == _source(opened, part)


def _source(opened: Embedder, part: _Part) -> str:
    """Return the hash of what makes a part: code, model, manifest and records, sizes and times of its files."""
    manifest, rows = opened.manifest, range(part.start, min(part.stop, len(opened.manifest)))
    paths = (path for row in rows for name in manifest.file_columns for path in manifest.paths(row, name))
    return hash_of([code_hash(*_CODE), opened.meta, part.stop, stamps_anywhere(paths)])


def _joined(parts: list[FeatureTable]) -> FeatureTable:
    """Parts end to end; what was left out of each is left out of the whole."""
    left = {name: [each for part in parts for each in _names(part, name)] for name in ("left_out", "empty")}
    filled = [part for part in parts if len(part)]
    meta = {name: value for name, value in (filled or parts)[0].meta.items() if name != "files"}
    return replace(FeatureTable.join(filled) if filled else parts[0], meta={**meta, **left})


def _names(part: FeatureTable, name: str) -> list[str]:
    return [str(each) for each in found] if isinstance(found := part.meta[name], list) else []


def _by_ray(opened: Embedder, asked: Asked, parts: list[_Part], workers: int) -> Iterator[Path]:
    """Write parts on the machines of a Ray cluster; each of its processes opens the model once."""
    start_ray()
    import ray.data

    kind = next(opened.loaded.model.parameters()).device.type
    asked = replace(asked, device=kind)  # which one is a worker's is Ray's to say

    class Worker:
        opened: Embedder | None = None

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            part = _Part(Path(row["path"]), int(row["start"]), int(row["stop"]))
            try:
                self.opened = self.opened or Embedder.open(asked)
                return {"path": str(_write(self.opened, part, workers)), "refused": ""}
            except UserError as error:  # Ray would make a traceback of it
                return {"path": "", "refused": str(error)}

    rows = [{"path": str(part.path), "start": part.start, "stop": part.stop} for part in parts]
    worker: Any = Worker  # Ray makes one in each of its processes
    where: dict[str, Any] = {"concurrency": (1, max(1, len(parts))), "num_gpus": int(kind == "cuda")}
    for row in ray.data.from_items(rows).map(worker, **where).iter_rows():
        if row["refused"]:
            raise UserError(row["refused"])
        yield Path(row["path"])
