"""The reader against the referee: equal, announced by a warning, or different."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tests.io.referee import NoOpinion, opinion_of

__all__ = ["verdict"]

#: Warnings that say that pixels were guessed, and what the guess was; all others say nothing of pixel values.
ANNOUNCED = (
    r"Transfer Syntax UID .*(assumed|ignored|so decoded)",
    r"the data set is (Implicit|Explicit) VR, against",
    r"HighBit is",
    r"PhotometricInterpretation",
    r"PresentationLUTShape .* contradicts",
    r"VOILUTFunction is not a defined term",
    r"Window(Center|Width) .*(no window was applied|was passed over|LINEAR_EXACT was applied)",
    r"\d+ WindowCenter and",
    r"padding was not masked",
    r"both ModalityLUTSequence and",
    r"none of them concerns the pixels",
    r"bytes behind the last pixel",
    r"need more than the \d+ bits stored",
)


def verdict(data: bytes, pixels: np.ndarray, warnings: Sequence[str]) -> str:
    """Return how gray pixels of a DICOM file stand to what the standard says of it.

    Args:
        data: the file.
        pixels: what was read.
        warnings: what was said with them.

    Returns:
        "equal", "announced", "no opinion: ..." (pydicom cannot read it), or "different: ...".
    """
    try:
        opinion = opinion_of(data)
    except NoOpinion as error:
        return f"no opinion: {error}"
    if opinion.pixels.shape != pixels.shape:
        told = f"{pixels.shape}, not {opinion.pixels.shape}"
    else:
        away = np.abs(opinion.pixels - pixels)
        if not (away > opinion.tolerance).any() and np.isfinite(away).all():
            return "equal"
        told = f"{(away > opinion.tolerance).mean():.2%} of pixels by up to {np.nanmax(away):.2g}"
    if any(re.search(pattern, note) for pattern in ANNOUNCED for note in warnings):
        return "announced"
    return f"different: {told}"
