"""Between a gradient and the optimiser: a step that is not finite, or a spike, is skipped and written down."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from medvlp.core.errors import UserError

logger = logging.getLogger(__name__)


class GuardOptions(BaseModel):
    """When a step is skipped.

    Attributes:
        spike: skip when the gradient norm exceeds this many times the median of the last `window` steps; null: never.
        window: steps remembered, of those that had a gradient.
        most: skipped steps in a row that stop the run if they were not finite; as many spikes in a row are no spikes
            but another stretch of the loss, and the median is taken anew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spike: float | None = Field(default=100.0, gt=1)
    window: int = Field(default=100, ge=10)
    most: int = Field(default=10, ge=1)


@dataclass
class Guard:
    """Decides about each step; its memory is part of the checkpoint.

    Example:
        >>> guard = Guard(GuardOptions(most=3))
        >>> guard.refuses(loss=1.0, norm=1.0), guard.refuses(loss=float("nan"), norm=1.0), guard.skipped
        (None, 'the loss is not finite', 1)
    """

    options: GuardOptions
    norms: deque[float] = field(default_factory=deque)
    skipped: int = 0
    in_a_row: int = 0
    silent: dict[str, bool] = field(default_factory=dict)  # term -> whether it was 0 in every step

    def refuses(self, *, loss: float, norm: float, terms: Mapping[str, float] = {}) -> str | None:
        """Return why the step must be skipped, naming the terms that are not finite, or None."""
        reason = self._reason(loss, norm, terms)
        self.silent |= {name: self.silent.get(name, True) and value == 0 for name, value in terms.items()}
        if reason is None:
            self.in_a_row = 0
            if norm:  # a batch without a box, or a pair, that teaches nothing does not tell how long gradients are
                self.norms.append(norm)
            while len(self.norms) > self.options.window:
                self.norms.popleft()
            return None
        if math.isfinite(norm) and math.isfinite(loss) and self.in_a_row + 1 >= self.options.most:
            self.norms, self.in_a_row = deque([norm]), 0
            return None
        self.skipped += 1
        self.in_a_row += 1
        return reason

    def stop(self, reason: str) -> None:
        """Stop the run (UserError) after too many skipped steps in a row."""
        if self.in_a_row >= self.options.most:
            raise UserError(
                f"{self.in_a_row} training steps in a row were skipped because {reason}: lower optimiser.rate, or look "
                "at the samples listed in skipped.jsonl."
            )

    def finish(self) -> None:
        """Refuse a run of which no step had a gradient (UserError): its model would be released as if it had learnt.

        Of one that learnt, warn of terms that were 0 in every step.
        """
        if not self.norms and not self.skipped:
            raise UserError(
                "No step of the run had a gradient, so nothing is released: see that training.batch is above 1, that "
                "records have what the objectives read (texts, labels, boxes), and that not all weights are 0."
            )
        if idle := ", ".join(name for name, always in self.silent.items() if always):
            logger.warning(
                f"0 in every step, so that nothing was learnt from it: {idle}. Look whether records have what it reads."
            )

    def _reason(self, loss: float, norm: float, terms: Mapping[str, float]) -> str | None:
        if not math.isfinite(loss):
            odd = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
            return f"the loss is not finite{odd and f' ({odd})'}"
        if not math.isfinite(norm):
            return "the gradient is not finite"
        if self.options.spike is not None and len(self.norms) >= 10:
            median = sorted(self.norms)[len(self.norms) // 2]
            if norm > self.options.spike * median:
                return f"the gradient norm {norm:.3g} is over {self.options.spike:g} times the median {median:.3g}"
        return None

    def state(self) -> dict[str, object]:
        """Plain data for the checkpoint."""
        return {"norms": list(self.norms), "skipped": self.skipped, "in_a_row": self.in_a_row, "silent": self.silent}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the checkpoint's data back."""
        self.norms = deque(state["norms"])
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]
        self.silent = dict(state.get("silent", {}))  # checkpoints of before have none
