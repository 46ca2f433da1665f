"""What is believed of labels that may be wrong: those beyond doubt, the others cleaned by a rule or followed."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.state._beliefs import Beliefs, row_names
from medvlp.state._label_rule import LabelRule
from medvlp.state._moving_prototypes import MovingPrototypes
from medvlp.state._sure_labels import SureLabels


class Cleaning:
    """From some sample of the run on, the labels that objectives learn from and those that move prototypes.

    With beliefs a label is not judged anew at each step: of each sample a belief follows what the prototypes say of it;
    targets are soft then, and a sample moves the prototype that is believed, or the one that the classifier predicts.

    Args:
        begin: samples seen by the run from which labels are cleaned; None: never.
        sure: which labels are beyond doubt; so are those of a finding that has no two prototypes yet.
        rule: what becomes of the others at each step.
        beliefs: what becomes of them over the steps, instead of the rule.
    """

    def __init__(self, begin: int | None, sure: SureLabels, rule: LabelRule, beliefs: Beliefs | None) -> None:
        self.begin = begin
        self.sure = sure
        self.rule = rule
        self.beliefs = beliefs

    def targets(self, ctx: Context, rows: Tensor, key: str, prototypes: MovingPrototypes) -> Tensor:
        """Return what is believed of a key's own unit rows (R, D): (R, L), 1, 0, between, or NaN for none."""
        labels = prototypes.given(ctx, rows, key)
        if not self._has_begun(ctx, prototypes):
            return labels
        if self.beliefs is not None:
            changed = self.beliefs.of(row_names(ctx, key), labels)
        else:
            changed = self.rule.cleaned(ctx, rows, labels, prototypes)
        return torch.where(self._fixed(ctx, labels, key, prototypes), labels, changed)

    def observed(self, ctx: Context, rows: Tensor, key: str, prototypes: MovingPrototypes) -> Tensor:
        """Return by which labels own unit rows (R, D) move prototypes, (R, L): 1, 0 or NaN; put votes aside."""
        labels = self.targets(ctx, rows, key, prototypes)
        if self.beliefs is None:
            return labels
        if self._has_begun(ctx, prototypes):
            given = prototypes.given(ctx, rows, key)
            fixed = self._fixed(ctx, given, key, prototypes)
            vote = (prototypes.probability(rows) > 0.5).to(given)
            self.beliefs.hold(row_names(ctx, key), given, torch.where(given.isnan() | fixed, torch.nan, vote))
            if self.rule.predictions is not None:
                predicted = (self.rule.logits(ctx, rows, given.shape[1]) > 0).to(given)
                labels = torch.where(given.isnan() | fixed, given, predicted)
        return torch.where(labels.isnan(), labels, (labels > 0.5).to(labels))

    def _has_begun(self, ctx: Context, prototypes: MovingPrototypes) -> bool:
        return self.begin is not None and ctx.samples_seen >= self.begin and prototypes.prototypes.shape[2] > 0

    def _fixed(self, ctx: Context, labels: Tensor, key: str, prototypes: MovingPrototypes) -> Tensor:
        """Return which labels are not changed, bool (R, L)."""
        return self.sure.of(ctx, labels, key) | ~prototypes.founded.all(dim=1).to(labels.device)
