"""Split a manifest by a rule named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from medvlp.config.yaml import override
from medvlp.core.errors import ConfigError
from medvlp.data.manifest import Manifest
from medvlp.data.spellings import notes_of
from medvlp.data.splits import Split, make_split, subset
from medvlp.data.splits.own import of_column


@dataclass(frozen=True)
class SplitCohort:
    """A split manifest.

    Attributes:
        split: the lists, of the smaller training set where one was asked for.
        manifest: with the column ``split``.
        notes: what whoever uses it has to know.
    """

    split: Split
    manifest: Manifest
    notes: tuple[str, ...]


def split_cohort(
    path: Path,
    *,
    rule: str,
    root: Path | None = None,
    card: str | None = None,
    seed: int | None = None,
    fractions: str | None = None,
    share: float | None = None,
    per_class: int | None = None,
    options: Sequence[str] = (),
) -> SplitCohort:
    """Split a manifest.

    Args:
        path: of the manifest.
        rule: component of `medvlp.data.splits`, or name of a published split.
        root: folder of the images; default: as the manifest says.
        card: data card of a published split.
        seed: short for the option.
        fractions: likewise, ``train=.7,validate=.1,test=.2``.
        share: of the training patients that is kept.
        per_class: instead, training patients of each class that are kept.
        options: of the rule, ``key.path=value``.

    Raises:
        ConfigError: for an unknown option, with the nearest name.
        DataError: as the rule says.
    """
    given = {"card": card, "seed": seed, "fractions": None if fractions is None else parse_fractions(fractions)}
    spec: dict[str, object] = {"name": rule, **{key: value for key, value in given.items() if value is not None}}
    spec = reduce(override, options, spec)
    manifest = Manifest.load(path, root=root)
    split = make_split(manifest, spec)
    notes, placed = (*split.caveats(manifest), *notes_of(manifest)), split.apply(manifest)
    if share is not None or per_class is not None:
        by = str(split.options.get("by", "id.patient")) if split.unit == "patient" else "id.patient"
        placed = subset(placed, share=share, per_class=per_class, seed=seed or 0, by=by)
        split = of_column(placed, name=split.name)
    return SplitCohort(split, placed, notes)


def parse_fractions(text: str) -> dict[str, float]:
    """Read ``train=.7,validate=.1,test=.2``.

    Raises:
        ConfigError: if it is of another form.

    Example:
        >>> parse_fractions("train=.8,test=.2")
        {'train': 0.8, 'test': 0.2}
    """
    found: dict[str, float] = {}
    for piece in text.split(","):
        name, _, value = piece.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ConfigError(
                f"--fractions {text!r} is not of the form train=.7,validate=.1,test=.2: {piece!r} has no number."
            ) from None
    return found
