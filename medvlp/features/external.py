"""A teacher outside the model: the features that a table or the fields of a batch hold of some samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.encoded import unit
from medvlp.core.errors import DataError
from medvlp.core.fields import parse_field
from medvlp.core.table import FeatureTable
from medvlp.features.nearest import finite_rows


class External(BaseModel):
    """A teacher outside the model: only the partition that its features make is used, so they may have any width.

    Attributes:
        table: Parquet table of features by sample id, as `medvlp embed` writes it.
        column: its column.
        fields: instead of a table, batch fields: vectors as they are; labels with present, absent, uncertain and not
            mentioned as four distinct values.
        width: principal components that are kept; None: no reduction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Path | None = None
    column: str = "text/embedding"
    fields: tuple[str, ...] = ()
    width: int | None = Field(default=None, ge=1)

    def rows(self, table: FeatureTable, device: torch.device) -> Tensor:
        """Return the features of a table's samples on a device, (R, D), NaN where the teacher has none.

        All processes must call it, each with its own samples: what it tells the others lies on the device.

        Raises:
            DataError: if its own table has none of the samples of all processes.
        """
        if self.table is None:
            rows = torch.cat([_columns(name, table[name]) for name in self.fields], dim=1).to(device)
        else:
            rows = _by_id(self.table, self.column, table.ids).to(device)
            if not int(collectives.total(finite_rows(rows).sum())):
                raise DataError(f"{self.table} has none of the training samples: give the table of this cohort.")
        return rows if self.width is None else _principal(unit(rows), self.width)


def _by_id(path: Path, column: str, ids: Sequence[str]) -> Tensor:
    stored = FeatureTable.load(path)
    places = {each: i for i, each in enumerate(stored.ids)}
    known = np.array([places.get(each, -1) for each in ids], dtype=np.int64)
    chosen = torch.from_numpy(stored[column][np.maximum(known, 0)].astype(np.float32))
    return torch.where(torch.from_numpy(known)[:, None] >= 0, chosen, torch.nan)


def _columns(name: str, values: np.ndarray) -> Tensor:
    """Columns of one field: labels as one of four, so that no order among them is supposed."""
    if parse_field(name).kind != "label":
        # Where no sample of this process has a vector there are empty words: the others know how long it is.
        there = values.dtype.kind == "f"
        width = max(1, *collectives.gather_objects(values[:1].size if there else 0))
        if not there:
            return torch.full((len(values), width), torch.nan)
        return torch.from_numpy(values).float().reshape(len(values), width)
    labels = torch.from_numpy(values)
    known = [(labels == value).float() for value in (1, 0, -1)]
    return torch.stack([*known, labels.isnan().float()], dim=1)


def _principal(rows: Tensor, width: int) -> Tensor:
    """Project rows on the principal components of all processes' rows, (R, width)."""
    there = finite_rows(rows)
    wide = torch.where(there[:, None], rows, 0.0).double()
    count = collectives.total(there.sum()).clamp(min=1)
    mean = collectives.total(wide.sum(dim=0)) / count
    centred = torch.where(there[:, None], wide - mean, 0.0)
    _, vectors = torch.linalg.eigh(collectives.total(centred.T @ centred))
    projected = (centred @ vectors[:, -min(width, len(vectors)) :]).float()
    return torch.where(there[:, None], projected, torch.nan)
