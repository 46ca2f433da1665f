"""MedKLIP: ResNet-50 to its third stage, and a decoder that 75 described findings ask through."""

from __future__ import annotations

from medvlp.zoo._queries import Asking, asking_importer
from medvlp.zoo._release import Release

__all__ = ["medklip"]

medklip = asking_importer(
    Asking(
        name="medklip",
        release=Release(title="MedKLIP", citation="Wu et al., ICCV 2023, arXiv 2301.02228."),
        image="res_features.",
        rules=[
            (r"res_l1\.(.*)", r"heads.image/local.hidden.0.\1"),
            (r"res_l2\.(.*)", r"heads.image/local.output.\1"),
        ],
        unused={r"cl_fc\..*": None},
        activation="relu",
        stand_in="banks/medslip_pathology_v1.yaml",
        limits="The head that told anatomies apart in training is left out.",
    )
)
