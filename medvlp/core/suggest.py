"""Nearest-name suggestions, the second half of every "unknown name" sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST, _SHOWN = 40, 5


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return "did you mean 'x'? " or nothing, followed by the allowed names; of more than 40 by the nearest.

    Example:
        >>> did_you_mean("nih", ["openi", "nih_chestxray14"])
        "did you mean 'nih_chestxray14'? (allowed: nih_chestxray14, openi)"
        >>> did_you_mean("cilp", ["clip", "siglip"])
        "did you mean 'clip'? (allowed: clip, siglip)"
    """
    names = sorted(allowed)
    plain, folded = name.casefold(), {each.casefold(): each for each in names}  # CLIP is clip
    near = [folded[each] for each in difflib.get_close_matches(plain, folded, n=_SHOWN, cutoff=0.5)]
    # A beginning is meant more often than another word of the same letters.
    near = [*(each for each in names if len(name) > 2 and each.casefold().startswith(plain)), *near]
    hint = f"did you mean {near[0]!r}? " if near else ""
    if len(names) > _MOST:
        shown = sorted(dict.fromkeys(near[:_SHOWN])) or names[:_SHOWN]
        return f"{hint}(allowed: {', '.join(shown)} and {len(names) - len(shown)} more)"
    return f"{hint}(allowed: {', '.join(names) or 'none'})"
