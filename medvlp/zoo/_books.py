"""What importers of query decoders share: a ResNet cut open, and books, whose vectors a checkpoint does not hold."""

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
from medvlp.zoo._keys import Rules, count, under
from medvlp.zoo._pixels import IMAGENET


@dataclass(frozen=True, kw_only=True)
class Book:
    """Texts that a decoder asks with, which its checkpoint does not hold."""

    names: Sequence[str]  # of the texts, in the order of the queries
    option: str = ""  # by which the user names files of them
    files: Sequence[str] = ()  # that the user named, JSON objects or YAML books; the sentences of a query are joined
    texts: Sequence[str] = ()  # that the training had, where they are known
    stand_in: str = ""  # book of ``configs/banks`` in our own words, where they are not
    aspects: int = 1  # sentences a text

    def read(self) -> list[list[str]]:
        """Return the sentences of each text.

        Raises:
            UserError: if no file is named and there are no others.
            DataError: if they are not as many as the model asks with.
        """
        if self.files:
            parts = [self._sentences(Path(each).expanduser()) for each in self.files]
        elif self.stand_in and self.aspects == 1:
            parts = [self._sentences(resource("configs", self.stand_in))]
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
                f"{self.option} {', '.join(self.files)} has {' and '.join(map(str, sorted(counts)))} texts, and the "
                f"model asks {len(self.names)} queries: give {each}."
            )
        return texts

    def _sentences(self, file: Path) -> list[list[str]]:
        """Return those of a file: by name where a JSON object knows every query (MAVL's knows more), else all."""
        if file.suffix != ".json":
            return [[text] for text in read_bank(file, name=self.option).texts]
        held = read_json(file)
        values = [held[name] for name in self.names] if held.keys() >= set(self.names) else list(held.values())
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
