"""MeDSLIP's released checkpoint (Fan et al. 2024, ``MeDSLIP_resnet50.pth``) -> a bundle.

The checkpoint holds a ResNet-50 up to its third stage, the gate, two streams, two decoders and their heads, but not the
vectors of the 75 + 51 texts that the decoders ask with: it does not determine the model. They must be given, or be made
again by the language model that made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import read_json, sha256_of
from medvlp.core.registry import FromModel
from medvlp.core.resources import resource
from medvlp.models.bank import Bank, encoded_bank, read_bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, KeptAnswer
from medvlp.models.card import RESEARCH, ModelCard, fact_list
from medvlp.text.medslip_findings import finding_columns
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.zoo._protocol import load_strictly, read_checkpoint

__all__ = ["medslip"]

_TRUNK = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3"}
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
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet


def medslip(
    *,
    source: Annotated[Path, FromModel("source")],
    vectors: str | None = None,
    encoder: dict[str, Any] | None = None,
    pathology_book: str | None = None,
    anatomy_book: str | None = None,
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
            our own definitions stand in, whose vectors are others than those of the training.
        anatomy_book: with `encoder`: the 51 sentences; without it "It is located at NAME. ", as the training had them.
        heads: attention heads of the decoders, which the weights do not tell.
        image_size: side of the pictures.

    Raises:
        UserError: if the text vectors are not given, or a file cannot be read.
        DataError: if weights, books or vectors do not fit.
    """
    weights = read_checkpoint(source, inside=("model",))
    banks, note = _books(vectors, encoder, pathology_book, anatomy_book)
    model: Any = build_model(
        _architecture(weights, source, heads=heads, image_size=image_size), tokenizer=None, banks=banks
    )
    counted = ("said_pathology", "said_anatomy", "said_pairs")
    own = [f"heads.image/medslip.{name}" for name in ("book_pathology", "book_anatomy", *counted)]
    load_strictly(model, weights, _rename, source=source, own=["logit_scale.log_scale", *own])
    for name in counted:  # which of its words and pairs the reports stated, the release does not tell: it may be all
        model.get_buffer(f"heads.image/medslip.{name}").fill_(1)
    model.eval()
    provenance = {
        "converted_from": "medslip",
        "source": source.name,
        "source_sha256": sha256_of(source),
        "text_vectors": banks["pathology"].encoder,
        "synthetic": False,
    }
    findings = list(finding_columns(banks["pathology"].names))
    return Bundle(
        model=model,
        tokenizer=None,
        preprocessing=[{"name": "read", "size": image_size, "preset": "dicom_voi_v1"}],
        answers=(
            KeptAnswer("existence", "existence", {"head": "medslip", "labels": findings}, findings),
            KeptAnswer("pairs", "pairs", {"head": "medslip"}),
        ),
        provenance=provenance,
        card=_card(provenance, note),
    )


def _rename(name: str) -> str | None:
    first, _, rest = name.partition(".")
    if first == "res_features":
        index, _, rest = rest.partition(".")
        return f"towers.image.backbone.{_TRUNK[index]}.{rest}" if index in _TRUNK else None
    return f"heads.image/medslip.{_HEAD[first]}.{rest}" if first in _HEAD else None


def _architecture(weights: Mapping[str, Tensor], source: Path, *, heads: int, image_size: int) -> dict[str, object]:
    """Read the sizes off the weights."""
    try:
        width = weights["pathology_embedding_layer.weight"].shape[0]
        hidden = weights["res_l1_pathology.weight"].shape[0]
        feedforward = weights["decoder_pathology.layers.0.linear1.weight"].shape[0]
    except (KeyError, IndexError):
        raise DataError(f"{source} is no MeDSLIP checkpoint (it lacks its query layer, streams or decoders).") from None
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("decoder_pathology.layers."))
    return {
        "name": "vision",
        "vision": {
            "name": "timm",
            "architecture": "resnet50",
            "image_size": image_size,
            "channels": 3,
            "mean": _MEAN,
            "std": _STD,
            "options": {"layers": [3, 4, 6, 0]},  # cut behind the third stage
        },
        "heads": {
            "image/medslip": {
                "name": "dual_stream",
                "width": width,
                "hidden": hidden,
                "layers": layers,
                "heads": heads,
                "feedforward": feedforward,
            }
        },
    }


def _books(
    vectors: str | None, encoder: Mapping[str, Any] | None, pathology: str | None, anatomy: str | None
) -> tuple[dict[str, Bank], str]:
    words = load_medslip_vocabulary()
    if (vectors is None) == (encoder is None):
        raise UserError(
            "A MeDSLIP checkpoint does not hold the text vectors that its decoders ask with: give "
            "vectors=FILE.safetensors with pathology (75, D) and anatomy (51, D), or "
            "encoder.name=transformers encoder.path=FOLDER with the language model that made them (Bio_ClinicalBERT)."
        )
    texts = {
        "pathology": _texts(pathology, words.observations, "pathology_book", words.observations),
        "anatomy": _texts(
            anatomy, words.anatomies, "anatomy_book", [f"It is located at {n}. " for n in words.anatomies]
        ),
    }
    note = ""
    if encoder is not None and pathology is None:
        own = read_bank(resource("configs", "banks/medslip_pathology_v1.yaml"), name="pathology")
        texts["pathology"] = own.texts
        note = (
            "The pathologies were described in other words than in training, because its book was not given: scores "
            "are not those of the publication.\n\n"
        )
    names = {"pathology": words.observations, "anatomy": words.anatomies}
    banks = {name: Bank(name, tuple(texts[name]), names=names[name]) for name in texts}
    if encoder is not None:
        return {n: encoded_bank(b, encoder, where="encoder") for n, b in banks.items()}, note
    path = Path(str(vectors)).expanduser()
    try:
        held = load_file(path)
        made = f"given, sha256:{sha256_of(path)[:16]}"
        return {name: bank.with_vectors(held[name].float(), encoder=made) for name, bank in banks.items()}, note
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as text vectors ({error}): give a safetensors file with pathology and anatomy."
        ) from None


def _texts(path: str | None, names: Sequence[str], option: str, default: Sequence[str]) -> tuple[str, ...]:
    if path is None:
        return tuple(default)
    file = Path(path).expanduser()
    if file.suffix != ".json":
        texts = read_bank(file, name=option).texts
    else:
        held = read_json(file)
        values = list(held.values()) if isinstance(held, Mapping) else held
        texts = tuple(str(value) for value in values) if isinstance(values, list) else ()
    if len(texts) != len(names):
        raise DataError(
            f"{option} {file} has {len(texts)} texts, and the model asks {len(names)} queries: give one each."
        )
    return texts


def _card(provenance: Mapping[str, object], note: str) -> str:
    return ModelCard(
        name="MeDSLIP, converted",
        prompted=False,
        tags=["medslip", "chest-x-ray"],
        sections=[
            (
                "What it is",
                "Weights of MeDSLIP (Fan et al. 2024, arXiv 2403.10635), trained by its authors on MIMIC-CXR; the "
                "release names no licence.",
            ),
            ("Use", RESEARCH),
            (
                "Limits",
                f"{note}Pictures are read as this project reads them (display values of the DICOM file, aspect kept, "
                "padded); the released scripts squeeze them to a square and read DICOM without its display settings.",
            ),
            ("Where it comes from", fact_list(provenance)),
        ],
    ).text()
