"""``published``: a split that people use by name, from the data set's card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.registry import available
from medvlp.data.cards import DataCard, SplitFacts, cards, load_card
from medvlp.data.manifest import Manifest
from medvlp.data.splits._draw import carry_out, read_draw
from medvlp.data.splits._groups import Cohort
from medvlp.data.splits._lists import find_file, read_list, read_parts
from medvlp.data.splits._split import Split
from medvlp.data.splits.ids import listed
from medvlp.data.splits.own import of_column


def published(
    manifest: Cohort,
    *,
    split: str = "official",
    card: str | None = None,
    files: dict[str, Path] | None = None,
    table: Path | None = None,
) -> Split:
    """Take or rebuild a split that a data card describes.

    ``official`` is what the release says, by its column or lists. A split of another project is rebuilt by its own rule
    (units, order, function and seed), or taken from its lists. One whose card states a flaw is built with that flaw,
    which then stands in the manifest, the run's ``data.json`` and the results.

    Args:
        manifest: the whole release; what a selection would leave out changes a draw.
        split: name on the card.
        card: of the data set; without it, that of the layout which made the manifest.
        files: part -> list, or name of a file that the card asks for -> where it lies, where it is not in the root.
        table: file with a column of ids and one of parts.

    Raises:
        DataError: if there is no such split, it has no rule, a file is missing, or the manifest is not the release.

    Example:
        >>> columns = {"id": ["a", "b"], "text": ["x", "y"], "split": ["train", "test"]}
        >>> made = published(Manifest.of(columns, root=Path(".")), card="phantom")
        >>> made.name, made.parts["test"], made.source
        ('official', ('b',), 'this project')
    """
    book = _card(manifest, split, card)
    if split not in book.splits:
        known = (*book.splits, *_rules())
        raise DataError(f"The card {book.name} has no split {split!r}: {did_you_mean(split, known)}.")
    facts, given = book.splits[split], {str(name): Path(path) for name, path in (files or {}).items()}
    made = _made(manifest, split, book, facts, given, table)
    notes = (*made.notes, *_other_counts(made, facts))
    return replace(
        made,
        name=split,
        rule="published",
        unit=facts.unit,
        options={**made.options, "split": split, "card": book.name},
        card=book.name,
        flaw=facts.flaw,
        source=facts.source,
        notes=notes,
    )


def _card(manifest: Manifest, split: str, card: str | None) -> DataCard:
    if card is not None:
        return load_card(card)
    layout = str(manifest.meta.get("card") or manifest.meta.get("layout") or "")
    if layout in cards():
        return load_card(layout)
    raise DataError(
        f"The manifest was made by the layout {layout or 'of no name'!r}, which has no card (card: NAME names one), "
        f"and {split!r} is no rule: {did_you_mean(split, _rules())}."
    )


def _rules() -> list[str]:
    return [name for name in available("data/splits") if name != "published"]


def _made(
    manifest: Manifest, name: str, card: DataCard, facts: SplitFacts, given: dict[str, Path], table: Path | None
) -> Split:
    where, repeat, by = f"{name!r} of the card {card.name}", bool(facts.flaw), facts.options.get("by")
    if facts.rule == "none":
        others = [each for each, other in card.splits.items() if other.rule != "none"]
        raise DataError(
            f"The split {where} does not exist ({facts.title}): choose a rule, e.g. {{name: patient}}"
            f"{', or ' + ' or '.join(others) if others else ''}."
        )
    if table is None and "file" in facts.options and not given:
        table = Path(str(facts.options["file"]))
    if table is not None:
        lists = read_parts(find_file(table, manifest.root), column=facts.options.get("column"))
        return listed(manifest, lists, name=name, by=by, repeat=repeat)
    if facts.rule == "column" or (facts.rule == "lists" and name == "official" and "split" in manifest and not given):
        return _of_release(manifest, card, facts, where)
    if facts.rule == "fractions" and "draw" in facts.options:
        return _drawn(manifest, name, facts, given, where)
    wanted: dict[str, Any] = dict(facts.options.get("files", {}))
    parts = {part: path for part, path in given.items() if part in wanted or not wanted}
    paths = parts or {part: Path(str(path)) for part, path in wanted.items()}
    if not paths:
        drawn = "the card does not say how it was drawn" if facts.rule == "fractions" else "it is kept as lists of ids"
        raise DataError(
            f"The split {where} cannot be rebuilt ({drawn}; made by {facts.source}): get its lists from there, and "
            "give files: {train: PATH, test: PATH} or table: PATH."
        )
    lists = {
        part: read_list(find_file(path, manifest.root), column=facts.options.get("column"))
        for part, path in paths.items()
    }
    return listed(manifest, lists, name=name, by=by, repeat=repeat)


def _of_release(manifest: Manifest, card: DataCard, facts: SplitFacts, where: str) -> Split:
    """The column that the layout filled in; a column that another split overwrote is not the release's."""
    made: Any = manifest.meta.get("split")
    if isinstance(made, dict) and made.get("name") != "official":
        raise DataError(
            f"The split {where} stood in the column split, which {made.get('name')!r} has replaced: index the data "
            "again."
        )
    if "split" not in manifest:
        raise DataError(
            f"The split {where} stands in the release's files, and the manifest has no column split: index it by the "
            f"layout {card.layout or card.name}."
        )
    split = of_column(manifest, name="official")
    joined: dict[str, str] = {str(old): str(new) for old, new in dict(facts.options.get("rename", {})).items()}
    parts: dict[str, tuple[str, ...]] = {}
    for part, ids in split.parts.items():
        new = joined.get(part, part)
        parts[new] = tuple(sorted((*parts.get(new, ()), *ids)))
    return replace(split, parts=parts)


def _drawn(manifest: Manifest, name: str, facts: SplitFacts, given: dict[str, Path], where: str) -> Split:
    draw = read_draw(facts.options["draw"], where=f"the draw of {where}")
    if draw.file is not None:
        path = given.get(draw.file) or (next(iter(given.values())) if len(given) == 1 else Path(draw.file))
        units = read_list(find_file(path, manifest.root), column=draw.column)
    else:
        units = [str(value) for value in manifest.column(str(draw.by)) if value is not None]
    if draw.units == "sorted":
        units = sorted(set(units))
    return listed(manifest, carry_out(draw, units), name=name, by=draw.by, repeat=bool(facts.flaw))


def _other_counts(split: Split, facts: SplitFacts) -> list[str]:
    counts: dict[str, int] = dict(facts.options.get("counts", {}))
    others = [
        f"{part} {len(split.parts.get(part, ()))} rather than {count}"
        for part, count in counts.items()
        if len(split.parts.get(part, ())) != count
    ]
    return [f"Records differ from the card's: {', '.join(others)}."] if others else []
