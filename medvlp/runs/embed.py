"""The features of a manifest's records by a bundle: in one go, or in parts that many processes and machines share."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.core.errors import DataError, UserError
from medvlp.core.files import make_folder, read_json, write_json
from medvlp.core.installed import needs
from medvlp.core.keys import keys
from medvlp.core.progress import progress
from medvlp.core.table import FeatureTable
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.prepare import prepare
from medvlp.data.quarantine import NothingReadableError
from medvlp.features.feature_pass import feature_pass
from medvlp.runs.data import build_views
from medvlp.runs.slices import readable_kinds, reading_of


def embed_manifest(
    model: str | Path, manifest: Path, *, root: Path | None, workers: int, backend: str = "torch"
) -> FeatureTable:
    """Embed every readable record's pictures and report with a bundle; files lie below `root`, or as it says.

    What computes the towers is `backend`, see `medvlp.models.backends`.

    Returns:
        One row a record. Its ``meta`` names the ids that were left out: ``left_out`` cannot be read, ``empty`` have
        nothing that the model looks at or reads.

    Raises:
        UserError: if model and manifest have no kind in common.
        DataError: if no record has anything to embed.
    """
    asked = _Asked(str(model), manifest, root, backend)
    opened = _Embedder.open(asked)
    with progress("Reading", unit="records") as tell:
        found = opened.rows(0, len(opened.manifest), workers=workers, tell=tell)
    if not len(found):
        opened.refuse_empty(manifest)
    return found


def embed_in_parts(
    model: str | Path,
    manifest: Path,
    out: Path,
    *,
    size: int,
    root: Path | None,
    workers: int,
    backend: str = "torch",
    ray: bool = False,
) -> FeatureTable | None:
    """Embed a manifest in parts of `size` records, each a file in the folder ``OUT.parts`` until all are there.

    A run that ended early goes on with the parts that are missing. Processes that torchrun started share the parts
    by their rank, each reading its own; with `ray`, the machines of the Ray cluster that is found do (one is started
    on this machine where none is), and a part whose worker died is given to another. The folder must be seen by all.

    Returns:
        The table, written to `out`; None on another rank than 0.

    Raises:
        UserError: as `embed_manifest`; if the folder holds parts of something else; if Ray is not installed.
        DataError: as `embed_manifest`.
    """
    asked = _Asked(str(Path(model).resolve()), manifest.resolve(), None if root is None else root.resolve(), backend)
    opened = _Embedder.open(asked)
    folder = (out.parent / f"{out.name}.parts").resolve()
    make_folder(folder)
    _same_work(folder, {**opened.meta, "size": size})
    parts = [_Part(folder / f"{at:09d}.parquet", at, at + size) for at in range(0, len(opened.manifest), size)]
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    own = [part for part in parts[rank::world] if not part.path.is_file()]
    with progress("Embedding", unit="parts") as tell:
        tell(0, len(own))
        made = _by_ray(asked, own, workers) if ray else (opened.write(part, workers=workers) for part in own)
        for count, _ in enumerate(made, start=1):
            tell(count, len(own))
    if rank:
        return None
    while not all(part.path.is_file() for part in parts):  # torchrun ends this process where another one fails
        time.sleep(0.5)
    table = _joined([FeatureTable.load(part.path) for part in parts])
    if not len(table):
        opened.refuse_empty(manifest)
    table.save(out)
    shutil.rmtree(folder)
    return table


@dataclass(frozen=True)
class _Asked:
    """What is embedded with what, in plain values: what a worker on another machine is given."""

    model: str
    manifest: Path
    root: Path | None
    backend: str


@dataclass(frozen=True)
class _Part:
    """Records `start` to `stop` - 1 of a manifest, and the file of their features."""

    path: Path
    start: int
    stop: int


@dataclass(frozen=True)
class _Embedder:
    """A model beside the manifest that it reads."""

    loaded: VisionLanguageModel
    manifest: Manifest
    reading: list[Any]
    needs: tuple[str, ...]
    meta: dict[str, object]

    @classmethod
    def open(cls, asked: _Asked) -> _Embedder:
        loaded = load(asked.model, backend=asked.backend)
        table = Manifest.load(asked.manifest, root=asked.root)
        reading = build_views(reading_of(table, loaded.bundle.preprocessing, loaded.model), where="preprocessing")
        words = "text" in table and loaded.model.reads_text and loaded.embeds
        kinds = readable_kinds(table, reading, loaded.model)
        if not kinds and not words:
            raise UserError(
                f"The model looks at {' and '.join(loaded.model.kinds)}, and the manifest names neither such files nor "
                "reports that it reads: index the data with such a column."
            )
        asks = [loaded.of_kind(kind).features for kind in kinds] + (["text/embedding"] if words else [])
        made_by = str(loaded.bundle.provenance.get("recipe", ""))
        return cls(
            loaded, table, reading, tuple(asks), {"model": made_by, "backend": asked.backend, "data": table.hash}
        )

    def rows(self, start: int, stop: int, *, workers: int, tell: Progress | None = None) -> FeatureTable:
        """Return the features of some records: of those that can be read and have anything that the model reads."""
        some = self.manifest.take(range(start, min(stop, len(self.manifest))))
        try:
            prepared = prepare(some, self.reading, cache=None, workers=workers, cap=1.0, progress=tell)
        except NothingReadableError as error:
            left = [record.id for record in error.quarantined]
            return FeatureTable([], {}, {**self.meta, "left_out": left, "empty": []})
        meta = {**self.meta, "left_out": [record.id for record in prepared.quarantined]}
        found = feature_pass(self.loaded.model, in_order(prepared), keys(*self.needs), meta=meta)
        embedded = np.zeros(len(found), bool)
        for name in found.columns:
            embedded |= np.isfinite(found[name]).reshape(len(found), -1).any(axis=1)
        empty = [found.ids[int(row)] for row in np.flatnonzero(~embedded)]
        return replace(found.rows(embedded) if empty else found, meta={**meta, "empty": empty})

    def write(self, part: _Part, *, workers: int) -> Path:
        self.rows(part.start, part.stop, workers=workers).save(part.path)
        return part.path

    def refuse_empty(self, manifest: Path) -> None:
        wanted = ", ".join(self.needs)
        raise DataError(f"No record of {manifest} has anything for {wanted}: check its columns and files.")


def _same_work(folder: Path, work: dict[str, object]) -> None:
    """Write down what the parts of a folder are of, or refuse a folder of other ones."""
    note = folder / "parts.json"
    if not note.is_file():
        write_json(note, work)
    elif read_json(note) != work:
        raise UserError(
            f"{folder} holds parts of another model, manifest or size: remove it, or name another file to write."
        )


def _joined(parts: list[FeatureTable]) -> FeatureTable:
    """Parts end to end; what was left out of each is left out of the whole."""
    left = {name: [each for part in parts for each in _names(part, name)] for name in ("left_out", "empty")}
    filled = [part for part in parts if len(part)]
    return replace(FeatureTable.join(filled) if filled else parts[0], meta={**parts[0].meta, **left})


def _names(part: FeatureTable, name: str) -> list[str]:
    found = part.meta[name]
    return [str(each) for each in found] if isinstance(found, list) else []


def _by_ray(asked: _Asked, parts: list[_Part], workers: int) -> Iterator[Path]:
    """Write parts on the machines of a Ray cluster; each of its processes opens the model once."""
    needs("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    class Worker:
        def __init__(self) -> None:
            self.opened = _Embedder.open(asked)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            part = _Part(Path(row["path"]), int(row["start"]), int(row["stop"]))
            return {"path": str(self.opened.write(part, workers=workers))}

    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
    rows = [{"path": str(part.path), "start": part.start, "stop": part.stop} for part in parts]
    worker: Any = Worker  # Ray makes one in each of its processes
    for row in ray.data.from_items(rows).map(worker, concurrency=(1, max(1, len(parts)))).iter_rows():
        yield Path(row["path"])
