"""What X-rays see: water-like tissue, bone and metal, as mm of path, and the Hounsfield units that CT gives them.

Three energies stand for a filtered 110 to 120 kVp beam, so the beam hardens: a thick chest is a little more transparent
than a line through a monochromatic table would say. Coefficients are NIST XCOM / ICRU-44 values.
"""

from __future__ import annotations

from typing import Final

import numpy as np

WEIGHTS: Final = np.array([0.3, 0.4, 0.3], np.float32)
"""Share of the detected signal at 50, 60 and 80 keV."""

MU: Final = np.array(
    [
        [0.02269, 0.02059, 0.01837],  # water
        [0.08145 - 0.02269, 0.06044 - 0.02059, 0.04280 - 0.01837],  # cortical bone (1.92 g/cm3) in place of water
        [0.5507, 0.3478, 0.1839],  # titanium (4.54 g/cm3)
    ],
    np.float32,
)
"""Linear attenuation per mm, rows soft / bone / metal, columns the three energies."""

BONE_HU: Final = 1600.0
"""What a voxel full of cortical bone has above soft tissue."""

METAL_HU: Final = 14000.0
"""What a voxel full of titanium has above soft tissue, before the scanner's range cuts it."""


def attenuation(soft: np.ndarray, bone: np.ndarray | float = 0.0, metal: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the energy-weighted Beer-Lambert exponent of a path.

    ``L = -ln sum_e w_e exp(-mu_soft(e) soft - mu_bone(e) bone - mu_metal(e) metal)``

    Args:
        soft: mm of water-equivalent path, any shape.
        bone: mm of cortical bone that stands in the place of water.
        metal: mm of titanium.
    """
    transmitted = np.zeros(np.broadcast_shapes(soft.shape, np.shape(bone), np.shape(metal)), np.float32)
    for weight, (mu_soft, mu_bone, mu_metal) in zip(WEIGHTS, MU.T, strict=True):
        exponent = -mu_soft * soft - mu_bone * bone
        if np.ndim(metal) or metal:
            exponent = exponent - mu_metal * metal
        transmitted += weight * np.exp(exponent, dtype=np.float32)
    return -np.log(np.maximum(transmitted, np.float32(1e-30)))


def voxel_hounsfield(density: np.ndarray, soft: np.ndarray, bone: np.ndarray, metal: np.ndarray) -> np.ndarray:
    """Return Hounsfield units of voxels with fine structures put in.

    Where tubes cross, their points count twice: no sum becomes denser than solid tissue or a full voxel.

    Args:
        density: of the coarse tissue, relative to water, float32.
        soft: density that fine soft structures add (or, air, take away).
        bone: share of cortical bone.
        metal: share of titanium.
    """
    tissue = np.clip(density + soft, 0.0, np.maximum(density, np.float32(1.07)))
    hu = (tissue - np.float32(1.0)) * np.float32(1000.0) + np.float32(BONE_HU) * np.clip(bone, 0.0, 1.0)
    return np.maximum(hu + np.float32(METAL_HU) * np.clip(metal, 0.0, 1.0), np.float32(-1000.0)).astype(np.float32)
