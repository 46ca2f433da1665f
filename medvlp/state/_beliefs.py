"""What is believed of the labels of each sample: a moving average of what prototypes said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core.schedules import Number, value_at
from medvlp.state._shared import packed, unpacked


class Beliefs:
    """s <- phi s + (1 - phi) vote, of each sample and finding; s begins as the label (PiCO, Wang et al. 2022).

    Args:
        momentum: phi, or a ramp of it: 0.95 to 0.8 in INS.
        findings: L.

    Example:
        >>> beliefs = Beliefs(0.5, 1)
        >>> beliefs.follow(["a", "a"], torch.ones(2, 1), torch.zeros(2, 1))
        >>> beliefs.of(["a", "b"], torch.ones(2, 1)).flatten().tolist()
        [0.25, 1.0]
    """

    def __init__(self, momentum: Number, findings: int) -> None:
        self.momentum = momentum
        self._row: dict[str, int] = {}
        self._values = torch.zeros(0, findings)

    def of(self, ids: Sequence[str], labels: Tensor) -> Tensor:
        """Return (R, L): what is believed, the label itself where nothing is yet; NaN stays NaN."""
        rows = torch.tensor([self._row.get(each, -1) for each in ids], dtype=torch.int64)
        found = torch.full((len(ids), labels.shape[1]), torch.nan)
        found[rows >= 0] = self._values[rows[rows >= 0]]
        found = found.to(labels)
        return torch.where(found.isnan() | labels.isnan(), labels, found)

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
        row = self._row.setdefault(each, len(self._row))
        if row == len(self._values):
            more = torch.full((max(64, row), self._values.shape[1]), torch.nan)
            self._values = torch.cat([self._values, more])
        return row

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sample ids and their estimated label probabilities."""
        return {"believed": self._values[: len(self._row)].clone(), "believed_ids": packed(self._row)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._row = unpacked(tensors["believed_ids"])
        self._values = tensors["believed"].cpu().clone()
