"""Labels beyond doubt: of samples that somebody checked, of anchors, and those of one value that is never wrong."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.table import FeatureTable
from medvlp.state._anchors import Anchored

Sure = Literal["none", "absent", "present"]


class SureLabels:
    """Which labels are never changed.

    Args:
        trusted: label or number field that is 1 for samples whose labels are right.
        value: labels that are right by their value: those of a negative bag, for instance, are absent for each of its
            instances.
        anchored: samples that were chosen by their reports, each for some findings.
    """

    def __init__(self, trusted: str | None, value: Sure, anchored: Anchored | None) -> None:
        self.trusted = trusted
        self.value: Sure = value
        self.anchored = anchored

    def needs(self) -> frozenset[Key]:
        """The field of trust."""
        return keys(*([self.trusted] if self.trusted else []))

    def refresh_needs(self) -> frozenset[Key]:
        """The same of a cohort, and the reports that choose anchors."""
        return self.needs() | keys(*([self.anchored.options.texts] if self.anchored else []))

    def trusted_rows(self, ctx: Context, key: str) -> Tensor:
        """Return which own rows of a key are of trusted samples, bool (R,).

        Raises:
            ConfigError: if no field says so.
        """
        if self.trusted is None:
            raise ConfigError("state 'class_prototypes' has no field `trusted`: name it, such as number.expert.")
        return ctx.rows(self.trusted, key).one() == 1

    def of(self, ctx: Context, labels: Tensor, key: str) -> Tensor:
        """Return which labels (R, L) of a key's own rows are beyond doubt, bool (R, L)."""
        sure = torch.zeros_like(labels, dtype=torch.bool)
        if self.trusted is not None:
            sure |= self.trusted_rows(ctx, key)[:, None]
        if self.anchored is not None:
            sure |= self.anchored.of(ctx.ids(key)).to(sure.device)
        return sure if self.value == "none" else sure | (labels == float(self.value == "present"))

    def of_cohort(self, table: FeatureTable, rows: Tensor, labels: Tensor, model: nn.Module | None) -> Tensor | None:
        """Return for which findings own samples are trusted, bool (N, 1), or anchors, (N, L), see `Anchored.choose`.

        None where there is neither a field of trust nor a choice of anchors.
        """
        if self.trusted is not None:
            return (torch.from_numpy(table[self.trusted]) == 1)[:, None]
        return None if self.anchored is None else self.anchored.choose(table, rows, labels, model)
