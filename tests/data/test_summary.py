"""The counts of a cohort are those that counting by hand gives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp.data.facts import ImageFacts
from medvlp.data.manifest import Manifest
from medvlp.data.summary import NO_SPLIT, summarise, summarise_sizes

ROWS = st.lists(
    st.tuples(
        st.sampled_from([1, 0, -1, None]),
        st.sampled_from(["train", "test", "validate", "extra", None]),
        st.sampled_from(["F", "M", None]),
        st.one_of(st.none(), st.floats(0, 120)),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=40,
)


def manifest_of(rows: list[tuple[int | None, str | None, str | None, float | None, int]]) -> Manifest:
    labels, splits, sexes, ages, patients = (list(column) for column in zip(*rows, strict=True))
    columns = {
        "id": [f"s{at}" for at in range(len(rows))],
        "text": ["x"] * len(rows),
        "label.edema": labels,
        "split": splits,
        "sex": sexes,
        "age": ages,
        "id.patient": [f"p{patient}" for patient in patients],
    }
    return Manifest.of(columns, root=Path())


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_every_record_is_counted_once_in_each_table(
    rows: list[tuple[int | None, str | None, str | None, float | None, int]],
) -> None:
    summary = summarise(manifest_of(rows))
    names = [part.name for part in summary.splits]
    assert names == [name for name in ("train", "validate", "test", "extra") if any(row[1] == name for row in rows)] + [
        NO_SPLIT
    ] * any(row[1] is None for row in rows)
    assert [part.records for part in summary.splits] == [
        sum((row[1] or NO_SPLIT) == name for row in rows) for name in names
    ]
    assert [part.patients for part in summary.splits] == [
        len({row[4] for row in rows if (row[1] or NO_SPLIT) == name}) for name in names
    ]
    label = summary.labels[0]
    counted = Counter(row[0] for row in rows)
    assert (label.present, label.absent, label.uncertain, label.blank) == tuple(
        counted[value] for value in (1, 0, -1, None)
    )
    assert label.by_split == tuple(
        (
            sum(row[0] == 1 and (row[1] or NO_SPLIT) == name for row in rows),
            sum(row[0] in (0, 1) and (row[1] or NO_SPLIT) == name for row in rows),
        )
        for name in names
    )
    (sex,) = summary.categories
    assert {value: count for value, count, _ in sex.rows} == Counter(row[2] for row in rows)
    assert all(sum(parts) == count for _, count, parts in sex.rows)
    for numbers in summary.numbers:
        assert sum(map(sum, numbers.counts)) + numbers.missing == len(rows)


def test_ages_stand_by_decade_and_the_oldest_together() -> None:
    (age,) = summarise(manifest_of([(1, "train", "F", value, 0) for value in (0, 9.9, 10, 89, 90, 104, None)])).numbers
    assert age.edges[-1] == age.top == 90
    assert age.counts[0] == (2, 1, 0, 0, 0, 0, 0, 0, 1, 2)
    assert (age.missing, age.quartiles[1]) == (1, pytest.approx(49.5))


def test_children_are_counted_by_year() -> None:
    (age,) = summarise(manifest_of([(1, None, "F", value, 0) for value in (1, 1.5, 5)])).numbers
    assert (age.width, age.top, age.counts) == (1, None, ((0, 2, 0, 0, 0, 1),))


def test_rare_values_are_summed_and_what_is_not_said_stays_apart() -> None:
    m = Manifest.of({"id": range(32), "text": ["x"] * 32, "site": [*map(str, range(30)), "0", None]}, root=Path())
    (site,) = summarise(m.with_column("id", [f"s{at}" for at in range(32)])).categories
    assert site.rows[0] == ("0", 2, ())
    assert site.rows[-1] == (None, 1, ())
    assert sum(count for _, count, _ in site.rows) + site.others[1] == 32
    assert site.others == (18, 18)


def test_sizes_of_readable_images_only() -> None:
    facts = [ImageFacts("a", 10, 20, 1, "PNG L")] * 3 + [ImageFacts("b", 30, 5, 9, "JPEG L"), None]
    facts.append(ImageFacts("c", reason="empty"))
    sizes = summarise_sizes(facts)
    assert sizes is not None
    assert sizes.rows == ((10, 20, 3), (30, 5, 1))
    assert (sizes.images, sizes.heights, sizes.widths, sizes.depths) == (4, (10, 30), (5, 20), (1, 9))
    assert sizes.kinds == (("PNG L", 3), ("JPEG L", 1))
    assert summarise_sizes([None]) is None
