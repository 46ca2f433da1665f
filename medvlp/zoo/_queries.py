"""What MeDSLIP, MedKLIP, MAVL and KAD have in common: a ResNet cut open, and queries that are vectors of texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import read_json, sha256_of
from medvlp.core.resources import resource
from medvlp.models.bank import Bank, encoded_bank, read_bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, KeptAnswer
from medvlp.text.medslip_findings import finding_columns, score_names
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.zoo._keys import Rules, by_rules, count, under, without
from medvlp.zoo._pixels import IMAGENET
from medvlp.zoo._protocol import load_strictly, read_checkpoint
from medvlp.zoo._release import Release, asked_by_recipe, bundle_of

__all__ = ["NUMBERS", "Asking", "Book", "asking_bundle", "cut_resnet", "read_books", "squeezed", "trunk"]

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
class Book:
    """Texts that a decoder asks with, which its checkpoint does not hold.

    Attributes:
        names: of the texts, in the order of the queries.
        option: by which the user names files of them.
        files: that the user named, JSON objects or YAML books; the sentences of a query are joined.
        texts: that the training had, where they are known.
        stand_in: book of ``configs/banks`` in our own words, where they are not.
        aspects: sentences a text.
    """

    names: Sequence[str]
    option: str
    files: Sequence[str] = ()
    texts: Sequence[str] = ()
    stand_in: str = ""
    aspects: int = 1

    def read(self) -> list[list[str]]:
        """Return the sentences of each text.

        Raises:
            UserError: if no file is named and there are no others.
            DataError: if they are not as many as the model asks with.
        """
        if self.files:
            parts = [_sentences(Path(each).expanduser(), self.option) for each in self.files]
        elif self.stand_in and self.aspects == 1:
            parts = [_sentences(resource("configs", self.stand_in), self.option)]
        elif self.texts:
            parts = [[[text] for text in self.texts]]
        else:
            raise UserError(
                f"The {self.aspects} sentences on each of the {len(self.names)} queries are not in the checkpoint: "
                f"give {self.option} with files of them, or vectors=FILE.safetensors."
            )
        counts = {len(each) for each in parts}
        texts = [[sentence for part in each for sentence in part] for each in zip(*parts, strict=False)]
        if counts != {len(self.names)} or any(len(each) != self.aspects for each in texts):
            each = "one each" if self.aspects == 1 else f"{self.aspects} sentences each"
            raise DataError(
                f"{self.option} {', '.join(self.files)} has {min(counts)} texts, and the model asks {len(self.names)} "
                f"queries: give {each}."
            )
        return texts


def _sentences(file: Path, option: str) -> list[list[str]]:
    values = read_json(file).values() if file.suffix == ".json" else read_bank(file, name=option).texts
    return [[str(sentence) for sentence in each] if isinstance(each, list) else [str(each)] for each in values]


def read_books(
    books: Mapping[str, Book], *, vectors: str | None, encoder: Mapping[str, Any] | None, title: str
) -> tuple[dict[str, Bank], str]:
    """Return banks with the vectors of books, given or made, and a sentence for the card where a book stands in.

    Raises:
        UserError: if not one of the two is given, or the vectors cannot be read.
        DataError: if a book does not fit the queries.
    """
    if (vectors is None) == (encoder is None):
        wanted = " and ".join(f"{name} ({len(book.names)}, D)" for name, book in books.items())
        raise UserError(
            f"A {title} checkpoint does not hold the text vectors that its decoders ask with: give "
            f"vectors=FILE.safetensors with {wanted}, or encoder.name=transformers encoder.path=FOLDER with the "
            "language model that made them (Bio_ClinicalBERT)."
        )
    note = ""
    if encoder is not None and any(book.stand_in and not book.files for book in books.values()):
        note = (
            "The pathologies were described in other words than in training, because its book was not given: scores "
            "are not those of the publication.\n\n"
        )
    if encoder is not None:
        return {name: _made(name, book, encoder) for name, book in books.items()}, note
    path = Path(str(vectors)).expanduser()
    try:
        held = load_file(path)
        made = f"given, sha256:{sha256_of(path)[:16]}"
        flat = {name: held[name].float().reshape(len(book.names), -1) for name, book in books.items()}
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{path} cannot be read as text vectors ({error}): give a safetensors file with {' and '.join(books)}."
        ) from None
    # Whose vectors they are, only the names tell where the texts are not known.
    texts = {n: b.texts or b.names for n, b in books.items()}
    banks = {n: Bank(n, tuple(texts[n]), names=tuple(b.names)) for n, b in books.items()}
    return {name: bank.with_vectors(flat[name], encoder=made) for name, bank in banks.items()}, note


def _made(name: str, book: Book, encoder: Mapping[str, Any]) -> Bank:
    texts = book.read()
    bank = Bank(name, tuple(" ".join(each) for each in texts), names=tuple(book.names))
    if book.aspects == 1:
        return encoded_bank(bank, encoder, where="encoder")
    every = list(dict.fromkeys(sentence for each in texts for sentence in each))
    made = encoded_bank(Bank(name, tuple(every)), encoder, where="encoder")
    assert made.vectors is not None
    rows = made.vectors[[every.index(sentence) for each in texts for sentence in each]]
    return bank.with_vectors(rows.reshape(len(texts), -1), encoder=made.encoder)


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


def asking_bundle(
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
    """Import a checkpoint of this form; queries are mapped by position: row i of the book asks query i.

    Raises:
        UserError: if the file cannot be read, or the text vectors are not given.
        DataError: if weights or vectors do not fit.
    """
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
