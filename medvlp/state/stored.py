"""A teacher whose embeddings were computed once and kept (MobileCLIP's reinforced data, Vasu et al. 2024)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import sha256_of
from medvlp.core.keys import Key, Plan, keys
from medvlp.core.protocols import Model, Teacher
from medvlp.core.sample import REPLAY, Batch
from medvlp.core.table import FeatureTable
from medvlp.state._samples import packed, unpacked


class Stored(Teacher):
    """Answer for a teacher from rows by sample and augmentation, so that it need not run while a student trains.

    The data must have few augmentations of each sample (``data.replays: n``): what the random views draw, texts
    included, is then one of n draws of the sample's own, made again bit for bit whenever it comes. A pass over them all
    (``refresh: [{state: STORE, every: SAMPLES, over: replays}]``) asks the teacher n times a sample, whatever the
    number of epochs; then objectives ask this state as they would ask the teacher. An ensemble is several of these.

    With a `table` the rows outlive the run: the pass writes it, and later runs, of any seed, need neither pass nor
    teacher. Rows are found by sample and ``id.replay``, number of the draw and hash of all views: others are refused.

    Args:
        teacher: state that the pass asks; None where there is a table.
        views: that are kept, one row a sample each.
        table: Parquet, on a disk that all processes see. A checkpoint then has its digest, else all rows. A later
            pass puts the one that the newest checkpoint names beside it, as ``TABLE.before``.

    Raises:
        ConfigError: without teacher and table.

    References:
        Vasu et al. 2024 (MobileCLIP), section 3.2: dataset reinforcement.

    Note:
        Few augmentations are learnt by heart sooner than ever new ones; the paper keeps 10 to 30. The table holds what
        a model sees in each patient's images and reports: keep it as you keep them.

    Example:
        >>> from dataclasses import replace
        >>> store = Stored(teacher="large")
        >>> taught = {f"large:{view}/embedding": np.eye(2, dtype=np.float32) for view in ("image", "text")}
        >>> store.refresh(FeatureTable(["a", "a"], {**taught, "id.replay": ["0 f", "1 f"]}))
        >>> batch = replace(Batch.of({"text": ["x"], "id.replay": ["1 f"]}), ids=("a",))
        >>> store.encode(batch, Plan.of(keys("text/embedding")))["text"].part("embedding").tolist()
        [[0.0, 1.0]]
    """

    def __init__(
        self, *, teacher: str | None = None, views: Sequence[str] = ("image", "text"), table: Path | None = None
    ) -> None:
        if teacher is None and table is None:
            raise ConfigError("state 'stored' has neither teacher nor table: name what fills it, or what did.")
        self.teacher = teacher
        self.views = tuple(views)
        self.table = table
        self.needs_refresh = teacher is not None
        self._device = torch.device("cpu")
        self._place: dict[str, int] = {}
        self._rows: dict[str, Tensor] = {}
        self._digest = self._named = ""  # of the rows, and of those of the newest checkpoint
        if table is not None and teacher is None:
            self._read(table)

    def needs(self) -> frozenset[Key]:
        """Which augmentation a sample is."""
        return keys(REPLAY)

    def refresh_needs(self) -> frozenset[Key]:
        """What the teacher makes of the views, and of which augmentation."""
        asked = [REPLAY, *(f"{self.teacher}:{view}/embedding" for view in self.views)]
        return keys(*asked if self.teacher is not None else ())

    def bind(self, model: Model) -> None:
        """Look where the student is."""
        self._device = collectives.device_of(model)

    def check(self, plan: Plan) -> None:
        """Refuse what is not kept; see `Teacher`."""
        for view, parts in plan.views.items():
            if view not in self.views or parts != {"embedding"}:
                offered = " and ".join(f"{each}/embedding" for each in self.views)
                raise ConfigError(
                    f"The stored teacher keeps {offered}, and is asked {view}/{min(parts)}: ask for those."
                )

    def refresh(self, table: FeatureTable) -> None:
        """Keep what the teacher made of all samples, and write it where there is a table."""
        names = collectives.gather_list(_names(table.ids, list(table.columns[REPLAY])))
        self._place = {name: i for i, name in enumerate(names)}
        for view in self.views:
            own = torch.from_numpy(table[f"{self.teacher}:{view}/embedding"])
            self._rows[view] = collectives.gather_rows(own.to(self._device)).cpu()
        if self.table is not None and collectives.rank() == 0:
            columns = {f"{view}/embedding": rows.numpy() for view, rows in self._rows.items()}
            if self._named and self.table.is_file() and sha256_of(self.table) == self._named:
                shutil.copyfile(self.table, Path(f"{self.table}.before"))
            FeatureTable(list(self._place), columns).save(self.table)
            self._digest = sha256_of(self.table)
        collectives.barrier()

    def encode(self, batch: Batch, plan: Plan) -> dict[str, Encoded]:
        """Look up the rows of the samples that have the view, or raise a `DataError` if one was not kept as it is."""
        if not self._place:
            raise ConfigError("The stored teacher is empty: refresh it over replays, or give it a table.")
        place = torch.tensor([self._place.get(name, -1) for name in _names(batch.ids, batch.strings(REPLAY))])
        if bool((place < 0).any()):
            raise DataError(
                f"The stored teacher has no row of {int((place < 0).sum())} of {batch.size} samples: it was "
                "filled with other records, fewer replays or other views: make it again."
            )
        found, device = {}, batch.device
        for view in plan.views:
            owner = batch[view].owner if view in batch else torch.arange(0, device=device)
            found[view] = Encoded(owner, extra={"embedding": self._rows[view][place[owner.cpu()]].to(device)})
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows, or the digest of the table."""
        if self.table is not None:
            self._named = self._digest
            return {"digest": packed([self._digest])} if self._place else {}
        return {"names": packed(self._place), **{f"rows|{view}": rows for view, rows in self._rows.items()}}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back, or raise a `DataError` if the table is no longer that of the saved run."""
        if self.table is None:
            self._place = unpacked(tensors["names"])
            self._rows = {name.partition("|")[2]: rows.cpu() for name, rows in tensors.items() if name != "names"}
        elif "digest" in tensors:
            (self._named,) = unpacked(tensors["digest"])
            tables = [path for path in (self.table, Path(f"{self.table}.before")) if path.is_file()]
            named = [path for path in tables if sha256_of(path) == self._named]
            if not named:
                raise DataError(f"{self.table} is not what this run was taught by: restore it, or start a new run.")
            self._read(named[0])

    def _read(self, path: Path) -> None:
        stored, self._digest = FeatureTable.load(path), sha256_of(path)
        self._place = {name: i for i, name in enumerate(stored.ids)}
        self._rows = {view: torch.from_numpy(np.array(stored[f"{view}/embedding"])) for view in self.views}


def _names(ids: Sequence[str], replays: Sequence[str]) -> list[str]:
    return [f"{replay} {each}" for each, replay in zip(ids, replays, strict=True)]
