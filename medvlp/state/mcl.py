"""Clusters that are divided stage by stage (multistage contrastive learning, Zhang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key
from medvlp.core.protocols import State
from medvlp.core.registry import FromModel
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable
from medvlp.state._samples import packed, unpacked, with_labels
from medvlp.state.clusters import Clusters


class Mcl(State):
    """Every feature pass divides each cluster of the passes before by what the model tells apart now.

    A pass makes k clusters of each space, and so k^S joint labels l of S spaces; a sample's label becomes

        L <- k^S L + l.

    Samples that share L are those that no stage so far has told apart: batches from within one (sampler ``within``)
    make the next stage learn what the ones before ignored. Only samples that every pass had have a label.

    Args:
        reads: keys of one part a space; images and texts, as in CLIP-MoE, of which 3 clusters each make 9.
        clusters: k of each space.
        seed: of the first centroids.
        model: given by the builder; tells on which device to compute.

    Raises:
        ConfigError: if two keys have one view; by a pass, if its labels would no longer fit 2^24.

    References:
        Zhang et al. 2024 (CLIP-MoE), section 3.1; the authors use mini-batch k-means, this is Lloyd's.

    Note:
        The first clusters of radiographs are view position, scanner and hospital: what a stage within them learns is
        nearer to findings, but a finding that hangs on the scanner is told apart by the wrong thing before.

    Example:
        >>> mcl = Mcl(reads=["image/raw"], clusters=2)
        >>> for values in ([0.0, 0.1, 5.0, 5.1], [0.0, 5.0, 0.1, 5.1]):
        ...     unit = np.array([[np.cos(v), np.sin(v)] for v in values], dtype=np.float32)
        ...     mcl.refresh(FeatureTable(["a", "b", "c", "d"], {"image/raw": unit}))
        >>> len(set(mcl.labels_of(["a", "b", "c", "d"]).tolist()))
        4
    """

    needs_refresh = True

    def __init__(
        self,
        *,
        reads: Sequence[str] = ("image/embedding", "text/embedding"),
        clusters: Annotated[int, Field(ge=2)] = 3,
        seed: int = 0,
        model: Annotated[nn.Module | None, FromModel("model")] = None,
    ) -> None:
        self._each, self.joint = clusters, clusters ** len(reads)
        self._clusters = Clusters(reads=reads, clusters=clusters, seed=seed, model=model)
        self._labels: dict[str, int] = {}
        self._passes = 0

    def refresh_needs(self) -> frozenset[Key]:
        """The parts of all spaces."""
        return self._clusters.refresh_needs()

    def fields(self) -> tuple[str, ...]:
        """The label of a sample."""
        return ("number.mcl",)

    def extend(self, batch: Batch) -> Batch:
        """Give each sample its label, NaN where it has none."""
        return with_labels(batch, {"number.mcl": self.labels_of(batch.ids)})

    def labels_of(self, ids: Sequence[str]) -> Tensor:
        """Return the label of each sample, (n,) int64; -1 where it has none, as all have before the first pass."""
        return torch.tensor([self._labels.get(each, -1) for each in ids], dtype=torch.int64)

    def refresh(self, table: FeatureTable) -> None:
        """Divide the clusters by those of a pass; see `Clusters.refresh` for what is refused."""
        if self.joint ** (self._passes + 1) > 2**24:
            raise ConfigError(f"mcl has divided its clusters {self._passes} times: use fewer stages or clusters.")
        self._clusters.refresh(table)
        ids, found = self._clusters.labels()
        stacked = torch.stack(list(found.values())).numpy()  # (S, n), -1 where there is no row
        weight = self._each ** np.arange(len(stacked))[::-1]
        joint = np.where((stacked >= 0).all(axis=0), weight @ stacked, -1).tolist()
        before = self._labels if self._passes else dict.fromkeys(ids, 0)
        self._labels = {
            each: before[each] * self.joint + own
            for each, own in zip(ids, joint, strict=True)
            if own >= 0 and each in before
        }
        self._passes += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Return ids, labels and the number of passes."""
        labels = torch.tensor(list(self._labels.values()), dtype=torch.int64)
        own = {"ids": packed(self._labels), "labels": labels, "passes": torch.tensor(self._passes)}
        return {**own, **{f"clusters|{name}": each for name, each in self._clusters.state_dict().items()}}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        prefix = "clusters|"
        own = {n.removeprefix(prefix): each for n, each in tensors.items() if n.startswith(prefix)}
        self._clusters.load_state_dict(own)
        labels = tensors["labels"].tolist()
        self._labels = {each: labels[i] for each, i in unpacked(tensors["ids"]).items()}
        self._passes = int(tensors["passes"])
