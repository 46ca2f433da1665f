"""Splits that others drew with a generator and a seed, drawn again as they did.

Facts of how a project drew its split (which units, in which order, which function and seed) stand on the data card; the
generator here is the function that they called, so the same units give the same parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medvlp.core.errors import DataError
from medvlp.core.registry import validation_sentences


class Step(BaseModel):
    """One call of ``sklearn.model_selection.train_test_split``: a part is permuted and cut in two.

    Attributes:
        of: the part that is cut; ``all`` are all units.
        into: names of what the function returns first and second.
        second: size of the second: a fraction (rounded up) or a number of units.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    of: str = "all"
    into: tuple[str, str]
    second: float | int
    seed: int


class Draw(BaseModel):
    """How a split was drawn.

    Attributes:
        by: column of the manifest whose values are the units; found by trial where it is not said.
        units: ``sorted``: different values in the order of their characters, as pandas' ``groupby`` leaves them;
            ``rows``: every row of `file`, in its order.
        file: table of the release that lists the units; without it they are taken from the manifest.
        column: of `file`.
        count: units that were drawn from. Another number gives another split, and is refused.
        steps: the calls, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    by: str | None = None
    units: Literal["sorted", "rows"] = "sorted"
    file: str | None = None
    column: str | None = None
    count: int | None = None
    steps: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _units_are_somewhere(self) -> Draw:
        if self.file is None and (self.units == "rows" or self.by is None):
            raise ValueError("units are the rows of a file, or the sorted values of a column: give file or by")
        known = {"all"}
        for step in self.steps:
            if step.of not in known:
                raise ValueError(f"a step cuts {step.of!r}, which no step before it made")
            known.update(step.into)
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that no later step cuts, train first."""
        cut = {step.of for step in self.steps}
        made = [name for step in self.steps for name in step.into if name not in cut]
        order = ("train", "validate", "test")
        return tuple(sorted(made, key=lambda name: order.index(name) if name in order else len(order)))


def read_draw(options: object, *, where: str) -> Draw:
    """Check the ``draw`` of a card's split."""
    try:
        return Draw.model_validate(options)
    except ValidationError as error:
        raise DataError(" ".join(validation_sentences(error, where=where, model=Draw))) from None


def carry_out(draw: Draw, units: Sequence[str]) -> dict[str, list[str]]:
    """Return part -> units."""
    from sklearn.model_selection import train_test_split

    if draw.count is not None and len(units) != draw.count:
        raise DataError(
            f"The split was drawn from {draw.count} units and there are {len(units)}, so the same draw gives other "
            "parts: index the whole release without a selection, or give the split's own lists by files."
        )
    held = {"all": np.arange(len(units))}
    for step in draw.steps:
        first, second = train_test_split(held[step.of], test_size=step.second, random_state=step.seed)
        held[step.into[0]], held[step.into[1]] = first, second
    return {part: [units[int(i)] for i in held[part]] for part in draw.parts}
