"""What is believed of the labels of each sample: a moving average of what prototypes said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.schedules import Number, ends_of, value_at
from medvlp.state._samples import packed, rows_of, unpacked


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


def row_names(ctx: Context, key: str) -> list[str]:
    """Return names of a key's own rows: of the first of each sample its id, ``ID#1`` and so on of its further ones."""
    seen: Counter[int] = Counter()
    names = []
    for owner, each in zip(ctx.owner(key).tolist(), ctx.ids(key), strict=True):
        names.append(f"{each}#{seen[owner]}" if seen[owner] else each)
        seen[owner] += 1
    return names
