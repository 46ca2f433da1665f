"""MedKLIP and MAVL: ResNet-50 to its third stage, and a decoder that 75 described findings ask through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.text.medslip_findings import finding_columns, score_names
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.zoo._books import Book, cut_resnet, read_books, squeezed, trunk
from medvlp.zoo._keys import Rules, count, without
from medvlp.zoo._protocol import read_checkpoint
from medvlp.zoo._release import Release, asked_by_recipe, imported

__all__ = ["medklip", "importer_of"]

_RELEASES = {
    "medklip": Release(title="MedKLIP", citation="Wu et al., ICCV 2023, arXiv 2301.02228."),
    "mavl": Release(title="MAVL", citation="Phan et al., CVPR 2024, arXiv 2403.07636."),
}
_IMAGE = {"medklip": "res_features.", "mavl": "backbone."}
# The map from tokens: MAVL's are convolutions of one place, with a learnt activation between them.
_RULES: dict[str, Rules] = {
    "medklip": [(r"res_l1\.(.*)", r"heads.image/local.hidden.0.\1"), (r"res_l2\.(.*)", r"heads.image/local.output.\1")],
    "mavl": [
        (r"res_l1\.0\.(.*)", r"heads.image/local.hidden.0.\1"),
        (r"res_l1\.1\.(.*)", r"heads.image/local.activations.0.\1"),
        (r"res_l2\.(.*)", r"heads.image/local.output.\1"),
    ],
}
_ACTIVATION = {"medklip": "relu", "mavl": "prelu"}
# The book in our own words, where one sentence a query is enough.
_STAND_IN = {"medklip": "banks/medslip_pathology_v1.yaml", "mavl": ""}
_UNUSED = {"medklip": {r"cl_fc\..*": None}, "mavl": {r"location_emb\..*": None, r"pool\..*": None, "temp": None}}
_LIMITS = {
    "medklip": "The head that told anatomies apart in training is left out.",
    "mavl": "What told anatomies apart, and compared the whole picture with the sentences, in training is left out.",
}
_ASKING: Rules = [
    (r"disease_embedding_layer\.(.*)", r"heads.image/existence.query.\1"),
    (r"decoder\.(.*)", r"heads.image/existence.decoder.\1"),
    (r"classifier\.(.*)", r"heads.image/existence.exist.\1"),
]
_DOC = """Import a checkpoint of {title} with a ResNet-50.

Queries are mapped by position: row i of the book asks query i, whatever it is called; of a JSON object that names every
query, and maybe more, its own is taken.

Args:
    source: the ``.pth`` file.
    vectors: safetensors file with ``existence``, (75, D) or, of n sentences each, (75, n, D), as its scripts make them.
    encoder: instead, component of `medvlp.models.text_vectors` that makes them: ``{{name: transformers, path: FOLDER,
        max_length: 64}}`` with Bio_ClinicalBERT.
    book: with `encoder`: file of the 75 descriptions in their order, a JSON object or a YAML book, and files of what
        else is said of each; without it our own definitions stand in where one is enough, whose vectors are others than
        those of the training.
    heads: attention heads of the decoder, which the weights do not tell.
    image_size: side of the pictures.
    preset: how files become display values (`medvlp.io.preset_names`).

Raises:
    UserError: if the file cannot be read, or the text vectors are not given.
    DataError: if weights, book or vectors do not fit.
"""


def importer_of(family: str) -> Callable[..., Bundle]:
    """Return the importer of ``medklip`` or ``mavl``, a component like any other."""

    def importer(
        *,
        source: Annotated[Path, FromModel("source")],
        vectors: str | None = None,
        encoder: dict[str, Any] | None = None,
        book: str | list[str] = [],  # noqa: B006  (read only)
        heads: Annotated[int, Field(ge=1)] = 4,
        image_size: Annotated[int, Field(ge=32)] = 224,
        preset: str = "dicom_voi_v1",
    ) -> Bundle:
        release = _RELEASES[family]
        weights, left = without(read_checkpoint(source, inside=("model",)), _UNUSED[family])
        local, sizes = _sizes(weights, family)
        names = load_medslip_vocabulary().observations
        asked = Book(
            names=names,
            option="book",
            files=[book] if isinstance(book, str) else book,
            stand_in=_STAND_IN[family],
            aspects=sizes["aspects"],
        )
        banks, note = read_books({"existence": asked}, vectors=vectors, encoder=encoder, title=release.title)
        spec = {
            "name": "vision",
            "vision": cut_resnet(image_size, weights, _IMAGE[family]),
            "heads": {
                "image/local": {"name": "projection", "reads": "tokens", "bias": True, **local},
                "image/existence": {"name": "text_queries", "reads": "local", "heads": heads, **sizes},
            },
        }
        # Words that mean a finding, and those by which the release itself asks for one.
        meant = {*score_names(names), *asked_by_recipe("medklip_v1").labels}
        findings = [name for name in finding_columns(names) if name in meant]
        return imported(
            spec,
            weights,
            [*_RULES[family], *_ASKING, *trunk(_IMAGE[family])],
            importer=family,
            source=source,
            release=release,
            read=[squeezed(image_size, preset, "bilinear")],
            banks=banks,
            answers=[StoredAnswer("existence", "existence", {"head": "existence", "labels": findings}, findings)],
            facts={"text_vectors": banks["existence"].encoder, "left_out": left},
            limits=note + _LIMITS[family],
        )

    importer.__name__, importer.__doc__ = family, _DOC.format(title=_RELEASES[family].title)
    return importer


def _sizes(weights: Mapping[str, Tensor], family: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the sizes of the map and of the decoder off the weights."""
    width = len(weights["disease_embedding_layer.weight"])
    hidden = len(weights["res_l1.weight" if family == "medklip" else "res_l1.0.weight"])
    inner = len(weights["decoder.layers.0.linear1.weight"])
    aspects = max(1, weights["classifier.weight"].shape[1] // width)
    layers = count(weights, r"decoder\.layers\.(\d+)\..*")
    local = {"hidden": hidden, "width": width, "activation": _ACTIVATION[family]}
    return local, {"aspects": aspects, "layers": layers, "feedforward": inner}


medklip = importer_of("medklip")
