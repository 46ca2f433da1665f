"""What is drawn on a file: masks and boxes of a cohort, in the pixels in which predictions are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.manifest import Manifest
from medvlp.data.marks import Drawn

__all__ = ["drawn_labels", "true_boxes", "true_mask"]


def drawn_labels(kind: str, labels: Sequence[str], cohort: Manifest) -> list[str]:
    """Return those of some findings that a cohort has boxes or masks of.

    Args:
        kind: ``boxes`` or ``mask``.
        labels: findings.
        cohort: its columns.
    """
    return [label for label in labels if f"{kind}.{label}" in cohort]


def true_mask(sample: Sample, shape: Sequence[int], label: str) -> NDArray[np.bool_] | None:
    """Return the mask of a finding over a whole file; None where it is not known.

    Args:
        sample: a record, unread.
        shape: (H, W) of its file, (Z, Y, X) of a volume.
        label: the finding.
    """
    drawn = sample.fields.get(f"mask.{label}")
    return drawn.on(_whole(shape), shape).numpy() if isinstance(drawn, Drawn) else None


def true_boxes(sample: Sample, shape: Sequence[int], label: str) -> NDArray[np.float64] | None:
    """Return the boxes (n, 4) or (n, 6) of a finding in a whole file; None where they are not known.

    Args:
        sample: a record, unread.
        shape: as for `true_mask`.
        label: the finding.
    """
    drawn = sample.fields.get(f"boxes.{label}")
    return drawn.on(_whole(shape), shape).numpy().astype(np.float64) if isinstance(drawn, Drawn) else None


def _whole(shape: Sequence[int]) -> ImageRecord:
    """Return the record of a view that is the file itself."""
    return ImageRecord(seed=0, box=(0.0, 0.0, float(shape[-1]), float(shape[-2])), source=tuple(shape))
