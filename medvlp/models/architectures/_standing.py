"""Patches that stand at a model's sites: where they act and what they give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError


@dataclass(frozen=True)
class Standing:
    """One patch at one site.

    Attributes:
        key: ``NAME@KIND:SITE``, as under the model's patches.
        kind: of the tower.
        view: pattern of the views that it acts on.
        gives: parts that it gives at them.
        several: whether its specification stands at several sites, so that a part is stacked over them, last.
        reads: parts of the images that ask, where it makes of each image texts of its own.
    """

    key: str
    kind: str
    view: str
    gives: tuple[str, ...]
    several: bool
    reads: tuple[str, ...] = ()

    def acts_on(self, view: str) -> bool:
        """Tell whether it acts on a view; the empty name is that of rows which no model sent."""
        return bool(match_sites(self.view, [view]))


def parts_given(standing: Iterable[Standing], kind: str, view: str) -> frozenset[str]:
    """Return the parts that patches of a kind give at a view."""
    return frozenset(part for s in standing if s.kind == kind and s.acts_on(view) for part in s.gives)


def parts_read(standing: Iterable[Standing], banks: Iterable[str]) -> tuple[str, ...]:
    """Return the parts of pictures that patches on the texts of banks read."""
    views = [f"bank.{bank}" for bank in banks]
    return tuple(sorted({part for s in standing if any(map(s.acts_on, views)) for part in s.reads}))


def join_parts(
    given: Mapping[str, list[tuple[str, Tensor]]],
    asked: Iterable[str],
    standing: Sequence[Standing],
    kind: str,
    view: str,
    rows: int,
) -> dict[str, Tensor]:
    """Put together what patches gave of a view of R `rows`: part -> (R, ...), or (R, ..., L) of a patch at L sites.

    Args:
        given: part -> (key of the patch, values) as they came.
        asked: parts that are wanted.
        standing: all patches.
        kind: of the tower.
        view: that was encoded.
        rows: R.

    Raises:
        ConfigError: if a patch gave nothing, or not of every row.
    """
    parts: dict[str, Tensor] = {}
    for part in sorted(asked):
        givers = [s for s in standing if s.kind == kind and s.acts_on(view) and part in s.gives]
        own = dict(given.get(part, []))
        for key in (s.key for s in givers):
            if key not in own or len(own[key]) != rows:
                count = f"{len(own[key])} of {rows} rows" if key in own else "nothing"
                raise ConfigError(
                    f"Patch {key!r} is to give {part!r} of every row of {view!r} and gave {count}: put it where the "
                    f"tower passes all rows at once."
                )
        values = [own[s.key] for s in givers]
        parts[part] = torch.stack(values, dim=-1) if givers[0].several else values[0]
    return parts


def match_sites(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a pattern matches; ``*`` stands for any letters, everything else for itself."""
    form = re.compile(re.escape(pattern).replace(r"\*", ".*"))
    return [name for name in names if form.fullmatch(name)]
