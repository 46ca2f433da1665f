"""Components of the tests, found by name as those of an installed package are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

from medvlp.core import registry


@contextmanager
def plugged(**components: str) -> Iterator[None]:
    """Add ``name="folder module:Class"`` to the entry points while the context is open."""
    real = registry._points
    added = [_point(name, *where.split()) for name, where in components.items()]

    def points(folder: str) -> list[Any]:
        group = f"medvlp.{folder.replace('/', '.')}"
        return [*real(folder), *(point for point in added if point.group == group)]

    registry._points = points
    _forget()
    try:
        yield
    finally:
        registry._points = real
        _forget()


def _point(name: str, folder: str, where: str) -> EntryPoint:
    return EntryPoint(name=name, value=where, group=f"medvlp.{folder.replace('/', '.')}")


def _forget() -> None:
    for cached in (registry.available, registry.component, registry.schema):
        cached.cache_clear()
