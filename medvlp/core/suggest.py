"""Nearest-name suggestions, the second half of every "unknown name" sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return "did you mean 'x'? " or nothing, followed by the allowed names.

    Example:
        >>> did_you_mean("cilp", ["clip", "siglip"])
        "did you mean 'clip'? (allowed: clip, siglip)"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}(allowed: {', '.join(names) or 'none'})"
