"""Packages that only some of the features need."""

from __future__ import annotations

from importlib.util import find_spec

from medvlp.core.errors import UserError


def needs(extra: str, *packages: str) -> None:
    """Refuse what packages of an extra that are not installed would do.

    Raises:
        UserError: with what to install.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(f'This needs {", ".join(missing)}: run `pip install "openmedvlp[{extra}]"`.')
