"""What reading a 2D image returns: display-ready pixels with spacing, and the account of how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medvlp.core.turns import turned_back

SpacingKind = Literal["calibrated", "detector"] | None


@dataclass
class Account:
    """The log of reading: steps in order, and warnings of guesses and contradictions."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Image:
    """A 2D image as a display shows it.

    Attributes:
        pixels: float32 ``(H, W)``, or ``(H, W, 3)`` RGB, in [0, 1]; 1 is white.
        spacing: ``(row, column)`` distance of pixel centres in mm, or None where the file gives none.
        spacing_kind: ``"calibrated"`` (in the patient), ``"detector"`` (at the detector, magnified), or None: not said.
        meta: allow-listed facts of the file; never a name, identifier, date or free text.
        steps: what was done, in order, each naming the tag or field that asked for it.
        warnings: guesses and contradictions that a reader of the image should know about.
        to_file: (3, 3) matrix that takes points (x, y, 1) of ``pixels`` to those that the file stores, pixel k from k
            to k + 1; None where the picture was not turned.

    Example:
        >>> Image(pixels=np.zeros((2, 3), np.float32)).shape
        (2, 3)
    """

    pixels: np.ndarray
    spacing: tuple[float, float] | None = None
    spacing_kind: SpacingKind = None
    meta: dict[str, str | int | float] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    to_file: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``pixels``."""
        return tuple(self.pixels.shape)

    def stored(self, shown: np.ndarray) -> np.ndarray:
        """Turn an array (H, W), or (H, W, C), over ``pixels`` to how the file stores them.

        Example:
            >>> image = Image(np.zeros((1, 2), np.float32), to_file=np.array([[-1.0, 0, 2], [0, 1, 0], [0, 0, 1]]))
            >>> image.stored(np.array([[1, 2]])).tolist()
            [[2, 1]]
        """
        return shown if self.to_file is None else turned_back(shown, self.to_file)

    def hung(self, stored: np.ndarray) -> np.ndarray:
        """Turn an array (H, W), or (H, W, C), over the file's pixels to how ``pixels`` show them: undoes `stored`."""
        return stored if self.to_file is None else turned_back(stored, np.linalg.inv(self.to_file))
