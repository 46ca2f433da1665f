"""The proof that a split does not leak."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from medvlp.core.errors import DataError
from medvlp.data.cache import Cache
from medvlp.data.contents import content_hashes
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import Progress

__all__ = ["Leak", "check_split", "refuse_leaks"]


@dataclass(frozen=True)
class Leak:
    """Two records that are the same in some respect and stand in different splits.

    Attributes:
        kind: ``patient``, ``study`` or ``image`` (the same bytes).
        a: id of one record.
        b: id of the other.
        split_a: split of `a`.
        split_b: split of `b`.
    """

    kind: str
    a: str
    b: str
    split_a: str
    split_b: str


def check_split(
    manifest: Manifest,
    *,
    images: bool = True,
    cache: Cache | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> list[Leak]:
    """Return the leaks between splits: same patient, same study, same image bytes; one for each shared thing and pair.

    Args:
        manifest: with a ``split`` column; records without a split belong to none.
        images: whether image files are compared (each is read once, and then remembered).
        cache: where file hashes are remembered.
        workers: processes for hashing.
        progress: of hashing.

    Raises:
        DataError: if there is no ``split`` column.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": ["a", "b"], "text": ["x", "y"], "id.patient": ["p", "p"], "split": ["train", "test"]}
        >>> check_split(Manifest.of(columns, root=Path(".")))
        [Leak(kind='patient', a='a', b='b', split_a='train', split_b='test')]
    """
    if "split" not in manifest:
        raise DataError("The manifest has no column 'split': split it by patient, or name its split column.")
    ids, splits = manifest.column("id"), manifest.column("split")
    leaks: list[Leak] = []
    for kind in ("patient", "study"):
        if f"id.{kind}" in manifest:
            leaks += _leaks(kind, manifest.column(f"id.{kind}"), ids, splits)
    if images and "image" in manifest:
        paths = [manifest.path(i) if splits[i] else None for i in range(len(manifest))]
        hashes = content_hashes(paths, cache=cache or Cache.default(), workers=workers, progress=progress)
        leaks += _leaks("image", np.array([value or None for value in hashes], dtype=object), ids, splits)
    return leaks


def refuse_leaks(leaks: list[Leak]) -> None:
    """Stop a run whose split leaks.

    Raises:
        DataError: with the number of leaks a kind and the first of them.
    """
    if not leaks:
        return
    counts = {kind: sum(leak.kind == kind for leak in leaks) for kind in ("patient", "study", "image")}
    told = ", ".join(f"{count} by {kind}" for kind, count in counts.items() if count)
    first = leaks[0]
    raise DataError(
        f"The split leaks ({told}): records {first.a!r} in {first.split_a} and {first.b!r} in {first.split_b} "
        f"share the same "
        f"{first.kind}; split by patient, or remove the repeated ones (`medvlp data check` lists all)."
    )


def _leaks(kind: str, things: np.ndarray, ids: np.ndarray, splits: np.ndarray) -> list[Leak]:
    first: dict[object, dict[str, int]] = defaultdict(dict)
    for index, (thing, split) in enumerate(zip(things, splits, strict=True)):
        if thing is not None and split is not None:
            first[thing].setdefault(split, index)
    found = []
    for sides in first.values():
        places = sorted(sides.values())
        for later in range(1, len(places)):
            a, b = places[0], places[later]
            found.append(Leak(kind, str(ids[a]), str(ids[b]), str(splits[a]), str(splits[b])))
    return found
