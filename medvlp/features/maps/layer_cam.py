"""``layer_cam``: the activation where its own gradient is positive."""

from __future__ import annotations

import numpy as np

from medvlp.features.heat_map import TokenGradient
from medvlp.features.maps._gradient import GradientMap


class LayerCam(GradientMap):
    """relu(sum_k relu(g_ik) T_ik) at token i (LayerCAM, Jiang et al. 2021, eq. 6 to 8), of the last map.

    Example:
        >>> LayerCam().scale
        'peak'
    """

    method = "layer_cam"

    def values(self, found: TokenGradient) -> np.ndarray:
        """See `GradientMap`."""
        return np.maximum((np.maximum(found.gradient, 0) * found.tokens).sum(axis=1), 0)
