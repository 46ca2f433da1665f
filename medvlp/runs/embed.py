"""The features of a manifest's records by a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.answers.asking.model import VisionLanguageModel, load
from medvlp.core.errors import DataError, UserError
from medvlp.core.keys import keys
from medvlp.core.progress import progress
from medvlp.core.table import FeatureTable
from medvlp.data.cache import Cache
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress
from medvlp.data.prepare import prepare
from medvlp.data.quarantine import NothingReadableError
from medvlp.features.feature_pass import feature_pass
from medvlp.runs.data import build_views
from medvlp.runs.slices import readable_kinds, reading_of


def embed_manifest(
    model: str | Path, manifest: Path, *, root: Path | None, workers: int, backend: str = "torch", device: str = "cpu"
) -> FeatureTable:
    """Embed every readable record's pictures and report with a bundle; files lie below `root`, or as it says.

    What computes the towers is `backend`, see `medvlp.models.backends`, and where is `device`, see `medvlp.load`.

    Returns:
        One row a record. Its ``meta`` names the ids that were left out: ``left_out`` cannot be read, ``empty`` have
        nothing that the model looks at or reads.

    Raises:
        UserError: if model and manifest have no kind in common.
        DataError: if no record has anything to embed.
    """
    asked = Asked(str(model), manifest, root, backend, device)
    opened = Embedder.open(asked)
    with progress("Reading", unit="records") as tell:
        found = opened.rows(0, len(opened.manifest), workers=workers, tell=tell)
    opened.refuse_empty(found, manifest)
    return found


@dataclass(frozen=True)
class Asked:
    """What is embedded with what, in plain values: what a worker on another machine is given."""

    model: str
    manifest: Path
    root: Path | None
    backend: str
    device: str


@dataclass(frozen=True)
class Embedder:
    """A model beside the manifest that it reads."""

    loaded: VisionLanguageModel
    manifest: Manifest
    reading: list[Any]
    needs: tuple[str, ...]
    meta: dict[str, object]

    @classmethod
    def open(cls, asked: Asked) -> Embedder:
        """Load both, and what of the manifest the model looks at or reads.

        Raises:
            UserError: if they have no kind in common.
        """
        loaded = load(asked.model, backend=asked.backend, device=asked.device)
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
        meta: dict[str, object] = {"model": loaded.bundle.hash, "backend": asked.backend, "data": table.hash}
        return cls(loaded, table, reading, tuple(asks), meta)

    def rows(
        self, start: int, stop: int, *, workers: int, tell: Progress | None = None, cache: Cache | None = None
    ) -> FeatureTable:
        """Return the features of some records: of those that can be read and have anything that the model reads."""
        some = self.manifest.take(range(start, min(stop, len(self.manifest))))
        try:
            prepared = prepare(some, self.reading, cache=cache, workers=workers, cap=1.0, progress=tell)
        except NothingReadableError as error:
            left = [record.id for record in error.quarantined]
            return FeatureTable([], {}, {**self.meta, "left_out": left, "empty": [], "refused": str(error)})
        meta = {**self.meta, "left_out": [record.id for record in prepared.quarantined]}
        found = feature_pass(self.loaded.model, in_order(prepared), keys(*self.needs), meta=meta)
        embedded = np.zeros(len(found), bool)
        for name in found.columns:
            embedded |= np.isfinite(found[name]).reshape(len(found), -1).any(axis=1)
        empty = [found.ids[int(row)] for row in np.flatnonzero(~embedded)]
        return replace(found.rows(embedded) if empty else found, meta={**meta, "empty": empty})

    def refuse_empty(self, found: FeatureTable, manifest: Path) -> None:
        """Refuse a table without any row.

        Raises:
            DataError: with what to look at.
        """
        if not len(found) and "refused" in found.meta:
            raise DataError(f"{manifest}: {found.meta['refused']}")
        if not len(found):
            wanted = ", ".join(self.needs)
            raise DataError(f"No record of {manifest} has anything for {wanted}: check its columns and files.")
