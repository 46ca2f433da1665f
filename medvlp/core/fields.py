"""The closed list of field kinds; roles are open.

A field's name is ``kind`` or ``kind.role``: ``image``, ``image.local``, ``text.negative``, ``label.effusion``,
``id.patient``. The kind says everything the engine must know: type, shape, unit, how samples become a batch, and what a
missing value looks like. Layouts and views that make a field choose its role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medvlp.core.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Kind:
    """What every field of a kind has in common.

    Attributes:
        name: the kind.
        dtype: of the collated values.
        shape: of one value, axes named as in the shape comments of this project.
        unit: physical unit or range.
        collate: ``stack`` (one row a sample), ``rows`` (any number of rows a sample, concatenated with owners),
            ``pad`` (padded to the longest of the batch, with a mask).
        missing: what a sample without the field contributes.
    """

    name: str
    dtype: str
    shape: str
    unit: str
    collate: Literal["stack", "rows", "pad"]
    missing: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("image", "float32", "(C, H, W)", "[0, 1], 1 = white on the display", "rows", "no row"),
        Kind("stack", "float32", "(S, C, H, W)", "[0, 1]; positions in mm", "pad", "no row"),
        Kind("volume", "float32", "(C, Z, Y, X)", "modality values, HU for CT", "rows", "no row"),
        Kind("text", "str", "()", "a report, a section or a sentence", "rows", "no row"),
        Kind("boxes", "float32", "(N, 4) or (N, 6)", "low and high corner, x first, in pixels", "rows", "not known"),
        Kind("mask", "bool", "(H, W) or (S, H, W)", "pixels of the view", "rows", "no row"),
        Kind("label", "float32", "()", "1 present, 0 absent, -1 uncertain", "stack", "NaN"),
        Kind("vector", "float32", "(D,)", "as its maker says", "rows", "no row"),
        Kind("graph", "int64", "(E, 2)", "indices of rows", "rows", "no row"),
        Kind("id", "str", "()", "an identifier, compared only for equality", "stack", "empty: equal to nothing"),
        Kind("number", "float32", "()", "as its maker says", "stack", "NaN"),
    )
}

ENCODABLE: frozenset[str] = frozenset({"image", "stack", "volume", "text"})


@dataclass(frozen=True, slots=True)
class FieldName:
    """A parsed field name."""

    kind: str
    role: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.role}" if self.role else self.kind

    @property
    def spec(self) -> Kind:
        """The kind's record."""
        return KINDS[self.kind]


def parse_field(name: str) -> FieldName:
    """Split ``kind.role`` and refuse a kind that does not exist.

    Raises:
        ConfigError: for an unknown kind, with the nearest one.

    Example:
        >>> parse_field("image.local")
        FieldName(kind='image', role='local')
    """
    kind, _, role = name.partition(".")
    if kind not in KINDS:
        raise ConfigError(f"Field {name!r} has the unknown kind {kind!r}: {did_you_mean(kind, KINDS)}.")
    return FieldName(kind, role)
