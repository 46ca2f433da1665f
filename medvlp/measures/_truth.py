"""What is drawn on a file: masks and boxes of a cohort, in the pixels in which predictions are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvlp.core.sample import ImageRecord, Matrix, Sample
from medvlp.data.marks import Drawn

ANY_SHAPE = (1 << 24, 1 << 24)  # larger than any file: drawn boxes stay as they are


def drawn_in_file(
    sample: Sample, kind: str, label: str, shape: Sequence[int] = ANY_SHAPE, world: Matrix | None = None
) -> np.ndarray | None:
    """Return a finding's mask over a whole file, bool, or its boxes (n, 4) or (n, 6); None where they are not known.

    Args:
        sample: a record, unread.
        kind: ``boxes`` or ``mask``.
        label: the finding.
        shape: (H, W) of the file, (Z, Y, X) of a volume; of boxes on pictures any will do.
        world: of a volume, by which a mask in another grid finds its place; None: it is in the volume's own.
    """
    drawn = sample.fields.get(f"{kind}.{label}")
    if not isinstance(drawn, Drawn):
        return None
    box = (0.0, 0.0, float(shape[-1]), float(shape[-2]))
    whole = ImageRecord(seed=0, box=box, source=tuple(shape), world=world)
    return drawn.on(whole, shape).numpy()
