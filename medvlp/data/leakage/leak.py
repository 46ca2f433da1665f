"""A leak, and the refusal of a run whose split has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medvlp.core.errors import DataError

if TYPE_CHECKING:
    from medvlp.data.manifest import Manifest


KINDS: tuple[str, ...] = ("patient", "study", "image", "near_image", "report_text")
"""What two records on two sides of a split can share, gravest first."""


@dataclass(frozen=True)
class Leak:
    """Two records that are the same in some respect and stand in different splits.

    Attributes:
        kind: ``patient``, ``study``, ``image`` (the same bytes or the same pixels), ``near_image`` (the same film,
            resized, compressed, inverted or cropped) or ``report_text``.
        a: id of one record.
        b: id of the other.
        split_a: split of `a`.
        split_b: split of `b`.
        detail: how it was seen; empty where the kind says all.
    """

    kind: str
    a: str
    b: str
    split_a: str
    split_b: str
    detail: str = ""


def counts_of(leaks: Sequence[Leak]) -> dict[str, int]:
    """Return how many leaks there are of each kind that occurs, in the order of `KINDS`.

    Example:
        >>> counts_of([Leak("image", "a", "b", "train", "test"), Leak("patient", "a", "b", "train", "test")])
        {'patient': 1, 'image': 1}
    """
    found = Counter(leak.kind for leak in leaks)
    return {kind: found[kind] for kind in KINDS if found[kind]}


def leak_caveats(manifest: Manifest) -> tuple[str, ...]:
    """Return what a reader of results on a leaking split must know; nothing where none was let pass."""
    noted = manifest.meta.get("leaks")
    if not isinstance(noted, Mapping):
        return ()
    found, model = noted.get("found"), noted.get("model")
    caveats = []
    if found:
        counts = ", ".join(f"{count} by {kind}" for kind, count in found.items())
        caveats.append(f"The split leaks ({counts}) and was used all the same: numbers on it are too good.")
    return (*caveats, *(model["caveats"] if isinstance(model, Mapping) else ()))


def refuse_leaks(leaks: Sequence[Leak], *, allow: str = "") -> None:
    """Stop a run whose split leaks.

    Args:
        leaks: what was found.
        allow: how a run can be told to go on, for the end of the sentence.

    Raises:
        DataError: with the number of leaks a kind and the first of them.
    """
    if not leaks:
        return
    counts = ", ".join(f"{count} by {kind}" for kind, count in counts_of(leaks).items())
    first = leaks[0]
    raise DataError(
        f"The split leaks ({counts}): records {first.a!r} in {first.split_a} and {first.b!r} in {first.split_b} share "
        f"the same {first.kind}; split by patient, or remove the repeated ones (`medvlp data check` lists all)"
        f"{f', or {allow}' if allow else ''}."
    )
