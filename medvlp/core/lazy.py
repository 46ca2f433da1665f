"""Curated packages that load nothing until a name is asked for (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for a package whose public names live in submodules.

    Args:
        package: the package's ``__name__``.
        names: public name -> submodule that defines it, or is it where both have one name.

    Example:
        >>> getattr_, _, public = attach("medvlp.core", {"Triplet": "triplet"})
        >>> getattr_("Triplet").__name__, public
        ('Triplet', ['Triplet'])
    """
    public = sorted(names)

    def get(name: str) -> Any:  # noqa: ANN401 (any public name)
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{names[name]}")
        return module if names[name] == name else getattr(module, name)

    return get, lambda: public, public
