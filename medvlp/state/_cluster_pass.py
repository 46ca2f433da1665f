"""What the last feature pass found of clusters: looked up by sample and by space, and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.suggest import did_you_mean
from medvlp.features.space_clusters import SpaceClusters
from medvlp.state._samples import packed, rows_of, unpacked


class ClusterPass:
    """Clusters of the samples of a pass in each of several spaces; empty before the first one.

    Args:
        spaces: their names.
        nearest: n, clusters of a sample.
    """

    def __init__(self, spaces: Sequence[str], nearest: int) -> None:
        self.spaces = tuple(spaces)
        self.places: dict[str, int] = {}
        # By the names that they have in a checkpoint.
        self._labels = {f"labels|{space}": torch.zeros(0, dtype=torch.int64) for space in spaces}
        if nearest > 1:
            self._labels |= {f"nearest|{space}": torch.zeros(0, nearest, dtype=torch.int64) for space in spaces}
        self._centroids: dict[str, Tensor] = {}

    def fill(self, ids: Sequence[str], found: SpaceClusters) -> None:
        """Take what a pass over some samples found."""
        self.places = {each: i for i, each in enumerate(ids)}
        self._labels = {f"labels|{space}": labels for space, labels in found.labels.items()}
        self._labels |= {f"nearest|{space}": labels for space, labels in found.nearest.items()}
        self._centroids = {f"centroids|{by}|{space}": means for (by, space), means in found.centroids.items()}

    def labels(self, space: str) -> Tensor:
        """Return the cluster of each sample of the pass, (N,) int64, -1 where it has none."""
        return self._labels[f"labels|{space}"]

    def of(self, ids: Sequence[str]) -> list[Tensor]:
        """Return of some samples their cluster in each space, (n,), then their nearest ones, (n, nearest); -1: none."""
        return [rows_of(each, self.places, ids, missing=-1) for each in self._labels.values()]

    def centroids(self, *, by: str, space: str) -> Tensor:
        """Return the mean rows of a space under the clusters of another, (K, D).

        Raises:
            ConfigError: before the first pass, or for a space that there is not.
        """
        for each in (by, space):
            if each not in self.spaces:
                raise ConfigError(f"The clusters know no space {each!r}: {did_you_mean(each, self.spaces)}.")
        if not self.places:
            raise ConfigError("The clusters are empty: the phase must refresh them before its objectives ask.")
        return self._centroids[f"centroids|{by}|{space}"]

    def state_dict(self) -> dict[str, Tensor]:
        """Return ids, labels and centroids; no more than ids before the first pass."""
        return {"ids": packed(self.places), **(self._labels | self._centroids if self.places else {})}

    def load_state_dict(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore what `state_dict` returned, centroids on a device.

        Raises:
            DataError: if they are of other spaces.
        """
        saved = {name.partition("|")[2] for name in tensors if name.startswith("labels|")}
        if saved and saved != set(self.spaces):
            raise DataError(
                f"The saved clusters are of {', '.join(sorted(saved))}, not of {', '.join(sorted(self.spaces))}: "
                "resume with the configuration they were saved with."
            )
        self.places = unpacked(tensors["ids"])
        self._labels = {name: tensors[name].cpu() if saved else each[:0] for name, each in self._labels.items()}
        means = {name: each for name, each in tensors.items() if name.startswith("centroids|")}
        self._centroids = {name: each.to(device) for name, each in means.items()}
