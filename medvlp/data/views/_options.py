"""How a view refuses options that it cannot work with."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from medvlp.core.errors import ConfigError


def require(view: Any, fits: bool, takes: str) -> None:  # noqa: ANN401 (any dataclass)
    """Unless its options fit, raise a `ConfigError` that says what a view takes and what it was given."""
    if not fits:
        given = ", ".join(f"{each.name}={getattr(view, each.name)!r}" for each in fields(view))
        name = type(view).__module__.rpartition(".")[2]
        raise ConfigError(f"{name} {takes}, not {given}: change these.")
