"""The exceptions that mean "the user can mend this", one sentence and exit code 2, and the names that it suggests."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST, _SHOWN = 40, 5


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one sentence that names the thing, the place, the reason and the way to mend it; the command line
    prints it and exits with ``exit_code``.
    """

    exit_code = 2


class ConfigError(UserError):
    """A key, value or combination in a configuration that cannot be built."""


class DataError(UserError):
    """A file, table or record that cannot be used as it is."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return "did you mean 'x'?" where a name is near, and the allowed names; of more than 40 the nearest.

    Example:
        >>> did_you_mean("nih", ["openi", "nih_chestxray14"])
        "did you mean 'nih_chestxray14'? (allowed: nih_chestxray14, openi)"
        >>> did_you_mean("cilp", ["clip", "siglip"])
        "did you mean 'clip'? (allowed: clip, siglip)"
        >>> did_you_mean("zzz", ["clip", "siglip"])
        'allowed are clip, siglip'
    """
    names = sorted(allowed)
    plain, folded = name.casefold(), {each.casefold(): each for each in names}  # CLIP is clip
    near = [folded[each] for each in difflib.get_close_matches(plain, folded, n=_SHOWN, cutoff=0.5)]
    # A beginning is meant more often than another word of the same letters.
    near = [*(each for each in names if len(name) > 2 and each.casefold().startswith(plain)), *near]
    shown = names if len(names) <= _MOST else sorted(dict.fromkeys(near[:_SHOWN])) or names[:_SHOWN]
    listed = ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(shown) < len(names) else "")
    if near:
        return f"did you mean {near[0]!r}? (allowed: {listed})"
    return f"allowed {'is' if len(names) == 1 else 'are'} {listed}" if names else "there is none"
