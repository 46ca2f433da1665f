"""Records that cannot be read: listed with their reason, left out, and too many of them stop the run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.core.files import write_list
from medvlp.io.errors import UnreadableImage

_FEW = 3


@dataclass(frozen=True)
class Quarantined:
    """A record that cannot be read, with the reason.

    Attributes:
        id: of the record.
        reason: short code of `medvlp.io.UnreadableImage`, or ``refused``.
        hint: what is wrong and how to mend it; neither the path nor anything of the patient.
        file: below the root, where an index left the record out, so that no manifest leads from its id to it; else "".
    """

    id: str
    reason: str
    hint: str
    file: str = ""


class NothingReadableError(DataError):
    """No record of a cohort can be read.

    Args:
        quarantined: all of them, with their reasons.
        mend: what to do.
    """

    def __init__(self, quarantined: Sequence[Quarantined], mend: str = "check the manifest's root folder") -> None:
        first = quarantined[0]
        super().__init__(
            f"None of the {len(quarantined)} records can be read ({_reasons(quarantined)}); the first is {first.id!r}: "
            f"{first.hint.rstrip('.')}; {mend}."
        )
        self.quarantined = tuple(quarantined)


def _reasons(found: Sequence[Quarantined]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(entry.reason for entry in found).most_common())


def quarantined(record: str, error: DataError) -> Quarantined:
    """Return the entry for a record that raised an error."""
    if isinstance(error, UnreadableImage):
        return Quarantined(record, error.reason, f"{error.detail}; {error.hint}")
    return Quarantined(record, "refused", str(error))


def allowed_failures(total: int, cap: float) -> int:
    """Return how many of `total` records may fail: the fraction `cap`, or a few of a small cohort; none where it is 0.

    A few are up to three, and at most a tenth: one file of thirty is 3 %.

    Example:
        >>> allowed_failures(1000, 0.02), allowed_failures(29, 0.02), allowed_failures(9, 0.02), allowed_failures(29, 0)
        (20, 2, 0, 0)
    """
    return max(math.floor(total * cap + 1e-9), min(_FEW, total // 10) if cap > 0 else 0)


def refuse_too_many(found: Sequence[Quarantined], *, total: int, root: Path, cap: float, stopped: bool = False) -> None:
    """Stop when more of the records cannot be read than `allowed_failures`.

    Args:
        total: number of records asked for, of files below `root`.
        stopped: whether reading was given up before all records were tried.
    """
    most = allowed_failures(total, cap)
    if len(found) <= most:
        return
    first = found[0]
    raise DataError(
        f"{'At least ' if stopped else ''}{len(found)} of {total} records below {root} cannot be read "
        f"({_reasons(found)}), more than the {most} that a cap of {cap:.1%} allows; the first is {first.id!r}: "
        f"{first.hint}; mend or remove them, or raise data.quarantine, the largest share that may be left out."
    )


def write_quarantine(path: Path, entries: Sequence[Quarantined]) -> None:
    """Write what was left out as CSV (id, reason, hint, file); see `write_list`."""
    write_list(path, [each.name for each in fields(Quarantined)], map(astuple, entries))
