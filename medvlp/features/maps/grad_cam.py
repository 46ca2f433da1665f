"""``grad_cam``: channels of the last map, weighted by their mean gradient."""

from __future__ import annotations

import numpy as np

from medvlp.features.heat_map import TokenGradient
from medvlp.features.maps._gradient import GradientMap


class GradCam(GradientMap):
    """relu(sum_k a_k T_ik) with a_k the mean of the gradient g_ik over the tokens i (Selvaraju et al. 2017, eq. 1, 2).

    Example:
        >>> GradCam().scale
        'peak'
    """

    method = "grad_cam"

    def values(self, found: TokenGradient) -> np.ndarray:
        """See `GradientMap`."""
        return np.maximum(found.tokens @ found.gradient.mean(axis=0), 0)
