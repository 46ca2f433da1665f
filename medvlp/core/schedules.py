"""Numbers that change over a run, as functions of samples seen: never of steps or epochs.

A horizon in samples means the same run at every batch size, number of processes and accumulation.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Ramp(BaseModel):
    """From `start` to `end` between two sample counts, constant outside.

    Attributes:
        start: value up to `begin`.
        end: value from `until` on.
        begin: samples seen at which it begins to change.
        until: samples seen at which it has arrived.
        shape: ``linear`` or ``cosine`` (half a period).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float
    end: float
    begin: int = Field(default=0, ge=0)
    until: int = Field(gt=0)
    shape: Literal["linear", "cosine"] = "linear"

    @model_validator(mode="after")
    def _ends_behind_its_begin(self) -> Ramp:
        if self.until < self.begin:
            raise ValueError(f"a ramp that begins at {self.begin} samples cannot have arrived at {self.until}")
        return self


Number = float | Ramp


def value_at(number: Number, samples: int) -> float:
    """Return the number's value after `samples` samples.

    Example:
        >>> value_at(Ramp(start=0.0, end=1.0, until=100), 25), value_at(0.5, 25)
        (0.25, 0.5)
    """
    if not isinstance(number, Ramp):
        return float(number)
    done = min(max((samples - number.begin) / max(number.until - number.begin, 1), 0.0), 1.0)
    if number.shape == "cosine":
        done = 0.5 - 0.5 * math.cos(math.pi * done)
    return number.start + (number.end - number.start) * done


def ends_of(number: Number) -> tuple[float, ...]:
    """Return the values between which a number moves: both ends of a ramp, else itself.

    Example:
        >>> ends_of(Ramp(start=0.0, end=1.0, until=100)), ends_of(0.5)
        ((0.0, 1.0), (0.5,))
    """
    return (number.start, number.end) if isinstance(number, Ramp) else (float(number),)


def mean_between(number: Number, first: int, last: int) -> float:
    """Return the number's exact mean over the samples from `first` to `last`, the same however a run is cut in steps.

    Example:
        >>> mean_between(Ramp(start=0.0, end=1.0, until=100), 50, 150)
        0.875
    """
    if not isinstance(number, Ramp) or first == last:
        return value_at(number, first)
    done = (_done_until(number, last) - _done_until(number, first)) / (last - first)
    return number.start + (number.end - number.start) * done


def _done_until(ramp: Ramp, samples: int) -> float:
    """Return the integral over samples of the share of the way that a ramp has gone."""
    length = max(ramp.until - ramp.begin, 1)
    x = min(max((samples - ramp.begin) / length, 0.0), 1.0)
    area = x / 2 - math.sin(math.pi * x) / (2 * math.pi) if ramp.shape == "cosine" else x * x / 2
    return length * area + max(samples - ramp.begin - length, 0)
