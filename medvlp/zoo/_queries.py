"""What MeDSLIP, MedKLIP, MAVL and KAD have in common: a ResNet cut open, and queries that are vectors of texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, KeptAnswer
from medvlp.text.medslip_findings import finding_columns, score_names
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.zoo._books import Book, read_books
from medvlp.zoo._keys import Rules, by_rules, count, under, without
from medvlp.zoo._pixels import IMAGENET
from medvlp.zoo._protocol import load_strictly, read_checkpoint
from medvlp.zoo._release import Release, asked_by_recipe, bundle_of

__all__ = ["NUMBERS", "Asking", "asking_importer", "cut_resnet", "squeezed", "trunk"]

# nn.Sequential of torchvision's children names them by number.
NUMBERS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def trunk(prefix: str) -> Rules:
    """Return the rules of a ResNet whose parts are numbered, under a prefix of theirs."""
    parts = [(f"{prefix}{number}.", f"towers.image.backbone.{name}.") for number, name in NUMBERS.items()]
    return [rule for theirs, ours in parts for rule in under(theirs, [("(.*)", r"\1")], ours)]


def cut_resnet(image_size: int, weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Return the tower: a ResNet of bottlenecks with the blocks and stages of the numbered parts under a prefix."""
    blocks = [count(weights, re.escape(prefix) + rf"{number}\.(\d+)\..*") for number in "4567"]
    shown = {"image_size": image_size, "channels": 3, "mean": IMAGENET[0], "std": IMAGENET[1]}
    return {"name": "timm", "architecture": "resnet50", **shown, "options": {"layers": blocks}}


def squeezed(size: int, preset: str, resample: str) -> dict[str, Any]:
    """Return the view of releases that squeeze a film to a square."""
    return {"name": "read", "size": size, "preset": preset, "fit": "squeeze", "resample": resample}


@dataclass(frozen=True, kw_only=True)
class Asking:
    """MedKLIP's form: one stream, one decoder, one book.

    Attributes:
        name: of the importer.
        release: what is known of it.
        image: prefix of the numbered ResNet.
        rules: names of the map from tokens.
        unused: patterns of what the file holds and no answer needs.
        activation: of that map.
        stand_in: book in our own words, where one sentence a query is enough.
        limits: for the card.
    """

    name: str
    release: Release
    image: str
    rules: Rules
    unused: Mapping[str, None]
    activation: str
    stand_in: str
    limits: str


def asking_importer(family: Asking) -> Callable[..., Bundle]:
    """Return the importer of a family, a component like any other."""

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
        books = [book] if isinstance(book, str) else book
        given = {"vectors": vectors, "encoder": encoder, "preset": preset}
        return _read(family, source, book=books, heads=heads, image_size=image_size, **given)

    importer.__name__, importer.__doc__ = family.name, _DOC.format(title=family.release.title)
    return importer


_DOC = """Import a checkpoint of {title} with a ResNet-50.

Queries are mapped by position: row i of the book asks query i, whatever it is called.

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


def _read(
    family: Asking,
    source: Path,
    *,
    vectors: str | None,
    encoder: Mapping[str, Any] | None,
    book: Sequence[str],
    heads: int,
    image_size: int,
    preset: str,
) -> Bundle:
    weights, left = without(read_checkpoint(source, inside=("model",)), family.unused)
    local, sizes = _sizes(weights, source, family)
    names = load_medslip_vocabulary().observations
    asked = Book(names=names, option="book", files=book, stand_in=family.stand_in, aspects=sizes["aspects"])
    banks, note = read_books({"existence": asked}, vectors=vectors, encoder=encoder, title=family.release.title)
    spec = {
        "name": "vision",
        "vision": cut_resnet(image_size, weights, family.image),
        "heads": {
            "image/local": {"name": "projection", "reads": "tokens", "bias": True, **local},
            "image/existence": {"name": "text_queries", "reads": "local", "heads": heads, **sizes},
        },
    }
    model: Any = build_model(spec, tokenizer=None, banks=banks)
    parts = {"disease_embedding_layer": "query", "decoder": "decoder", "classifier": "exist"}
    asking = [(rf"{theirs}\.(.*)", rf"heads.image/existence.{ours}.\1") for theirs, ours in parts.items()]
    rename = by_rules([*family.rules, *asking, *trunk(family.image)])
    load_strictly(model, weights, rename, source=source, own=["logit_scale.log_scale"])
    # Words that mean a finding, and those by which the release itself asks for one.
    meant = {*score_names(names), *asked_by_recipe("medklip_v1").labels}
    findings = [name for name in finding_columns(names) if name in meant]
    return bundle_of(
        model,
        importer=family.name,
        source=source,
        release=family.release,
        read=[squeezed(image_size, preset, "bilinear")],
        answers=[KeptAnswer("existence", "existence", {"head": "existence", "labels": findings}, findings)],
        facts={"text_vectors": banks["existence"].encoder, "left_out": left},
        limits=note + family.limits,
    )


def _sizes(weights: Mapping[str, Tensor], source: Path, family: Asking) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the sizes of the map and of the decoder off the weights."""
    try:
        width = len(weights["disease_embedding_layer.weight"])
        first, rename = "heads.image/local.hidden.0.weight", by_rules(family.rules)
        hidden = next(len(tensor) for name, tensor in weights.items() if rename(name) == first)
        inner = len(weights["decoder.layers.0.linear1.weight"])
        aspects = max(1, weights["classifier.weight"].shape[1] // width)
    except (KeyError, StopIteration, IndexError):
        raise DataError(
            f"{source} is no {family.release.title} checkpoint (it lacks its query layer, its map of tokens, its "
            "decoder or its classifier)."
        ) from None
    layers = count(weights, r"decoder\.layers\.(\d+)\..*")
    local = {"hidden": hidden, "width": width, "activation": family.activation}
    return local, {"aspects": aspects, "layers": layers, "feedforward": inner}
