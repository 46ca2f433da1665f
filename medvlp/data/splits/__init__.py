"""Splits: rules for making one, published ones by name, lists of ids with a hash; one rule a file, chosen by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medvlp.core.lazy import attach

if TYPE_CHECKING:
    from medvlp.data.manifest import Manifest
    from medvlp.data.splits._split import Split

__getattr__, __dir__, _lazy = attach(
    __name__,
    {
        "Draw": "_draw",
        "Split": "_split",
        "load_split": "_split",
        "part_facts": "_summary",
        "part_line": "_summary",
        "part_table": "_summary",
        "split_caveats": "_split",
        "split_hash": "_split",
        "subset": "_subset",
    },
)
__all__ = [*_lazy, "make_split", "split_spec"]


def split_spec(value: object) -> object:
    """Return the component that a short form means.

    ``{train: 0.8, test: 0.2}`` are the fractions of ``own``; a name that is no rule is that of a published split; a
    name alone is a component without options.

    Example:
        >>> split_spec({"name": "gloria", "card": "rsna_pneumonia"})
        {'name': 'published', 'split': 'gloria', 'card': 'rsna_pneumonia'}
    """
    from medvlp.core.errors import did_you_mean
    from medvlp.core.registry import available

    spec = {"name": value} if isinstance(value, str) else value
    if not isinstance(spec, Mapping):
        return value
    if "name" not in spec:
        parts = ("train", "validate", "test")
        for part in spec:
            if part not in parts:
                raise ValueError(f"data.split.{part} is not a part: {did_you_mean(str(part), parts)}")
        return {"name": "own", "fractions": dict(spec)}
    name, options = spec["name"], {key: option for key, option in spec.items() if key != "name"}
    if name in available("data/splits"):
        return {"name": name, **options}
    return {"name": "published", "split": name, **options}


def make_split(manifest: Manifest, spec: Mapping[str, object] | str) -> Split:
    """Carry out a rule, or take a published split.

    Args:
        manifest: the cohort.
        spec: name alone, or with options: ``{name: stratified, labels: [effusion], seed: 3}``, ``{name: official}``.

    Raises:
        ConfigError: for an unknown option, with the nearest name.
        DataError: as the rule says.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> m = Manifest.of({"id": list("abc"), "text": ["x"] * 3, "id.patient": list("pqr")}, root=Path("."))
        >>> sorted(make_split(m, {"name": "patient", "seed": 1}).apply(m).column("split"))
        ['test', 'train', 'validate']
    """
    from medvlp.core.errors import ConfigError
    from medvlp.core.registry import build

    try:
        full = split_spec(spec)
    except ValueError as error:
        raise ConfigError(f"{error}.") from None
    if not isinstance(full, Mapping):
        raise ConfigError(f"A split is a name, or a mapping with one, not {spec!r}.")
    return build("data/splits", full, where="data.split", given={"manifest": manifest})
