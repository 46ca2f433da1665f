"""MAVL: MedKLIP's form, each finding asked for by its definition and nine sentences on how it looks."""

from __future__ import annotations

from medvlp.zoo._queries import Asking, asking_importer
from medvlp.zoo._release import Release

__all__ = ["mavl"]

mavl = asking_importer(
    Asking(
        name="mavl",
        release=Release(title="MAVL", citation="Phan et al., CVPR 2024, arXiv 2403.07636."),
        image="backbone.",
        rules=[
            (r"res_l1\.0\.(.*)", r"heads.image/local.hidden.0.\1"),
            (r"res_l1\.1\.(.*)", r"heads.image/local.activations.0.\1"),
            (r"res_l2\.(.*)", r"heads.image/local.output.\1"),
        ],
        unused={r"location_emb\..*": None, r"pool\..*": None, "temp": None},
        activation="prelu",
        stand_in="",
        limits="What told anatomies apart, and compared the whole picture with the sentences, in training is left out.",
    )
)
