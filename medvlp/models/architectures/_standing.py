"""Patches that stand at a model's sites: where they act and what they give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Standing", "match_sites", "parts_given"]


@dataclass(frozen=True)
class Standing:
    """One patch at one site.

    Attributes:
        key: ``NAME@KIND:SITE``, as under the model's patches.
        kind: of the tower.
        view: pattern of the views that it acts on.
        gives: parts that it gives at them.
        several: whether its specification stands at several sites, so that a part is stacked over them, last.
    """

    key: str
    kind: str
    view: str
    gives: tuple[str, ...]
    several: bool

    def acts_on(self, view: str) -> bool:
        """Tell whether it acts on a view; the empty name is that of rows which no model sent.

        Example:
            >>> Standing("coop@text:words.input", "text", "bank.*", (), False).acts_on("text")
            False
        """
        return bool(match_sites(self.view, [view]))


def parts_given(standing: Iterable[Standing], kind: str, view: str) -> frozenset[str]:
    """Return the parts that patches of a kind give at a view."""
    return frozenset(part for s in standing if s.kind == kind and s.acts_on(view) for part in s.gives)


def match_sites(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a pattern matches; ``*`` stands for any letters, everything else for itself.

    Example:
        >>> match_sites("linear[*.qkv]", ["linear[0.qkv]", "linear[0.mlp]"])
        ['linear[0.qkv]']
    """
    form = re.compile(re.escape(pattern).replace(r"\*", ".*"))
    return [name for name in names if form.fullmatch(name)]
