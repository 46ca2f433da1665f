"""MAVL: MedKLIP's form, each finding asked for by its definition and nine sentences on how it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo._queries import Asking, asking_bundle
from medvlp.zoo._release import Release

__all__ = ["mavl"]


def mavl(
    *,
    source: Annotated[Path, FromModel("source")],
    vectors: str | None = None,
    encoder: dict[str, Any] | None = None,
    book: list[str] = [],  # noqa: B006  (read only)
    heads: Annotated[int, Field(ge=1)] = 4,
    image_size: Annotated[int, Field(ge=32)] = 224,
    preset: str = "dicom_voi_v1",
) -> Bundle:
    """Import a checkpoint of MAVL with a ResNet-50.

    Args:
        source: the ``.pth`` file.
        vectors: safetensors file with ``existence`` (75, n, D), of each definition and the sentences behind it.
        encoder: instead, component of `medvlp.models.text_vectors` that makes them: ``{name: transformers, path:
            FOLDER}`` with Bio_ClinicalBERT.
        book: with `encoder`: files of its repository with the 75 definitions and, behind them, the sentences.
        heads: attention heads of the decoder, which the weights do not tell.
        image_size: side of the pictures.
        preset: how files become display values (`medvlp.io.preset_names`).

    Raises:
        UserError: if the file cannot be read, or the text vectors are not given.
        DataError: if weights, books or vectors do not fit.
    """
    shown = {"heads": heads, "image_size": image_size, "preset": preset}
    return asking_bundle(_FAMILY, source, vectors=vectors, encoder=encoder, book=book, **shown)


_FAMILY = Asking(
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
