"""Tables for tests of adapters: Gaussian classes in a few columns, with missing and uncertain labels."""

from __future__ import annotations

import numpy as np

from medvlp.core.answers import ProbeTable


def gaussians(seed: int, *, rows: int = 80, width: int = 12, apart: float = 2.0, missing: bool = True) -> ProbeTable:
    """Two findings, each the sign of a column of its own before noise; the rest is noise."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 2, size=(rows, 2)).astype(float)
    features = draw.normal(size=(rows, width)) + 3.0
    features[:, :2] += apart * (truth - 0.5)
    if missing:
        truth[::9, 0], truth[4::9, 1] = -1, np.nan
    return ProbeTable(features, {"edema": truth[:, 0], "effusion": truth[:, 1]}, [f"{seed}-{i}" for i in range(rows)])
