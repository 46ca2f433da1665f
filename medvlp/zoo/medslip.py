"""MeDSLIP's released checkpoint (Fan et al. 2024, ``MeDSLIP_resnet50.pth``) -> a bundle.

The checkpoint holds a ResNet-50 up to its third stage, the gate, two streams, two decoders and their heads, but not the
vectors of the 75 + 51 texts that the decoders ask with: it does not determine the model. They must be given, or be made
again by the language model that made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.text.medslip_findings import finding_columns
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.zoo._books import Book, cut_resnet, read_books, squeezed, trunk
from medvlp.zoo._keys import count
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, imported

_HEAD = {
    "mask_generator": "gate",
    "pathology_embedding_layer": "query",
    **{
        foreign.format(stream): ours.format(stream)
        for stream in ("pathology", "anatomy")
        for foreign, ours in (
            ("res_l1_{}", "stream.{}.0"),
            ("res_l2_{}", "stream.{}.2"),
            ("cl_fc_{}", "to_text.{}"),
            ("decoder_{}", "decoder.{}"),
            ("classifier_{}", "exist.{}"),
        )
    },
}

_RELEASE = Release(
    title="MeDSLIP", citation="Fan et al. 2024, arXiv 2403.10635.", about="Trained by its authors on MIMIC-CXR."
)


def medslip(
    *,
    source: Annotated[Path, FromModel("source")],
    vectors: str | None = None,
    encoder: dict[str, Any] | None = None,
    pathology_book: str | None = None,
    heads: Annotated[int, Field(ge=1)] = 4,
    image_size: Annotated[int, Field(ge=32)] = 224,
) -> Bundle:
    """Import a MeDSLIP checkpoint.

    Every weight must find its place by name and shape. Queries are mapped by position: row i of a book asks query i,
    whatever it is called (one name of the released lists is damaged).

    Args:
        source: the ``.pth`` file, given by the builder.
        vectors: safetensors file with ``pathology`` (75, D) and ``anatomy`` (51, D), as the training had them.
        encoder: instead, component of `medvlp.models.text_vectors` that makes them: ``{name: transformers, path:
            FOLDER}`` with Bio_ClinicalBERT.
        pathology_book: with `encoder`: the 75 descriptions, a JSON object or a YAML book in their order; without it,
            our own definitions stand in, whose vectors are others than those of the training. The 51 sentences are
            "It is located at NAME. ", as the training had them.
        heads: attention heads of the decoders, which the weights do not tell.
        image_size: side of the pictures.

    Raises:
        UserError: if the text vectors are not given, or a file cannot be read.
        DataError: if weights, books or vectors do not fit.
    """
    weights = read_checkpoint(source, inside=("model",))
    words = load_medslip_vocabulary()
    pathology = Book(
        names=words.observations,
        option="pathology_book",
        files=[pathology_book] if pathology_book else [],
        stand_in="banks/medslip_pathology_v1.yaml",
    )
    anatomy = Book(names=words.anatomies, texts=[f"It is located at {name}. " for name in words.anatomies])
    books = {"pathology": pathology, "anatomy": anatomy}
    banks, note = read_books(books, vectors=vectors, encoder=encoder, title="MeDSLIP")
    counted = ("said_pathology", "said_anatomy", "said_pairs")
    own = [f"heads.image/medslip.{name}" for name in ("book_pathology", "book_anatomy", *counted)]
    heads_of = [(rf"{theirs}\.(.*)", rf"heads.image/medslip.{ours}.\1") for theirs, ours in _HEAD.items()]

    def finish(model: Any) -> None:  # noqa: ANN401  (a model that was just built)
        for name in counted:  # which of its words and pairs the reports stated, the release does not tell: maybe all
            model.get_buffer(f"heads.image/medslip.{name}").fill_(1)

    findings = list(finding_columns(words.observations))
    return imported(
        _architecture(weights, heads=heads, image_size=image_size),
        weights,
        [*heads_of, *trunk("res_features.")],
        importer="medslip",
        source=source,
        release=_RELEASE,
        read=[squeezed(image_size, "dicom_voi_v1", "bilinear")],
        banks=banks,
        own=own,
        finish=finish,
        answers=[
            StoredAnswer("existence", "existence", {"head": "medslip", "labels": findings}, findings),
            StoredAnswer("pairs", "pairs", {"head": "medslip"}),
        ],
        facts={"text_vectors": banks["pathology"].encoder},
        limits=(
            f"{note}Pictures are squeezed to a square, as by the released scripts, which read DICOM without its "
            "display settings; here those count."
        ),
    )


def _architecture(weights: Mapping[str, Tensor], *, heads: int, image_size: int) -> dict[str, object]:
    """Read the sizes off the weights."""
    head = {
        "name": "dual_stream",
        "width": len(weights["pathology_embedding_layer.weight"]),
        "hidden": len(weights["res_l1_pathology.weight"]),
        "layers": count(weights, r"decoder_pathology\.layers\.(\d+)\..*"),
        "heads": heads,
        "feedforward": len(weights["decoder_pathology.layers.0.linear1.weight"]),
    }
    tower = cut_resnet(image_size, weights, "res_features.")
    return {"name": "vision", "vision": tower, "heads": {"image/medslip": head}}
