"""What views share: options that do not fit are refused, and a field holds a path or a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.fields import parse_field
from medvlp.core.sample import Sample
from medvlp.io.volume import Volume


def require(view: Any, fits: bool, takes: str) -> None:  # noqa: ANN401 (any dataclass)
    """Unless its options fit, raise a `ConfigError` that says what a view takes and what it was given."""
    if not fits:
        given = ", ".join(f"{each.name}={getattr(view, each.name)!r}" for each in fields(view))
        name = type(view).__module__.rpartition(".")[2]
        raise ConfigError(f"{name} {takes}, not {given}: change these.")


def are_texts(names: Sequence[str]) -> bool:
    """Return whether names are those of text fields, none twice."""
    return {parse_field(name).kind for name in names} == {"text"} and len(set(names)) == len(names)


def volume_in(sample: Sample, field: str) -> str | Volume | None:
    """Return the path or the volume that a field holds; None where the sample has no such field.

    Raises:
        DataError: if it holds anything else, such as several paths.
    """
    source = sample.fields.get(field)
    if source is not None and not isinstance(source, str | Volume):
        raise DataError(f"The field {field!r} of {sample.id!r} is neither a path nor a volume: name one file.")
    return source
