"""By what a label that may be wrong stays: a probability, or a network that sees row and prototype together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.features.clean_labels import clean_labels
from medvlp.state._moving_prototypes import MovingPrototypes

CleanBy = Literal["rule", "relation", "either"]
_SHARE = 0.5  # alpha


class _Relation(Protocol):
    def scores(self, rows: Tensor, prototypes: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LabelRule:
    """A label stays if its probability is at least `keep`, turns to the other if that has `relabel`, and else is dropped.

    The probability is that of softmax(z . mu / temperature) over absent and present, mixed with a classifier's where
    `predictions` names one, alpha sigmoid(logit) + (1 - alpha) softmax, alpha = 1/2. FoPro's relation network may take
    the place of that rule: a label stays where sigmoid(relation(z, mu of the label)) is at least `related`.

    Attributes:
        keep: probability with which a label stays.
        relabel: probability with which the other label takes its place.
        predictions: key of a classifier's logits (R, L) on the same rows.
        relation: name of the relation network's head.
        clean_by: the rule, the relation, or either of the two.
        related: smallest value of the relation.

    Raises:
        ConfigError: if there is no relation to clean by.
    """

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

    def logits(self, ctx: Context, rows: Tensor, findings: int) -> Tensor:
        """Return the classifier's logits of own rows, (R, L).

        Raises:
            ConfigError: without `predictions`, or if they are of other rows.
        """
        logits = None if self.predictions is None else ctx[self.predictions].detach()
        if logits is None or logits.shape != (len(rows), findings):
            raise ConfigError(
                f"predictions of state 'class_prototypes' is {self.predictions!r}: name logits of the rows that it is "
                "asked about, one for each of its labels."
            )
        return logits.to(rows)

    def cleaned(self, ctx: Context, rows: Tensor, labels: Tensor, prototypes: MovingPrototypes) -> Tensor:
        """Return labels (R, L) of own unit rows (R, D) as they stay, turn or are dropped: 1, 0 or NaN."""
        probability = prototypes.probability(rows)
        if self.predictions is not None:
            of_classifier = self.logits(ctx, rows, labels.shape[1]).sigmoid()
            probability = _SHARE * of_classifier + (1 - _SHARE) * probability
        changed = clean_labels(labels, probability, keep=self.keep, relabel=self.relabel)
        if self.clean_by == "rule":
            return changed
        relation = cast("_Relation", ctx.heads[str(self.relation)])
        seen = relation.scores(rows, prototypes.prototypes.to(rows)).detach().sigmoid()
        stays = torch.where(labels == 1, seen[:, :, 1], seen[:, :, 0]) >= self.related
        return torch.where(stays, labels, torch.nan if self.clean_by == "relation" else changed)
