"""Prototypes that follow labelled rows: they begin as means of a cohort, and each further row moves its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import State
from medvlp.core.table import FeatureTable
from medvlp.features.nearest import finite_rows
from medvlp.features.prototypes import class_means, densities, distances, mean_distances, members, moved, shares


class MovingPrototypes(State):
    """Two unit vectors a finding, of the rows in which it is absent and present, and how widely those lie about them.

    Each labelled row moves its prototype, mu <- m mu + (1 - m) z, one after the other in the order of the run's
    samples, and after a step mu is scaled to unit length; z is the row at unit length. A prototype without a row yet is
    zero. What a step brings is put aside by `hold` and moves them after the step, so that its objective sees them as
    they were before it, and a step that is skipped moves none.

    Args:
        labels: findings, names of label fields without ``label.``.
        reads: key whose rows are the features; ``frozen:image/embedding`` takes a teacher's.
        momentum: m, a sample.
        temperature: of the probabilities that a finding is present; ``density``: each prototype's own.
        model: given by the builder; tells on which device to compute.

    Raises:
        ConfigError: if a finding is named twice, or none is.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        reads: str,
        momentum: float,
        temperature: float | Literal["density"],
        model: nn.Module | None,
    ) -> None:
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError("labels of state 'class_prototypes' names no finding, or one twice: name each once.")
        self.labels = tuple(labels)
        self.reads = reads
        self.momentum = momentum
        self.temperature: float | Literal["density"] = temperature
        self._model = model
        self.prototypes = torch.zeros(len(labels), 2, 0)
        self.seen = torch.zeros(len(labels), 2, dtype=torch.int64)
        self.spread = torch.zeros(2, len(labels), 2)  # sums of weighted distances, and of their weights
        self._coming: tuple[Tensor, Tensor] | None = None

    def needs(self) -> frozenset[Key]:
        """The features and the labels."""
        return keys(self.reads, *(f"label.{name}" for name in self.labels))

    @property
    def founded(self) -> Tensor:
        """Which prototypes have had a sample, bool (L, 2)."""
        return self.prototypes.any(dim=2)

    @property
    def density(self) -> Tensor:
        """The temperature of each prototype, (L, 2), by how widely its samples lie about it; see `densities`."""
        return densities(self.spread[0], self.spread[1], self.seen)

    def scores(self, rows: Tensor) -> Tensor:
        """Return cosines with every prototype, (R, L, 2): absent, present."""
        return torch.einsum("rd,lcd->rlc", rows, self.prototypes.to(rows))

    def probability(self, rows: Tensor) -> Tensor:
        """Return what the prototypes alone say of unit rows (R, D): the probability of each finding, (R, L)."""
        temperature = self.density.to(rows) if self.temperature == "density" else self.temperature
        return (self.scores(rows) / temperature).softmax(dim=2)[:, :, 1]

    def given(self, ctx: Context, rows: Tensor, key: str) -> Tensor:
        """Return the labels of a key's own rows (R, D), (R, L): 1, 0, or NaN for an uncertain or missing one."""
        labels = torch.stack([ctx.rows(f"label.{name}", key).one() for name in self.labels], dim=1).to(rows)
        return torch.where((labels == 0) | (labels == 1), labels, torch.nan)

    def cohort(self, table: FeatureTable) -> tuple[Tensor, Tensor, Tensor]:
        """Return unit rows (N, D) of a cohort, zero where there is none, which are there (N,), and labels (N, L)."""
        rows = torch.from_numpy(table[self.reads])
        there = finite_rows(rows)
        labels = torch.stack([torch.from_numpy(table[f"label.{name}"]) for name in self.labels], dim=1)
        return unit(torch.where(there[:, None], rows, 0.0)).double(), there, labels

    def begin(self, rows: Tensor, member: Tensor, sound: Tensor | None) -> None:
        """Begin as the means of unit rows (N, D), of all processes, that `member`, bool (N, L, 2), gives to each.

        A prototype that has any of the samples in `sound`, bool (N, L) or (N, 1), begins as the mean of those alone.
        """
        device = collectives.device_of(self._model)
        means, counts = class_means(rows, member, device)
        if sound is not None:
            of_sound, sound_counts = class_means(rows, member & sound[:, :, None], device)
            means = torch.where((sound_counts > 0)[:, :, None], of_sound, means)
        self.prototypes, self.seen = unit(means).float(), counts
        mean = mean_distances(rows, member, self.prototypes, counts)
        self.spread = torch.stack([mean, (counts > 1).double()]).float()

    def hold(self, rows: Tensor, labels: Tensor) -> None:
        """Put a step's own unit rows (R, D) and labels (R, L) aside."""
        device = collectives.device_of(self._model)
        self._coming = collectives.gather_rows(rows).to(device), collectives.gather_rows(labels).to(device)

    @torch.no_grad()
    def after_step(self, model: object, samples_seen: int) -> None:
        """Move the prototypes by the rows observed in this step."""
        coming, self._coming = self._coming, None
        if coming is None or not len(coming[0]):
            return
        rows, member = coming[0], members(coming[1])
        if not self.prototypes.shape[2]:
            self.prototypes = self.prototypes.new_zeros(*self.prototypes.shape[:2], rows.shape[1])
        self.prototypes = moved(self.prototypes.to(rows.device), rows, member, momentum=self.momentum)
        self.seen = self.seen.to(rows.device) + member.sum(dim=0)
        weight, remaining = shares(member, self.momentum)
        far = torch.stack([(weight * distances(rows, self.prototypes)).sum(dim=0), weight.sum(dim=0)])
        # The only row of a prototype lies on it, which says nothing of the next.
        self.spread = (remaining * self.spread.to(rows.device) + far * (self.seen > 1)).float()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the prototypes, how many samples made them, and how widely those lie."""
        return {"prototypes": self.prototypes.contiguous(), "seen": self.seen, "spread": self.spread}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, or raise a `DataError` if it is of another number of findings."""
        if tensors["seen"].shape != self.seen.shape:
            raise DataError(
                f"The saved prototypes are of {len(tensors['seen'])} findings, not of {len(self.labels)}: resume with "
                "the configuration they were saved with."
            )
        self.prototypes, self.seen = tensors["prototypes"].clone(), tensors["seen"].clone()
        self.spread = tensors["spread"].clone()
