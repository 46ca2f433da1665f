"""What is believed of labels that may be wrong: those beyond doubt, the others cleaned at each step or followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.features.prototypes import clean_labels
from medvlp.state._beliefs import Beliefs, SureLabels
from medvlp.state._moving_prototypes import MovingPrototypes
from medvlp.state._samples import row_names

CleanBy = Literal["rule", "relation", "either"]
_SHARE = 0.5  # alpha


class _Relation(Protocol):
    def scores(self, rows: Tensor, prototypes: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Cleaning:
    """From some sample of the run on, the labels that objectives learn from and those that move prototypes.

    A label stays if its probability is at least `keep` and 1/2. Else it turns to the other if that has `relabel`, stays
    if its own is at least `keep`, and is dropped for the step otherwise. The probability is that of softmax(z . mu /
    temperature) over absent and present, mixed with a classifier's where `predictions` names one, alpha sigmoid(logit)
    + (1 - alpha) softmax with alpha = 1/2. FoPro's relation network may take the place of that rule: a label stays
    where sigmoid(relation(z, mu of the label)) is at least `related`.

    With beliefs a label is not judged anew at each step: of each sample a belief follows what the prototypes say of it;
    targets are soft then, and a sample moves the prototype that is believed, or the one that the classifier predicts.

    Attributes:
        begin: samples seen by the run from which labels are cleaned; None: never.
        sure: which labels are beyond doubt; so are those of a finding that lacks a prototype.
        beliefs: None: labels stay, turn or are dropped.
        keep: probability with which a label stays.
        relabel: probability with which the other label takes its place.
        predictions: key of a classifier's logits (R, L) on the same rows.
        relation: name of the relation network's head.
        clean_by: the rule, the relation, or either of the two.
        related: smallest value of the relation.

    Raises:
        ConfigError: if there is no relation to clean by.
    """

    begin: int | None
    sure: SureLabels
    beliefs: Beliefs | None
    keep: float
    relabel: float
    predictions: str | None
    relation: str | None
    clean_by: CleanBy
    related: float

    def __post_init__(self) -> None:
        if self.clean_by != "rule" and self.relation is None:
            raise ConfigError(
                f"clean_by of state 'class_prototypes' is {self.clean_by!r}: name the head of the relation."
            )

    def targets(self, ctx: Context, rows: Tensor, key: str, prototypes: MovingPrototypes) -> Tensor:
        """Return what is believed of a key's own unit rows (R, D): (R, L), 1, 0, between, or NaN for none."""
        labels = prototypes.given(ctx, rows, key)
        if not self._has_begun(ctx, prototypes):
            return labels
        if self.beliefs is not None:
            changed = self.beliefs.of(row_names(ctx, key), labels)
        else:
            changed = self._cleaned(ctx, rows, labels, prototypes)
        return torch.where(self._fixed(ctx, labels, key, prototypes), labels, changed)

    def observed(self, ctx: Context, rows: Tensor, key: str, prototypes: MovingPrototypes) -> Tensor:
        """Return by which labels own unit rows (R, D) move prototypes, (R, L): 1, 0 or NaN; put votes aside."""
        labels = self.targets(ctx, rows, key, prototypes)
        if self.beliefs is None:
            return labels
        if self._has_begun(ctx, prototypes):
            given = prototypes.given(ctx, rows, key)
            fixed = given.isnan() | self._fixed(ctx, given, key, prototypes)
            vote = (prototypes.probability(rows) > 0.5).to(given)
            self.beliefs.hold(row_names(ctx, key), given, torch.where(fixed, torch.nan, vote))
            if self.predictions is not None:
                labels = torch.where(fixed, given, (self._logits(ctx, given) > 0).to(given))
        return torch.where(labels.isnan(), labels, (labels > 0.5).to(labels))

    def _has_begun(self, ctx: Context, prototypes: MovingPrototypes) -> bool:
        return self.begin is not None and ctx.samples_seen >= self.begin and prototypes.prototypes.shape[2] > 0

    def _fixed(self, ctx: Context, labels: Tensor, key: str, prototypes: MovingPrototypes) -> Tensor:
        """Return which labels are not changed, bool (R, L)."""
        return self.sure.of(ctx, labels, key) | ~prototypes.founded.all(dim=1).to(labels.device)

    def _cleaned(self, ctx: Context, rows: Tensor, labels: Tensor, prototypes: MovingPrototypes) -> Tensor:
        """Return labels as they stay, turn or are dropped, (R, L): 1, 0 or NaN."""
        probability = prototypes.probability(rows)
        if self.predictions is not None:
            probability = _SHARE * self._logits(ctx, labels).sigmoid() + (1 - _SHARE) * probability
        changed = clean_labels(labels, probability, keep=self.keep, relabel=self.relabel)
        if self.clean_by == "rule":
            return changed
        relation = cast("_Relation", ctx.heads[str(self.relation)])
        seen = relation.scores(rows, prototypes.prototypes.to(rows)).detach().sigmoid()
        stays = torch.where(labels == 1, seen[:, :, 1], seen[:, :, 0]) >= self.related
        return torch.where(stays, labels, torch.nan if self.clean_by == "relation" else changed)

    def _logits(self, ctx: Context, labels: Tensor) -> Tensor:
        """Return the classifier's logits of the rows of labels (R, L)."""
        logits = ctx[str(self.predictions)].detach()
        if logits.shape != labels.shape:
            raise ConfigError(
                f"predictions of state 'class_prototypes' is {self.predictions!r}: name logits of the rows that it is "
                "asked about, one for each of its labels."
            )
        return logits.to(labels)
