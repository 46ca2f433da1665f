"""What is in a cohort, counted: labels with their certainty, attributes and ages by split, sizes of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from medvlp.data._columns import pc
from medvlp.data.facts import ImageFacts
from medvlp.data.manifest import Manifest

NO_SPLIT = "no split"
_ORDER = {"train": 0, "validate": 1, "test": 2}
_CATEGORIES = ("set", "view_position", "sex", "site", "scanner", "source", "deidentified")
_NUMBERS = ("age", "year")
_MOST_VALUES = 12
_OLDEST = 90  # above it an age identifies a person (45 CFR 164.514)


@dataclass(frozen=True, slots=True)
class Part:
    """A split, or the whole: its name and how many records, patients and studies it has (None: not said)."""

    name: str
    records: int
    patients: int | None
    studies: int | None


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """A label over all records: the four values kept apart; `by_split` is (present, known) of each split."""

    name: str
    present: int
    absent: int
    uncertain: int
    blank: int
    by_split: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Category:
    """An attribute of words: (value, records, records of each split), most frequent first; None is "not said".

    Attributes:
        others: number of further values, and of their records.
    """

    name: str
    rows: tuple[tuple[str | None, int, tuple[int, ...]], ...]
    others: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Numbers:
    """An attribute of numbers: a histogram by split.

    Attributes:
        edges: lower edge of each bar, equally wide.
        counts: records in each bar, of each split.
        quartiles: 25, 50 and 75 %.
        top: lower edge of the last bar where it holds all above, else None.
    """

    name: str
    edges: tuple[float, ...]
    width: float
    counts: tuple[tuple[int, ...], ...]
    missing: int
    quartiles: tuple[float, float, float]
    top: float | None


@dataclass(frozen=True, slots=True)
class SizeCounts:
    """Sizes of images: (rows, columns, images), most frequent first, their extremes, and kinds of files.

    Attributes:
        others: number of further sizes, and of their images.
        depths: least and most slices; 1 for an image.
    """

    images: int
    rows: tuple[tuple[int, int, int], ...]
    others: tuple[int, int]
    heights: tuple[int, int]
    widths: tuple[int, int]
    depths: tuple[int, int]
    kinds: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """All counts of a cohort; `splits` gives the order of every tuple by split."""

    whole: Part
    splits: tuple[Part, ...]
    labels: tuple[LabelCounts, ...]
    categories: tuple[Category, ...]
    numbers: tuple[Numbers, ...]
    texts: int


def summarise(manifest: Manifest, *, most: int = _MOST_VALUES) -> CohortSummary:
    """Count what is in a manifest; of an attribute of words the `most` frequent values, and the others together.

    Example:
        >>> from pathlib import Path
        >>> m = Manifest.of({"id": ["a", "b", "c"], "text": list("xyz"), "label.edema": [1, -1, None]}, root=Path("."))
        >>> counts = summarise(m).labels[0]
        >>> counts.present, counts.absent, counts.uncertain, counts.blank
        (1, 0, 1, 1)
    """
    everyone = np.ones(len(manifest), bool)
    masks = _splits(manifest)
    parts = list(masks.values())
    return CohortSummary(
        whole=_part("", manifest, everyone),
        splits=tuple(_part(name, manifest, mask) for name, mask in masks.items()),
        labels=tuple(_label(manifest, name, parts) for name in manifest.names_of("label")),
        categories=tuple(_category(manifest, name, parts, most) for name in _CATEGORIES if name in manifest),
        numbers=tuple(
            counted
            for name in _NUMBERS
            if name in manifest and (counted := _numbers(name, manifest.column(name), parts)) is not None
        ),
        texts=int(manifest.arrow("text").is_valid().sum().as_py()) if "text" in manifest else 0,
    )


def summarise_sizes(facts: Iterable[ImageFacts | None]) -> SizeCounts | None:
    """Count sizes and kinds of readable images; None where there is none."""
    sizes: Counter[tuple[int, int]] = Counter()
    kinds: Counter[str] = Counter()
    depths: set[int] = set()
    for each in facts:
        if each is not None and not each.reason:
            sizes[each.height, each.width] += 1
            kinds[each.kind] += 1
            depths.add(each.depth)
    if not sizes:
        return None
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    rest = ordered[_MOST_VALUES:]
    heights, widths = zip(*sizes, strict=True)
    return SizeCounts(
        images=sizes.total(),
        rows=tuple((*size, count) for size, count in ordered[:_MOST_VALUES]),
        others=(len(rest), sum(count for _, count in rest)),
        heights=(min(heights), max(heights)),
        widths=(min(widths), max(widths)),
        depths=(min(depths), max(depths)),
        kinds=tuple(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
    )


def _splits(manifest: Manifest) -> dict[str, np.ndarray]:
    if "split" not in manifest:
        return {}
    column = manifest.column("split")
    names = sorted({name for name in column if name is not None}, key=lambda name: (_ORDER.get(name, 3), name))
    masks = {name: column == name for name in names}
    blank = np.array([value is None for value in column])
    return {**masks, NO_SPLIT: blank} if blank.any() else masks


def _part(name: str, manifest: Manifest, mask: np.ndarray) -> Part:
    return Part(name, int(mask.sum()), _distinct(manifest, "id.patient", mask), _distinct(manifest, "id.study", mask))


def _distinct(manifest: Manifest, name: str, mask: np.ndarray) -> int | None:
    if name not in manifest:
        return None
    return int(pc.count_distinct(manifest.arrow(name).filter(pa.array(mask)), mode="only_valid").as_py())


def _label(manifest: Manifest, name: str, masks: Sequence[np.ndarray]) -> LabelCounts:
    values = manifest.column(name)
    present, absent, uncertain = values == 1, values == 0, values == -1
    known = present | absent
    return LabelCounts(
        name=name.partition(".")[2],
        present=int(present.sum()),
        absent=int(absent.sum()),
        uncertain=int(uncertain.sum()),
        blank=int(np.isnan(values).sum()),
        by_split=tuple((int((present & mask).sum()), int((known & mask).sum())) for mask in masks),
    )


def _category(manifest: Manifest, name: str, masks: Sequence[np.ndarray], most: int) -> Category:
    values = manifest.arrow(name)
    counted = [Counter(values.filter(pa.array(mask)).to_pylist()) for mask in masks]
    whole = Counter(values.to_pylist())
    ordered = sorted(whole.items(), key=lambda item: (item[0] is None, -item[1], str(item[0])))
    # Records that do not say are never among "others".
    named = [item for item in ordered if item[0] is not None]
    shown = named[:most] + [item for item in ordered if item[0] is None]
    rest = named[most:]
    return Category(
        name=name,
        rows=tuple(
            (None if value is None else str(value), count, tuple(part[value] for part in counted))
            for value, count in shown
        ),
        others=(len(rest), sum(count for _, count in rest)),
    )


def _numbers(name: str, values: np.ndarray, masks: Sequence[np.ndarray]) -> Numbers | None:
    if values.dtype == object:
        return None  # words, such as "60-70": not numbers
    values = values.astype(np.float64)
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    if name == "age":
        width, low, top = 10.0, 0.0, float(_OLDEST)
        edges = np.arange(0, _OLDEST + 1, width)
        if known.max() < 20:  # children: a bar a year
            width, top = 1.0, 0.0
            edges = np.arange(0, np.floor(known.max()) + 1, width)
    else:
        low, high, top = float(np.floor(known.min())), float(np.floor(known.max())), 0.0
        width = float(max(1, np.ceil((high - low + 1) / 40)))
        edges = np.arange(low, high + 1, width)
    place = np.clip(((values - low) // width), 0, len(edges) - 1)
    return Numbers(
        name=name,
        edges=tuple(edges.tolist()),
        width=width,
        counts=tuple(
            tuple(int(((place == at) & mask).sum()) for at in range(len(edges)))
            for mask in (masks or [np.ones(len(values), bool)])
        ),
        missing=int(len(values) - len(known)),
        quartiles=tuple(np.quantile(known, [0.25, 0.5, 0.75]).tolist()),
        top=top or None,
    )
