"""Thumbnails keep what a picture's areas are worth."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.evaluation.probe_tables import thumbnails


def test_thumbnails_average_areas() -> None:
    images = np.random.default_rng(0).random((2, 64, 48))
    small = thumbnails(images, 16).reshape(2, 16, 16)
    assert small == pytest.approx(images.reshape(2, 16, 4, 16, 3).mean(axis=(2, 4)), abs=1e-6)
    # Any size: the mean is kept, because every pixel counts with its area.
    odd = np.random.default_rng(1).random((1, 37, 53))
    assert thumbnails(odd, 16).mean() == pytest.approx(odd.mean(), abs=1e-6)
    with pytest.raises(DataError, match=r"Images have shape \(1, 8, 8\): thumbnails need"):
        thumbnails(np.ones((1, 8, 8)))
