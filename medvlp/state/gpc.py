"""GPC (Zhao et al. 2023): known findings and groups that nobody named, whose number is found by splits and mergers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import State
from medvlp.core.registry import FromModel
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable
from medvlp.features.split_merge import Prior, densities, split_and_merge
from medvlp.state._samples import packed, rows_of, unpacked, with_labels

_ROUNDS = 3  # most of splits and mergers in a pass
_MEAN_TEMPERATURE = 0.1


class Gpc(State):
    """Prototypes of a cohort, the first of them of known findings, made anew by each feature pass.

    A sample is of a known class if exactly one of `labels` is present in it; every other sample is unlabelled. K-means
    keeps labelled samples in their class; then clusters without a class are split or merged where that is likelier
    under a normal-inverse-Wishart prior (`medvlp.features.split_merge`): their number is found, and the next pass
    starts from it. A cluster in which samples lie widely has a high temperature; their mean is 0.1, and none is below
    0.02. A class without a sample has an empty cluster, whose prototype is zero. All processes hold all N D numbers.

    Args:
        labels: C findings that exclude each other here, names of label fields without ``label.``.
        reads: key of the rows, one a sample, brought to unit length.
        clusters: K of the first pass, known ones included; generous, since known classes are never split.
        psi: see `Prior`: about the variance in a cluster, times D + 1.
        model: given by the builder; tells on which device to compute.

    Raises:
        ConfigError: if a finding is named twice, or there are no more clusters than findings.

    References:
        Zhao et al. 2023, section 3; Chang and Fisher 2013 (split and merge).

    Note:
        What is discovered are groups of pictures: look at each before it is called a finding, since views, devices and
        sites make groups too. Psi is of the features' scale: where K runs away, raise it.

    Example:
        >>> rows = np.repeat(np.eye(3, dtype=np.float32), 12, axis=0)
        >>> known = np.repeat(np.array([1, np.nan, np.nan], np.float32), 12)
        >>> state = Gpc(labels=["effusion"], clusters=6)
        >>> state.refresh(FeatureTable([str(i) for i in range(36)], {"image/gpc": rows, "label.effusion": known}))
        >>> len(state.prototypes)  # of six to begin with
        3
    """

    needs_refresh = True

    def __init__(
        self,
        *,
        labels: Sequence[str],
        reads: str = "image/gpc",
        clusters: Annotated[int, Field(ge=2)] = 50,
        psi: Annotated[float, Field(gt=0)] = 0.005,
        model: Annotated[nn.Module | None, FromModel("model")] = None,
    ) -> None:
        if not labels or len(set(labels)) < len(labels) or clusters <= len(labels):
            raise ConfigError(
                f"state 'gpc' has labels {', '.join(labels) or 'none'} and {clusters} clusters: name each finding once "
                "and begin with more clusters than findings."
            )
        self.labels = tuple(labels)
        self.reads = reads
        self.clusters = clusters
        self.psi = psi
        self._model = model
        self.prototypes = torch.zeros(0, 0)
        self.temperatures = torch.zeros(0)
        self._places: dict[str, int] = {}
        self._found = torch.zeros(0, dtype=torch.int64)

    def needs(self) -> frozenset[Key]:
        """The labels, which objectives ask it about."""
        return keys(*(f"label.{name}" for name in self.labels))

    def refresh_needs(self) -> frozenset[Key]:
        """The rows and the labels."""
        return keys(self.reads, *(f"label.{name}" for name in self.labels))

    def fields(self) -> tuple[str, ...]:
        """The cluster of each sample."""
        return ("number.gpc",)

    def extend(self, batch: Batch) -> Batch:
        """Give each sample its cluster, NaN where it has none."""
        return with_labels(batch, {"number.gpc": rows_of(self._found, self._places, batch.ids, missing=-1)})

    def known(self, values: Tensor) -> Tensor:
        """Return the class of each row of label values (R, C), int64 (R,), -1 where it is not known.

        Example:
            >>> Gpc(labels=["effusion", "nodule"]).known(torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])).tolist()
            [1, -1, -1]
        """
        present = values == 1
        return torch.where(present.sum(dim=1) == 1, present.int().argmax(dim=1), -1)

    @torch.no_grad()
    def refresh(self, table: FeatureTable) -> None:
        """Cluster the cohort.

        Raises:
            DataError: if there are fewer rows than clusters, or all rows are of known classes.
        """
        device = collectives.device_of(self._model)
        values = torch.stack([torch.from_numpy(table[f"label.{name}"]) for name in self.labels], dim=1)
        rows = collectives.gather_rows(torch.from_numpy(table[self.reads]).to(device)).cpu()
        known = collectives.gather_rows(self.known(values).to(device)).cpu().numpy()
        ids = collectives.gather_list(table.ids)
        there = rows.isfinite().all(dim=1).numpy()
        own = unit(rows).double().numpy()[there]
        if len(own) < (count := max(len(self.prototypes) or self.clusters, len(self.labels) + 1)):
            raise DataError(f"state 'gpc' cannot make {count} clusters of {len(own)} rows: lower clusters.")
        if (known[there] >= 0).all():
            raise DataError(
                "state 'gpc' has no unlabelled row to find groups in: each sample has exactly one of "
                f"{', '.join(self.labels)}; name fewer labels."
            )
        prior = Prior(own.mean(axis=0), psi=self.psi)
        found = split_and_merge(own, known[there], count, prior=prior, classes=len(self.labels), rounds=_ROUNDS)
        centroids = np.zeros((max(int(found.max()) + 1, len(self.labels)), own.shape[1]))
        np.add.at(centroids, found, own)
        centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
        self.prototypes = torch.from_numpy(centroids).float()
        self.temperatures = torch.from_numpy(densities(own, found, centroids, mean=_MEAN_TEMPERATURE)).float()
        self._places, self._found = {each: i for i, each in enumerate(ids)}, torch.full((len(ids),), -1)
        self._found[torch.from_numpy(there)] = torch.from_numpy(found)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the prototypes, their temperatures, and the samples' clusters."""
        made = {"prototypes": self.prototypes, "temperatures": self.temperatures, "found": self._found}
        return {**made, "ids": packed(self._places)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.prototypes, self.temperatures = tensors["prototypes"].clone(), tensors["temperatures"].clone()
        self._places, self._found = unpacked(tensors["ids"]), tensors["found"].cpu().clone()
