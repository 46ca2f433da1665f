from __future__ import annotations

import pytest

from tests.pool import Pool, shared_pool


@pytest.fixture
def pool() -> Pool:
    return shared_pool()
