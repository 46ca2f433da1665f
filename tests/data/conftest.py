from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp.data.cache import Cache
from medvlp.data.manifest import Manifest

SIZE = 24


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("MEDVLP_CACHE", str(tmp_path / "cache"))
    return Cache.default()


@pytest.fixture
def cohort(tmp_path: Path) -> Callable[..., Manifest]:
    """Make a cohort of n noise pictures with reports, two a patient."""

    def make(n: int = 10, *, text: bool = True) -> Manifest:
        root = tmp_path / "archive"
        root.mkdir(exist_ok=True)
        draws = np.random.Generator(np.random.Philox(5))
        for i in range(n):
            Image.fromarray(draws.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)).save(root / f"{i}.png")
        columns: dict[str, list[object]] = {
            "id": [f"s{i}" for i in range(n)],
            "image": [f"{i}.png" for i in range(n)],
            "id.patient": [f"p{i // 2}" for i in range(n)],
            "label.effusion": [(1, 0, -1, None)[i % 4] for i in range(n)],
            "age": [40 + i for i in range(n)],
        }
        if text:
            columns["text"] = [
                f"FINDINGS: First fact {i}. Second fact. Third fact.\nIMPRESSION: Done." for i in range(n)
            ]
        return Manifest.of(columns, root=root)

    return make
