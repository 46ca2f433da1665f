"""MedKLIP: ResNet-50 to its third stage, and a decoder that 75 described findings ask through."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._queries import Asking, asking_bundle
from medvlp.zoo._release import Release

__all__ = ["medklip"]


def medklip(
    *,
    source: Annotated[Path, FromModel("source")],
    vectors: str | None = None,
    encoder: dict[str, Any] | None = None,
    book: str | None = None,
    heads: Annotated[int, Field(ge=1)] = 4,
    image_size: Annotated[int, Field(ge=32)] = 224,
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import a checkpoint of MedKLIP.

    Args:
        source: the ``.pth`` file.
        vectors: safetensors file with ``existence`` (75, D), as its scripts make them of its book.
        encoder: instead, component of `medvlp.models.text_vectors` that makes them: ``{name: transformers, path:
            FOLDER, max_length: 64}`` with Bio_ClinicalBERT.
        book: with `encoder`: its 75 descriptions, a JSON object or a YAML book in their order; without it, our own
            definitions stand in, whose vectors are others than those of the training.
        heads: attention heads of the decoder, which the weights do not tell.
        image_size: side of the pictures.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if the file cannot be read, or the text vectors are not given.
        DataError: if weights, book or vectors do not fit.
    """
    shown = {"heads": heads, "image_size": image_size, "preset": preset}
    return asking_bundle(_FAMILY, source, vectors=vectors, encoder=encoder, book=[book] if book else [], **shown)


_FAMILY = Asking(
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
