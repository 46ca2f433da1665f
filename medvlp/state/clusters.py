"""Clusters of several feature spaces over one set of samples, and the centroids of any space under any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import State
from medvlp.core.registry import FromModel
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable
from medvlp.features.external import External
from medvlp.features.space_clusters import cluster_spaces
from medvlp.state._cluster_pass import ClusterPass
from medvlp.state._samples import with_labels


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
        >>> image, text = (torch.eye(3, width).numpy() + 1 for width in (2, 3))
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
        self.clusters, self.samples_per_cluster, self.nearest = clusters, samples_per_cluster, nearest
        options = {"spherical": spherical, "unit_centroids": unit_centroids}
        self._cluster = partial(cluster_spaces, nearest=nearest, iterations=iterations, restarts=restarts, **options)
        self.external, self.field, self.seed, self._model = external, field, seed, model
        self.spaces = (*self.reads, *(["external"] if external else []))
        self._passes = 0
        self._last = ClusterPass(self.spaces, nearest)

    def refresh_needs(self) -> frozenset[Key]:
        """The parts of all spaces, and the fields of the external teacher."""
        return keys(*self.reads.values(), *(self.external.fields if self.external else ()))

    def fields(self) -> tuple[str, ...]:
        """One field a space, and one of the nearest clusters."""
        kinds = ("number", "vector") if self.nearest > 1 else ("number",)
        return tuple(f"{kind}.{self.field}_{space}" for kind in kinds for space in self.spaces)

    def extend(self, batch: Batch) -> Batch:
        """Give each sample its clusters in each space, NaN where it has none."""
        return with_labels(batch, dict(zip(self.fields(), self._last.of(batch.ids), strict=True)))

    def centroids(self, *, labels_of: str, features_of: str) -> Tensor:
        """Return the mean features of one space under the clusters of another, (K, D), zero where a cluster has no row.

        Raises:
            ConfigError: before the first pass, or for a space that there is not.
        """
        return self._last.centroids(by=labels_of, space=features_of)

    def labels(self) -> tuple[tuple[str, ...], Mapping[str, Tensor]]:
        """Return the samples of the last pass, and of each space their clusters, (n,) int64, -1 where there is none."""
        return tuple(self._last.places), self._last.found.labels

    @torch.no_grad()
    def refresh(self, table: FeatureTable) -> None:
        """Cluster every space, and take the means of every space under every labelling.

        Raises:
            DataError: if there are fewer rows than clusters, fewer clusters than `nearest`, or the external table lacks
                the samples.
        """
        device = collectives.device_of(self._model)
        features = {space: unit(torch.from_numpy(table[key]).to(device)) for space, key in self.reads.items()}
        if self.external is not None:
            features["external"] = self.external.rows(table, device)
        ids = collectives.gather_list(table.ids)
        count = self.clusters or max(2, len(ids) // self.samples_per_cluster)
        if self.nearest > count:
            raise DataError(f"nearest of state 'clusters' is {self.nearest}, and {count} clusters were made: lower it.")
        # Each pass starts anew: a bad start must not be had twice.
        self._last.fill(ids, self._cluster(features, count, seed=self.seed + self._passes))
        self._passes += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Return ids, labels and centroids of the last pass."""
        return {"passes": torch.tensor(self._passes), **self._last.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, or raise a `DataError` if it is of other spaces."""
        self._last.load_state_dict(tensors, collectives.device_of(self._model))
        self._passes = int(tensors["passes"])
