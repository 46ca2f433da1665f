"""Prototypes of findings: where samples with and without each finding lie, followed by a moving average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import State
from medvlp.core.registry import FromModel
from medvlp.core.table import FeatureTable
from medvlp.state._beliefs import Beliefs
from medvlp.state._shared import device_of

__all__ = ["ClassPrototypes", "Sure", "clean_labels", "moved"]

# Which labels are beyond doubt: those of a negative bag, for instance, are absent for each of its instances.
Sure = Literal["none", "absent", "present"]


@dataclass(frozen=True)
class _Coming:
    """Rows (N, D) and labels (N, L) of a step over all processes; samples, their labels and votes where they count."""

    rows: Tensor
    labels: Tensor
    ids: list[str] | None
    votes: Tensor | None


class ClassPrototypes(State):
    r"""Two unit vectors a finding, of the samples in which it is absent and present.

    Each labelled sample moves its prototype, mu <- m mu + (1 - m) z, one after the other in the order of the run's
    samples, and after a step mu is scaled to unit length; z is the sample's row at unit length. Uncertain and missing
    labels move nothing. A step's objective sees the prototypes as they were before it, and a step that is skipped moves
    none. A prototype without a sample yet is zero, and `founded` says so. With a refresh they begin as the mean of the
    labelled cohort (of its trusted samples, where there are any); with m = 1 they stay there: anchors.

    Labels that were mined are often wrong. From `clean_from` on, a label stays where its probability is at least
    `keep`, turns to the other where that has `relabel`, and is dropped for the step otherwise; the probability is that
    of softmax(z . mu / temperature) over absent and present. Labels of trusted samples, and those that are `sure`, are
    never changed. With `follow` a label is not judged anew at each step: of each sample a belief follows what the
    prototypes say of it, s <- f s + (1 - f) vote, from its label on (INS, after PiCO); targets are soft then, and a
    sample moves the prototype that is believed. How widely samples lie about a prototype is followed too: `density`.

    Args:
        labels: findings, names of label fields without ``label.``.
        reads: key whose rows are the features; ``frozen:image/embedding`` takes a teacher's.
        momentum: m, a sample.
        trusted: label or number field that is 1 for samples whose labels are right.
        sure: labels that are beyond doubt.
        clean_from: samples seen by the run from which labels are cleaned; None: never.
        keep: probability with which a label stays.
        relabel: probability with which the other label takes its place.
        temperature: of those probabilities.
        follow: f; None: labels stay, turn or are dropped. `keep` and `relabel` are not used with it.
        model: given by the builder; tells on which device to compute.

    Raises:
        ConfigError: if a finding is named twice, or none is; or if beliefs never begin (`follow` without `clean_from`).

    References:
        Yang et al. 2023 (CAPro); Qin et al. 2022 (FoPro); Qu et al. 2023 (INS); the moving average is PiCO's (Wang et
        al. 2022). Of each this is a part.

    Example:
        >>> prototypes = ClassPrototypes(labels=["effusion"], reads="image/embedding")
        >>> rows = torch.eye(2).numpy()
        >>> effusion = torch.tensor([1.0, 0.0]).numpy()
        >>> prototypes.refresh(FeatureTable(["a", "b"], {"image/embedding": rows, "label.effusion": effusion}))
        >>> prototypes.prototypes.tolist()
        [[[0.0, 1.0], [1.0, 0.0]]]
    """

    def __init__(
        self,
        *,
        labels: Sequence[str],
        reads: str = "image/embedding",
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.99,
        trusted: str | None = None,
        sure: Sure = "none",
        clean_from: Annotated[int, Field(ge=0)] | None = None,
        keep: Annotated[float, Field(ge=0, le=1)] = 0.5,
        relabel: Annotated[float, Field(ge=0, le=1)] = 0.6,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        follow: Annotated[float, Field(ge=0, lt=1)] | None = None,
        model: Annotated[nn.Module | None, FromModel("model")] = None,
    ) -> None:
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError("labels of state 'class_prototypes' names no finding, or one twice: name each once.")
        if follow is not None and clean_from is None:
            raise ConfigError("follow of state 'class_prototypes' needs clean_from: say from which sample on.")
        self.labels = tuple(labels)
        self.reads = reads
        self.momentum = momentum
        self.trusted = trusted
        self.sure: Sure = sure
        self.clean_from = clean_from
        self.keep = keep
        self.relabel = relabel
        self.temperature = temperature
        self._model = model
        self.prototypes = torch.zeros(len(labels), 2, 0)
        self.seen = torch.zeros(len(labels), 2, dtype=torch.int64)
        self.spread = torch.zeros(2, len(labels), 2)  # sums of weighted distances, and of their weights
        self.beliefs = None if follow is None else Beliefs(follow, len(labels))
        self._coming: _Coming | None = None

    def needs(self) -> frozenset[Key]:
        """The features, the labels, and the field of trust."""
        return keys(self.reads, *(f"label.{name}" for name in self.labels), *([self.trusted] if self.trusted else []))

    def refresh_needs(self) -> frozenset[Key]:
        """The same of the cohort."""
        return self.needs()

    @property
    def founded(self) -> Tensor:
        """Which prototypes have had a sample, bool (L, 2)."""
        return self.prototypes.any(dim=2)

    @property
    def density(self) -> Tensor:
        """Return the temperature of each prototype, (L, 2): d / log(n + 10), d the mean distance of its n samples.

        A prototype about which samples lie widely is compared softly (Li et al. 2021, PCL, eq. 12; FoPro). At least
        0.02, and 0.1 where there is no sample yet.
        """
        total, weight = self.spread
        mean = total / weight.clamp(min=1e-12)
        found = (mean / (self.seen.to(mean) + 10).log()).clamp(min=0.02)
        return torch.where(weight > 0, found, 0.1)

    # targets --------------------------------------------------------------------------------------------------------

    def targets(self, ctx: Context, rows: Tensor, key: str) -> Tensor:
        """Return the labels of a key's own rows, cleaned if it is time, (R, L): 1, 0, or NaN where there is none.

        With `follow` they are what is believed, between 0 and 1.

        Args:
            ctx: the step.
            rows: (R, D) unit rows in the prototypes' space.
            key: whose owners tell the samples.
        """
        labels = self._labels(ctx, rows, key)
        if not self._cleans(ctx):
            return labels
        if self.beliefs is not None:
            changed = self.beliefs.of(ctx.ids(key), labels)
        else:
            changed = clean_labels(labels, self._probability(rows), keep=self.keep, relabel=self.relabel)
        return torch.where(self._fixed(ctx, labels, key), labels, changed)

    def trusted_rows(self, ctx: Context, key: str) -> Tensor:
        """Return which own rows of a key are of trusted samples, bool (R,).

        Raises:
            ConfigError: if no field says so.
        """
        if self.trusted is None:
            raise ConfigError("state 'class_prototypes' has no field `trusted`: name it, such as number.expert.")
        return ctx.rows(self.trusted, key).one() == 1

    def _labels(self, ctx: Context, rows: Tensor, key: str) -> Tensor:
        labels = torch.stack([ctx.rows(f"label.{name}", key).one() for name in self.labels], dim=1).to(rows)
        return torch.where((labels == 0) | (labels == 1), labels, torch.nan)

    def _cleans(self, ctx: Context) -> bool:
        return self.clean_from is not None and ctx.samples_seen >= self.clean_from and self.prototypes.shape[2] > 0

    def _fixed(self, ctx: Context, labels: Tensor, key: str) -> Tensor:
        """Return which labels are beyond doubt, (R, L)."""
        fixed = torch.zeros_like(labels, dtype=torch.bool) | ~self.founded.all(dim=1).to(labels.device)
        if self.trusted is not None:
            fixed |= self.trusted_rows(ctx, key)[:, None]
        return fixed if self.sure == "none" else fixed | (labels == float(self.sure == "present"))

    def _probability(self, rows: Tensor) -> Tensor:
        return (self.scores(rows) / self.temperature).softmax(dim=2)[:, :, 1]

    def scores(self, rows: Tensor) -> Tensor:
        """Return cosines with every prototype, (R, L, 2): absent, present."""
        return torch.einsum("rd,lcd->rlc", rows, self.prototypes.to(rows))

    # passes and steps -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refresh(self, table: FeatureTable) -> None:
        """Begin as the means of the labelled cohort; of its trusted samples, where a finding has any."""
        rows = torch.from_numpy(table[self.reads])
        there = rows.isfinite().all(dim=1)
        rows = unit(torch.where(there[:, None], rows, 0.0)).double()
        labels = torch.stack([torch.from_numpy(table[f"label.{name}"]) for name in self.labels], dim=1)
        member = torch.stack([labels == 0, labels == 1], dim=2) & there[:, None, None]  # (N, L, 2)
        means, counts = self._means(rows, member)
        if self.trusted is not None:
            sound = torch.from_numpy(table[self.trusted]) == 1
            of_sound, sound_counts = self._means(rows, member & sound[:, None, None])
            means = torch.where((sound_counts > 0)[:, :, None], of_sound, means)
        self.prototypes, self.seen = unit(means).float(), counts
        device = self.prototypes.device
        far = torch.where(member, _distances(rows.float().to(device), self.prototypes).double().cpu(), 0.0)
        mean = collectives.total(far.sum(dim=0).to(device)) / counts.clamp(min=1)
        self.spread = torch.stack([mean, (counts > 0).double()]).float()

    def _means(self, rows: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        device = device_of(self._model)
        sums = collectives.total(torch.einsum("nd,nlc->lcd", rows, member.double()).to(device))
        counts = collectives.total(member.sum(dim=0).to(device))
        return sums / counts.clamp(min=1)[:, :, None], counts

    @torch.no_grad()
    def observe(self, ctx: Context) -> None:
        """Put a step's rows and labels aside."""
        rows = unit(ctx[self.reads].detach())
        labels, ids, votes = self.targets(ctx, rows, self.reads), None, None
        if self.beliefs is not None:
            if self._cleans(ctx):
                own = self._labels(ctx, rows, self.reads)
                vote = torch.where(own.isnan(), torch.nan, (self._probability(rows) > 0.5).to(own))
                vote = torch.where(self._fixed(ctx, own, self.reads), torch.nan, vote)
                ids = [each for part in collectives.gather_objects(ctx.ids(self.reads)) for each in part]
                votes = torch.stack([collectives.gather_rows(own), collectives.gather_rows(vote)])
            labels = torch.where(labels.isnan(), labels, (labels > 0.5).to(labels))
        self._coming = _Coming(collectives.gather_rows(rows), collectives.gather_rows(labels), ids, votes)

    @torch.no_grad()
    def after_step(self, model: object, samples_seen: int) -> None:
        """Move the prototypes by the rows observed in this step."""
        coming, self._coming = self._coming, None
        if coming is None or not len(coming.rows):
            return
        rows, labels = coming.rows, coming.labels
        if not self.prototypes.shape[2]:
            self.prototypes = self.prototypes.new_zeros(*self.prototypes.shape[:2], rows.shape[1])
        member = torch.stack([labels == 0, labels == 1], dim=2)
        self.prototypes = moved(self.prototypes.to(rows.device), rows, member, momentum=self.momentum)
        self.seen = self.seen.to(rows.device) + member.sum(dim=0)
        weight, remaining = _shares(member, self.momentum)
        far = torch.stack([(weight * _distances(rows, self.prototypes)).sum(dim=0), weight.sum(dim=0)])
        self.spread = (remaining * self.spread.to(rows.device) + far).float()
        if self.beliefs is not None and coming.ids is not None and coming.votes is not None:
            self.beliefs.follow(coming.ids, *coming.votes)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the prototypes and the samples that made them."""
        believed = {} if self.beliefs is None else self.beliefs.state_dict()
        return {"prototypes": self.prototypes.contiguous(), "seen": self.seen, "spread": self.spread, **believed}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            DataError: if they are of another number of findings.
        """
        if tensors["seen"].shape != self.seen.shape:
            raise DataError(
                f"The saved prototypes are of {len(tensors['seen'])} findings, not of {len(self.labels)}: resume with "
                "the configuration they were saved with."
            )
        if (self.beliefs is not None) != ("believed" in tensors):
            raise DataError(
                "The saved prototypes come with beliefs of samples and the configuration has none, or the other way "
                "round (follow): resume with the configuration they were saved with."
            )
        self.prototypes, self.seen = tensors["prototypes"].clone(), tensors["seen"].clone()
        self.spread = tensors["spread"].clone()
        if self.beliefs is not None:
            self.beliefs.load_state_dict(tensors)


