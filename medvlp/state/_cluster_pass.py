"""What a pass of k-means found of each sample in several spaces, as a state keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, DataError, did_you_mean
from medvlp.features.space_clusters import SpaceClusters
from medvlp.state._samples import packed, rows_of, unpacked


class ClusterPass:
    """Clusters of the samples of a pass in each of several spaces, `nearest` a sample; empty before the first one."""

    def __init__(self, spaces: Sequence[str], nearest: int) -> None:
        none = {space: torch.zeros(0, dtype=torch.int64) for space in spaces}
        near = {space: torch.zeros(0, nearest, dtype=torch.int64) for space in spaces if nearest > 1}
        self.places: dict[str, int] = {}
        self.found = SpaceClusters(none, near, {})

    def fill(self, ids: Sequence[str], found: SpaceClusters) -> None:
        """Take what a pass over some samples found."""
        self.places, self.found = {each: i for i, each in enumerate(ids)}, found

    def of(self, ids: Sequence[str]) -> list[Tensor]:
        """Return of some samples their cluster in each space, (n,), then their nearest ones, (n, nearest); -1: none."""
        every = (*self.found.labels.values(), *self.found.nearest.values())
        return [rows_of(each, self.places, ids, missing=-1) for each in every]

    def centroids(self, *, by: str, space: str) -> Tensor:
        """Return the mean rows of a space under the clusters of another, (K, D).

        Raises:
            ConfigError: before the first pass, or for a space that there is not.
        """
        for each in (by, space):
            if each not in self.found.labels:
                raise ConfigError(f"The clusters know no space {each!r}: {did_you_mean(each, self.found.labels)}.")
        if not self.places:
            raise ConfigError("The clusters are empty: the phase must refresh them before its objectives ask.")
        return self.found.centroids[by, space]

    def state_dict(self) -> dict[str, Tensor]:
        """Return ids, labels and centroids; no more than ids before the first pass."""
        found, ids = self.found, {"ids": packed(self.places)}
        if not self.places:
            return ids
        labels = {f"labels|{space}": each for space, each in found.labels.items()}
        near = {f"nearest|{space}": each for space, each in found.nearest.items()}
        return {**ids, **labels, **near, **{f"centroids|{a}|{b}": each for (a, b), each in found.centroids.items()}}

    def load_state_dict(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore what `state_dict` returned, centroids on a device.

        Raises:
            DataError: if they are of other spaces.
        """
        spaces, saved = set(self.found.labels), {n.partition("|")[2] for n in tensors if n.startswith("labels|")}
        if saved and saved != spaces:
            raise DataError(
                f"The saved clusters are of {', '.join(sorted(saved))}, not of {', '.join(sorted(spaces))}: "
                "resume with the configuration they were saved with."
            )
        self.places = unpacked(tensors["ids"])
        if saved:
            labels = {space: tensors[f"labels|{space}"].cpu() for space in self.found.labels}
            near = {space: tensors[f"nearest|{space}"].cpu() for space in self.found.nearest}
            pairs = [(by, space) for by in labels for space in labels]
            means = {(by, space): tensors[f"centroids|{by}|{space}"].to(device) for by, space in pairs}
            self.found = SpaceClusters(labels, near, means)
