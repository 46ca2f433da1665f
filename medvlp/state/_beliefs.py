"""What is believed of the labels of each sample: those beyond doubt, and a moving average of what prototypes said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.schedules import Number, ends_of, value_at
from medvlp.core.table import FeatureTable
from medvlp.state._anchors import Anchored
from medvlp.state._samples import packed, rows_of, unpacked

Sure = Literal["none", "absent", "present"]


class Beliefs:
    """s <- phi s + (1 - phi) vote, of each sample and finding, as PiCO's (Wang et al. 2022); s begins as the label.

    Further rows of one sample, such as crops, have beliefs of their own, by their order; see `row_names`.

    Args:
        momentum: phi, or a ramp of it: 0.95 to 0.8 in INS.
        findings: L.

    Raises:
        ConfigError: if phi is not in [0, 1).

    Example:
        >>> beliefs = Beliefs(0.5, 1)
        >>> beliefs.follow(["a", "a"], torch.ones(2, 1), torch.zeros(2, 1))
        >>> beliefs.of(["a", "b"], torch.ones(2, 1)).flatten().tolist()
        [0.25, 1.0]
    """

    def __init__(self, momentum: Number, findings: int) -> None:
        if not all(0 <= end < 1 for end in ends_of(momentum)):
            raise ConfigError(f"follow of state 'class_prototypes' is {momentum}: use numbers from 0 to below 1.")
        self.momentum = momentum
        self._places: dict[str, int] = {}
        self._values = torch.zeros(0, findings)
        self._coming: tuple[list[str], Tensor, Tensor] | None = None

    def of(self, ids: Sequence[str], labels: Tensor) -> Tensor:
        """Return (R, L): what is believed, the label itself where nothing is yet; NaN stays NaN."""
        found = rows_of(self._values, self._places, ids, missing=torch.nan).to(labels)
        return torch.where(found.isnan() | labels.isnan(), labels, found)

    def hold(self, ids: Sequence[str], labels: Tensor, votes: Tensor) -> None:
        """Put a step's own rows aside, see `follow`."""
        self._coming = collectives.gather_list(ids), collectives.gather_rows(labels), collectives.gather_rows(votes)

    def after_step(self, samples_seen: int) -> None:
        """Follow the rows of all processes that were put aside."""
        coming, self._coming = self._coming, None
        if coming is not None:
            self.follow(*coming, samples_seen=samples_seen)

    def follow(self, ids: Sequence[str], labels: Tensor, votes: Tensor, *, samples_seen: int = 0) -> None:
        """Take votes in, one row after the other.

        Args:
            ids: of the rows' samples.
            labels: (R, L), where a belief begins.
            votes: (R, L), 1 or 0; NaN for none.
            samples_seen: by the run, where phi is a ramp.
        """
        gain = 1 - value_at(self.momentum, samples_seen)
        labels, votes = labels.float().cpu(), votes.float().cpu()
        for each, label, vote in zip(ids, labels, votes, strict=True):
            if bool(vote.isfinite().any()):
                row = self._place(each)
                old = torch.where(self._values[row].isnan(), label, self._values[row])
                self._values[row] = torch.where(vote.isnan(), old, old.lerp(vote, gain))

    def _place(self, each: str) -> int:
        row = self._places.setdefault(each, len(self._places))
        if row == len(self._values):
            more = torch.full((max(64, row), self._values.shape[1]), torch.nan)
            self._values = torch.cat([self._values, more])
        return row

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sample ids and their estimated label probabilities."""
        return {"believed": self._values[: len(self._places)].clone(), "believed_ids": packed(self._places)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._coming = None
        self._places = unpacked(tensors["believed_ids"])
        self._values = tensors["believed"].cpu().clone()


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