def clean_labels(labels: Tensor, probability: Tensor, *, keep: float, relabel: float) -> Tensor:
    """Keep, turn or drop labels by the probability that the finding is present.

    Args:
        labels: 1, 0 or NaN.
        probability: of 1, of the same shape.
        keep: smallest probability of a label that stays.
        relabel: smallest probability of the other label that takes its place.

    Example:
        >>> clean_labels(torch.ones(3), torch.tensor([0.5, 0.45, 0.4]), keep=0.5, relabel=0.6).tolist()
        [1.0, nan, 0.0]
    """
    own = torch.where(labels == 1, probability, 1 - probability)
    turned = torch.where(1 - own >= relabel, 1 - labels, torch.nan)
    return torch.where(own >= keep, labels, turned)


def moved(prototypes: Tensor, rows: Tensor, member: Tensor, *, momentum: float) -> Tensor:
    """Move each prototype by its rows, one after the other, and scale it to unit length.

    The loop mu <- m mu + (1 - m) z_i over n rows is m^n mu + (1 - m) sum_i m^(n - i) z_i.

    Args:
        prototypes: (L, C, D).
        rows: (R, D) in their order.
        member: bool (R, L, C), which rows move which prototype.
        momentum: m.

    Example:
        >>> start, rows = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.0, 1.0]])
        >>> moved(start, rows, torch.ones(1, 1, 1, dtype=torch.bool), momentum=0.5).flatten().tolist()
        [0.7071067690849304, 0.7071067690849304]
    """
    weight, remaining = _shares(member, momentum)
    mixed = remaining[:, :, None] * prototypes.double() + torch.einsum("rlc,rd->lcd", weight, rows.double())
    return torch.where(member.any(dim=0)[:, :, None], unit(mixed).to(prototypes.dtype), prototypes)


def _shares(member: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """Return each row's share of a moving average after all rows, (R, L, C), and that of what was before, (L, C)."""
    member = member.double()
    later = member.flip(0).cumsum(0).flip(0) - member  # (R, L, C) members after each row
    return (1 - momentum) * momentum**later * member, momentum ** member.sum(dim=0)


def _distances(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Return (R, L, C) of unit rows (R, D) and unit prototypes (L, C, D)."""
    return (2 - 2 * torch.einsum("rd,lcd->rlc", rows, prototypes.to(rows))).clamp(min=0).sqrt()
