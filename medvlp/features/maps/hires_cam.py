"""``hires_cam``: gradient times activation, an exact decomposition of the score where the tower pools by a mean."""

from __future__ import annotations

import numpy as np

from medvlp.features.heat_map import TokenGradient
from medvlp.features.maps._gradient import GradientMap


class HiResCam(GradientMap):
    """sum_k g_ik T_ik at token i (HiResCAM, Draelos and Carin 2020); signed. See `medvlp.features.heat_map`.

    Example:
        >>> HiResCam().scale
        'peak'
    """

    method = "hires_cam"

    def values(self, found: TokenGradient) -> np.ndarray:
        """See `GradientMap`."""
        return (found.gradient * found.tokens).sum(-1)
