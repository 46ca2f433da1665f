"""What is odd in a manifest and no fault of a file: told when it is made, not days later by a split or a training."""

from __future__ import annotations

from collections import Counter
from posixpath import normpath

import pyarrow as pa

from medvlp.data.manifest import Manifest
from medvlp.data.spellings import notes_of
from medvlp.text.language import is_blank, is_english


def oddities(manifest: Manifest) -> tuple[str, ...]:
    """Return a sentence for each: files of several rows, patients that are none or several, empty and foreign reports.

    Args:
        manifest: as an index made it.

    Example:
        >>> from pathlib import Path
        >>> columns = {"id": ["1", "2", "3"], "image": ["a.png", "a.png", "b.png"], "id.patient": ["p", None, "q"]}
        >>> for sentence in oddities(Manifest.of(columns, root=Path("."))):
        ...     print(sentence)
        2 rows name an image that another row names too ('a.png' first): each row is a record of its own.
        1 of 3 rows have no patient: a split by patient refuses them, fill in or drop them.
    """
    found, total = [], len(manifest)
    for name in manifest.file_columns:
        counts = Counter(normpath(str(value)) for value in manifest.arrow(name).to_pylist() if value)
        several = {path: count for path, count in counts.items() if count > 1}
        if several:
            what = name.partition(".")[0]
            found.append(
                f"{sum(several.values())} rows name {'an' if what == 'image' else 'a'} {what} that another row names "
                f"too ({next(iter(several))!r} first): each row is a record of its own."
            )
    read = [manifest.arrow(name).to_pylist() for name in (*manifest.file_columns, *manifest.names_of("text"))]
    nothing = sum(not any(row) for row in zip(*read, strict=True)) if not manifest.names_of("vector") else 0
    if nothing:
        found.append(f"{nothing} of {total} rows have neither a file nor a report: nothing can be learned from them.")
    if "id.patient" in manifest and manifest.arrow("id.patient").null_count:
        blank = manifest.arrow("id.patient").null_count
        found.append(f"{blank} of {total} rows have no patient: a split by patient refuses them, fill in or drop them.")
    found += notes_of(manifest)
    ages = manifest.arrow("age") if "age" in manifest else pa.nulls(0)
    if pa.types.is_string(ages.type) and ages.null_count < len(ages):
        found.append("Ages are words, each a group of its own: write years as numbers, leave unknown ones blank.")
    if joined := manifest.meta.get("reports_of_several_rows"):
        found.append(f"Reports joined of several rows of the table: {joined}; drop preliminary ones first.")
    if "text" in manifest:
        texts = manifest.arrow("text").to_pylist()
        empty = sum(not text for text in texts)
        like = [text for text in texts if text and is_blank(text)]
        foreign = sum(bool(text) and not is_english(text) for text in texts)
        if empty:
            found.append(f"{empty} of {total} rows have no report.")
        if like:
            found.append(f"Reports that are {like[0]!r} or the like, which is learnt: {len(like)}; leave them blank.")
        if foreign:
            found.append(
                f"{foreign} of {total} reports are not in English: they are trained on as they are, and labels, "
                "triplets and sentence checks pass them over."
            )
    return tuple(found)
