"""Every fixture and every test starts from a fixed seed, its own: who ran before cannot change what it draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from medvlp.core.randomness import seed_of


def start(name: str) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    import random

    import numpy as np
    import torch

    seed = seed_of(0, 0, name)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class Seeds:
    """A plugin, and not hooks of a conftest.py, so that it holds for doctests too."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        start(fixturedef.argname)
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        start(item.nodeid)
