"""Prototypes of findings: where samples with and without each finding lie, followed by a moving average."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, cast

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
from medvlp.core.schedules import Number, Ramp
from medvlp.core.table import FeatureTable
from medvlp.state._anchors import Anchored, Anchors
from medvlp.state._beliefs import Beliefs
from medvlp.state._moving import clean_labels, distances, moved, shares
from medvlp.state._shared import device_of

__all__ = ["ClassPrototypes", "Sure"]

# Which labels are beyond doubt: those of a negative bag, for instance, are absent for each of its instances.
Sure = Literal["none", "absent", "present"]
# What lets a label stay: its probability, the relation that a network sees, or either of the two.
CleanBy = Literal["rule", "relation", "either"]


class _Relation(Protocol):
    def scores(self, rows: Tensor, prototypes: Tensor) -> Tensor: ...


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
    of softmax(z . mu / temperature) over absent and present, mixed with a classifier's where `predictions` names one,
    alpha sigmoid(logit) + (1 - alpha) softmax. Labels of trusted samples, of anchors, and those that are `sure`, are
    never changed. FoPro's relation network may take the place of that rule: a label stays where sigmoid(relation(z,
    mu of the label)) is at least `related`.

    With `follow` a label is not judged anew at each step: of each sample a belief follows what the prototypes say of
    it, s <- f s + (1 - f) vote, from its label on (INS, after PiCO); targets are soft then, and a sample moves the
    prototype that is believed, or the one that the classifier predicts. Rows of one sample have beliefs of their own,
    by their order. How widely samples lie about a prototype is followed too: `density`.

    Args:
        labels: findings, names of label fields without ``label.``.
        reads: key whose rows are the features; ``frozen:image/embedding`` takes a teacher's.
        momentum: m, a sample.
        trusted: label or number field that is 1 for samples whose labels are right.
        sure: labels that are beyond doubt.
        clean_from: samples seen by the run from which labels are cleaned; None: never.
        keep: probability with which a label stays.
        relabel: probability with which the other label takes its place.
        temperature: of those probabilities; ``density``: each prototype's own.
        follow: f, or a ramp of it; None: labels stay, turn or are dropped. `keep` and `relabel` are not used with it.
        predictions: key of a classifier's logits (R, L) on the same rows, such as ``image/findings``.
        share: alpha.
        relation: head ``relation`` that an objective trains, by its name.
        clean_by: by what a label stays: the rule above, the relation, or either.
        related: smallest value of the relation.
        anchors: which samples a refresh begins with, by their reports, see `Anchors`; instead of trusted ones.
        model: given by the builder; tells on which device to compute.

    Raises:
        ConfigError: if a finding is named twice, or none is; if beliefs never begin (`follow` without `clean_from`) or
            f is not in [0, 1); or if there is no relation to clean by.

    References:
        Yang et al. 2023 (CAPro); Qin et al. 2022 (FoPro); Qu et al. 2023 (INS); the moving average is PiCO's (Wang et
        al. 2022). Of each this is the part that lives across steps: `medvlp.objectives.capro`, `fopro` and `ins` are
        the rest.

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
        temperature: Annotated[float, Field(gt=0)] | Literal["density"] = 0.1,
        follow: Number | None = None,
        predictions: str | None = None,
        share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        relation: str | None = None,
        clean_by: CleanBy = "rule",
        related: Annotated[float, Field(ge=0, le=1)] = 0.6,
        anchors: Anchors | None = None,
        model: Annotated[nn.Module | None, FromModel("model")] = None,
    ) -> None:
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError("labels of state 'class_prototypes' names no finding, or one twice: name each once.")
        if follow is not None and clean_from is None:
            raise ConfigError("follow of state 'class_prototypes' needs clean_from: say from which sample on.")
        ends = (follow.start, follow.end) if isinstance(follow, Ramp) else (() if follow is None else (follow,))
        if not all(0 <= end < 1 for end in ends):
            raise ConfigError(f"follow of state 'class_prototypes' is {follow}: use numbers from 0 to below 1.")
        if clean_by != "rule" and relation is None:
            raise ConfigError(f"clean_by of state 'class_prototypes' is {clean_by!r}: name the head of the relation.")
        self.labels = tuple(labels)
        self.reads = reads
        self.momentum = momentum
        self.trusted = trusted
        self.sure: Sure = sure
        self.clean_from = clean_from
        self.keep = keep
        self.relabel = relabel
        self.temperature = temperature
        self.predictions = predictions
        self.share = share
        self.relation = relation
        self.clean_by: CleanBy = clean_by
        self.related = related
        self.anchored = None if anchors is None else Anchored(anchors, self.labels)
        self._model = model
        self.prototypes = torch.zeros(len(labels), 2, 0)
        self.seen = torch.zeros(len(labels), 2, dtype=torch.int64)
        self.spread = torch.zeros(2, len(labels), 2)  # sums of weighted distances, and of their weights
        self.beliefs = None if follow is None else Beliefs(follow, len(labels))
        self._coming: _Coming | None = None

    def needs(self) -> frozenset[Key]:
        """The features, the labels, and the field of trust."""
        named = keys(self.reads, *(f"label.{name}" for name in self.labels))
        return named | keys(*(key for key in (self.trusted, self.predictions) if key))

    def refresh_needs(self) -> frozenset[Key]:
        """The same of the cohort, and the reports that choose anchors."""
        texts = [] if self.anchored is None else [self.anchored.options.texts]
        return (self.needs() - keys(*([self.predictions] if self.predictions else []))) | keys(*texts)

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
            changed = self.beliefs.of(_row_names(ctx, key), labels)
        else:
            changed = clean_labels(labels, self._probability(ctx, rows), keep=self.keep, relabel=self.relabel)
            if self.clean_by != "rule":
                stays = self._related(ctx, rows, labels) >= self.related
                changed = torch.where(stays, labels, torch.nan if self.clean_by == "relation" else changed)
        return torch.where(self._fixed(ctx, labels, key), labels, changed)

    def trusted_rows(self, ctx: Context, key: str) -> Tensor:
        """Return which own rows of a key are of trusted samples, bool (R,).

        Raises:
            ConfigError: if no field says so.
        """
        if self.trusted is None:
            raise ConfigError("state 'class_prototypes' has no field `trusted`: name it, such as number.expert.")
        return ctx.rows(self.trusted, key).one() == 1

    def predicted(self, ctx: Context, rows: Tensor, key: str) -> Tensor:
        """Return which label the classifier gives each own row, (R, L): a label beyond doubt stays, NaN stays NaN.

        Raises:
            ConfigError: without `predictions`, or if they are of other rows.
        """
        labels = self._labels(ctx, rows, key)
        chosen = torch.where(labels.isnan(), torch.nan, (self._logits(ctx, rows) > 0).to(labels))
        return torch.where(self._fixed(ctx, labels, key), labels, chosen)

    def _logits(self, ctx: Context, rows: Tensor) -> Tensor:
        logits = None if self.predictions is None else ctx[self.predictions].detach()
        if logits is None or logits.shape != (len(rows), len(self.labels)):
            raise ConfigError(
                f"predictions of state 'class_prototypes' is {self.predictions!r}: name logits of the rows that it is "
                "asked about, one for each of its labels."
            )
        return logits.to(rows)

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
        if self.anchored is not None:
            fixed |= self.anchored.of(ctx.ids(key)).to(fixed.device)
        return fixed if self.sure == "none" else fixed | (labels == float(self.sure == "present"))

    def probability(self, rows: Tensor) -> Tensor:
        """Return what the prototypes alone say of unit rows (R, D): the probability of each finding, (R, L)."""
        temperature = self.density.to(rows) if self.temperature == "density" else self.temperature
        return (self.scores(rows) / temperature).softmax(dim=2)[:, :, 1]

    def _probability(self, ctx: Context, rows: Tensor) -> Tensor:
        said = self.probability(rows)
        if self.predictions is None:
            return said
        return self.share * self._logits(ctx, rows).sigmoid() + (1 - self.share) * said

    def _related(self, ctx: Context, rows: Tensor, labels: Tensor) -> Tensor:
        """Return how near the relation network sees each row to the prototype of its label, (R, L)."""
        seen = (
            cast("_Relation", ctx.heads[str(self.relation)]).scores(rows, self.prototypes.to(rows)).detach().sigmoid()
        )
        return torch.where(labels == 1, seen[:, :, 1], seen[:, :, 0])

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
            sound = (torch.from_numpy(table[self.trusted]) == 1)[:, None]
        elif self.anchored is not None:
            sound = self.anchored.choose(table, rows, labels, self._model)
        else:
            sound = None
        if sound is not None:
            of_sound, sound_counts = self._means(rows, member & sound[:, :, None])
            means = torch.where((sound_counts > 0)[:, :, None], of_sound, means)
        self.prototypes, self.seen = unit(means).float(), counts
        device = self.prototypes.device
        far = torch.where(member, distances(rows.to(device), self.prototypes).cpu(), 0.0)
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
                vote = torch.where(own.isnan(), torch.nan, (self.probability(rows) > 0.5).to(own))
                vote = torch.where(self._fixed(ctx, own, self.reads), torch.nan, vote)
                named = collectives.gather_objects(_row_names(ctx, self.reads))
                ids = [each for part in named for each in part]
                if self.predictions is not None:
                    labels = self.predicted(ctx, rows, self.reads)
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
        weight, remaining = shares(member, self.momentum)
        far = torch.stack([(weight * distances(rows, self.prototypes)).sum(dim=0), weight.sum(dim=0)])
        self.spread = (remaining * self.spread.to(rows.device) + far).float()
        if self.beliefs is not None and coming.ids is not None and coming.votes is not None:
            self.beliefs.follow(coming.ids, *coming.votes, samples_seen=samples_seen)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the prototypes and the samples that made them."""
        more = {} if self.beliefs is None else self.beliefs.state_dict()
        more |= {} if self.anchored is None else self.anchored.state_dict()
        return {"prototypes": self.prototypes.contiguous(), "seen": self.seen, "spread": self.spread, **more}

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
        if self.anchored is not None:
            self.anchored.load_state_dict(tensors)


def _row_names(ctx: Context, key: str) -> list[str]:
    """Return the sample's id for the first row of each sample, and ``ID#1`` and so on for its further ones."""
    seen: Counter[int] = Counter()
    names = []
    for owner, each in zip(ctx.owner(key).tolist(), ctx.ids(key), strict=True):
        names.append(f"{each}#{seen[owner]}" if seen[owner] else each)
        seen[owner] += 1
    return names
