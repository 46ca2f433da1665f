"""Clusters of several feature spaces over one set of samples, and the centroids of any space under any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import State
from medvlp.core.registry import FromModel
from medvlp.core.sample import Batch, Column
from medvlp.core.suggest import did_you_mean
from medvlp.core.table import FeatureTable
from medvlp.features.kmeans import Start, kmeans, means_of, nearest_centroids
from medvlp.state._shared import device_of, packed, unpacked

__all__ = ["Clusters", "External"]


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


class Clusters(State):
    """K-means in each of several spaces, after a feature pass; see `medvlp.objectives.protoclip` for what it is for.

    A space has the name of its view: the key ``image/proto`` makes the space ``image``. Rows are scaled to unit length.
    `centroids` gives the mean features of one space under the labels of another: with ``labels_of="text",
    features_of="image"`` that is the prototypical back translation of Chen et al. 2023. A batch gets the fields
    ``number.cluster_image`` and so on: a sample's cluster, NaN where it had no row. With `nearest` above 1 it also gets
    ``vector.cluster_image``: the clusters whose centroids are nearest, nearest first, as MLCD labels images (An et al.
    2024). Samples and centroids are those of the last pass and stand still until the next.

    Args:
        reads: keys of one part a space.
        clusters: K of every space; None: as many as there are samples, over `samples_per_cluster`.
        samples_per_cluster: see `clusters`.
        nearest: labels a sample.
        spherical: cosine instead of Euclidean clusters.
        iterations: see `kmeans`.
        restarts: see `kmeans`.
        start: see `kmeans`.
        unit_centroids: whether centroids are scaled to unit length. Of a scattered cluster the mean is short, which
            acts as a temperature of its own; the paper leaves it.
        external: a teacher outside the model: the space ``external``.
        field: first part of the names of the batch fields.
        seed: of the first centroids.
        model: given by the builder; tells on which device to compute.

    Raises:
        ConfigError: if two keys have one view, the external teacher is not described, or `nearest` is above `clusters`.

    Example:
        >>> clusters = Clusters(reads=["image/proto", "text/proto"], clusters=2)
        >>> image, text = np.eye(3, 2, dtype=np.float32) + 1, np.eye(3, dtype=np.float32)
        >>> clusters.refresh(FeatureTable(["a", "b", "c"], {"image/proto": image, "text/proto": text}))
        >>> clusters.centroids(labels_of="text", features_of="image").shape, clusters.fields()
        (torch.Size([2, 2]), ('number.cluster_image', 'number.cluster_text'))
    """

    needs_refresh = True

    def __init__(
        self,
        *,
        reads: Sequence[str] = ("image/proto", "text/proto"),
        clusters: Annotated[int, Field(ge=1)] | None = None,
        samples_per_cluster: Annotated[int, Field(ge=1)] = 10,
        nearest: Annotated[int, Field(ge=1)] = 1,
        spherical: bool = False,
        iterations: Annotated[int, Field(ge=1)] = 20,
        restarts: Annotated[int, Field(ge=1)] = 3,
        start: Start = "k-means++",
        unit_centroids: bool = False,
        external: External | None = None,
        field: str = "cluster",
        seed: int = 0,
        model: Annotated[nn.Module | None, FromModel("model")] = None,
    ) -> None:
        self.reads: dict[str, str] = {parse_key(key).view: key for key in reads}
        if len(self.reads) != len(reads):
            raise ConfigError(f"state 'clusters' reads {', '.join(reads)}: name one part of each view.")
        if external is not None and (external.table is None) == (not external.fields):
            raise ConfigError("external of state 'clusters' is a table with a column, or fields: give one of the two.")
        if clusters is not None and nearest > clusters:
            raise ConfigError(f"nearest of state 'clusters' is {nearest}, and there are {clusters} clusters: lower it.")
        self.clusters = clusters
        self.nearest = nearest
        self.samples_per_cluster = samples_per_cluster
        self.spherical = spherical
        self._found_by = partial(kmeans, spherical=spherical, iterations=iterations, restarts=restarts, start=start)
        self.unit_centroids = unit_centroids
        self.external = external
        self.field = field
        self.seed = seed
        self.spaces = (*self.reads, *(["external"] if external else []))
        self._model = model
        self._passes = 0
        self._row: dict[str, int] = {}
        self._labels: dict[str, Tensor] = {}
        self._nearest: dict[str, Tensor] = {}
        self._centroids: dict[tuple[str, str], Tensor] = {}

    # what it adds and answers ---------------------------------------------------------------------------------------

    def refresh_needs(self) -> frozenset[Key]:
        """The parts of all spaces, and the fields of the external teacher."""
        return keys(*self.reads.values(), *(self.external.fields if self.external else ()))

    def fields(self) -> tuple[str, ...]:
        """One field a space, and one of the nearest clusters."""
        return tuple(f"{kind}.{self.field}_{space}" for kind in self._kinds for space in self.spaces)

    @property
    def _kinds(self) -> tuple[str, ...]:
        return ("number", "vector") if self.nearest > 1 else ("number",)

    def extend(self, batch: Batch) -> Batch:
        """Give each sample its clusters in each space, NaN where it has none."""
        device = batch.device
        rows = torch.tensor([self._row.get(each, -1) for each in batch.ids])
        owner, columns = torch.arange(batch.size, device=device), {}
        for kind, shape, found in (("number", (), self._labels), ("vector", (self.nearest,), self._nearest)):
            for space in self.spaces if kind in self._kinds else ():
                values = torch.full((batch.size, *shape), torch.nan)
                if self._row:
                    labels = found[space][rows.clamp(min=0)]
                    known = (rows >= 0).view(-1, *[1] * len(shape)) & (labels >= 0)
                    values = torch.where(known, labels.float(), torch.nan)
                columns[f"{kind}.{self.field}_{space}"] = Column(values.to(device), owner)
        return batch.with_columns(columns)

    def centroids(self, *, labels_of: str, features_of: str) -> Tensor:
        """Return the mean features of one space under the clusters of another, (K, D), zero where a cluster has no row.

        Raises:
            ConfigError: before the first pass, or for a space that there is not.
        """
        for space in (labels_of, features_of):
            if space not in self.spaces:
                raise ConfigError(f"The clusters know no space {space!r}: {did_you_mean(space, self.spaces)}.")
        if (labels_of, features_of) not in self._centroids:
            raise ConfigError("The clusters are empty: the phase must refresh them before its objectives ask.")
        return self._centroids[labels_of, features_of]

    def labels(self) -> tuple[tuple[str, ...], Mapping[str, Tensor]]:
        """Return the samples of the last pass, and of each space their clusters, (n,) int64, -1 where there is none."""
        return tuple(self._row), self._labels

    def soft_labels(self, labels: Tensor, *, space: str, temperature: float) -> Tensor:
        """Return softmax_j(c_y . c_j / temperature) over a space's own centroids c, for each label y.

        Args:
            labels: (R,) as the batch field holds them.
            space: whose they are.
            temperature: of the softmax.

        Returns:
            (R, K); zeros where a label is NaN.
        """
        centroids = self.centroids(labels_of=space, features_of=space).to(labels.device)
        known = labels.isfinite()
        index = torch.where(known, labels, 0.0).long()
        soft = (centroids[index] @ centroids.T / temperature).softmax(dim=1)
        return torch.where(known[:, None], soft, 0.0)

    # passes ---------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refresh(self, table: FeatureTable) -> None:
        """Cluster every space, and take the means of every space under every labelling.

        Raises:
            DataError: if there are fewer rows than clusters, fewer clusters than `nearest`, or the external table lacks
                the samples.
        """
        device = device_of(self._model)
        features = {space: unit(torch.from_numpy(table[key]).to(device)) for space, key in self.reads.items()}
        if self.external is not None:
            features["external"] = self._external(self.external, table).to(device)
        ids = [each for part in collectives.gather_objects(list(table.ids)) for each in part]
        count = self.clusters or max(2, len(ids) // self.samples_per_cluster)
        if self.nearest > count:
            raise DataError(f"nearest of state 'clusters' is {self.nearest}, and {count} clusters were made: lower it.")
        found = {space: self._found_in(rows, count) for space, rows in features.items()}
        labels = {space: own for space, (own, _) in found.items()}
        self._centroids = {}
        for by, own in labels.items():
            for space, rows in features.items():
                there = torch.where(rows.isfinite().all(dim=1), own, -1)
                means, _ = means_of(rows, there, count)
                self._centroids[by, space] = unit(means) if self.unit_centroids else means
        self._row = {each: i for i, each in enumerate(ids)}
        self._labels = {space: collectives.gather_rows(own).cpu() for space, own in labels.items()}
        if self.nearest > 1:
            self._nearest = {space: collectives.gather_rows(near).cpu() for space, (_, near) in found.items()}
        self._passes += 1

    def _found_in(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the cluster of each row, (R,), and the nearest ones, (R, nearest); -1 where there is no row."""
        there = rows.isfinite().all(dim=1)
        # Each pass starts anew: a bad start must not be had twice.
        found = self._found_by(rows[there], count, seed=self.seed + self._passes)
        labels = torch.full((len(rows),), -1, device=rows.device)
        labels[there] = found.labels
        near = torch.full((len(rows), self.nearest), -1, device=rows.device)
        if self.nearest > 1:
            near[there] = nearest_centroids(rows[there], found.centroids, self.nearest, spherical=self.spherical)
        return labels, near

    def _external(self, external: External, table: FeatureTable) -> Tensor:
        if external.table is not None:
            rows = _by_id(external.table, external.column, table.ids)
        else:
            rows = torch.cat([_values(name, torch.from_numpy(table[name])) for name in external.fields], dim=1)
        return rows if external.width is None else _principal(unit(rows), external.width)

    # files ----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Return ids, labels and centroids of the last pass."""
        return {
            "passes": torch.tensor(self._passes),
            "ids": packed(self._row),
            **{f"labels|{space}": labels for space, labels in self._labels.items()},
            **{f"nearest|{space}": near for space, near in self._nearest.items()},
            **{f"centroids|{by}|{space}": means for (by, space), means in self._centroids.items()},
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            DataError: if they are of other spaces.
        """
        saved = {name.partition("|")[2] for name in tensors if name.startswith("labels|")}
        if saved and saved != set(self.spaces):
            raise DataError(
                f"The saved clusters are of {', '.join(sorted(saved))}, not of {', '.join(sorted(self.spaces))}: "
                "resume with the configuration they were saved with."
            )
        device = device_of(self._model)
        self._passes = int(tensors["passes"])
        self._row = unpacked(tensors["ids"])
        self._labels = {space: tensors[f"labels|{space}"].cpu() for space in self.spaces if saved}
        if self.nearest > 1:
            self._nearest = {space: tensors[f"nearest|{space}"].cpu() for space in self.spaces if saved}
        self._centroids = {
            (by, space): tensors[f"centroids|{by}|{space}"].to(device)
            for by in self.spaces
            for space in self.spaces
            if saved
        }


def _by_id(path: Path, column: str, ids: Sequence[str]) -> Tensor:
    stored = FeatureTable.load(path)
    place = {each: i for i, each in enumerate(stored.ids)}
    rows = stored[column]
    known = [place.get(each, -1) for each in ids]
    if ids and max(known) < 0:
        raise DataError(f"{path} has none of the training samples: give the table of this cohort.")
    chosen = torch.from_numpy(rows[np.maximum(known, 0)].astype(np.float32))
    return torch.where(torch.tensor(known)[:, None] >= 0, chosen, torch.nan)


def _values(name: str, values: Tensor) -> Tensor:
    """Columns of one field: labels as one of four, so that no order among them is supposed."""
    if parse_field(name).kind != "label":
        return values.float().reshape(len(values), -1)
    known = [(values == value).float() for value in (1, 0, -1)]
    return torch.stack([*known, values.isnan().float()], dim=1)


def _principal(rows: Tensor, width: int) -> Tensor:
    """Project rows on the principal components of all processes' rows, (R, width)."""
    there = rows.isfinite().all(dim=1)
    wide = torch.where(there[:, None], rows, 0.0).double()
    count = collectives.total(there.sum()).clamp(min=1)
    mean = collectives.total(wide.sum(dim=0)) / count
    centred = torch.where(there[:, None], wide - mean, 0.0)
    _, vectors = torch.linalg.eigh(collectives.total(centred.T @ centred))
    projected = (centred @ vectors[:, -min(width, len(vectors)) :]).float()
    return torch.where(there[:, None], projected, torch.nan)
